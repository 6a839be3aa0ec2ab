/** What a process shares by name. */
class AppDeps {
  private readonly held = new Map<string, any>();

  setDep(name: string, value: any): void {
    this.held.set(name, value);
  }

  getDep<T = any>(name: string): T {
    return this.held.get(name);
  }
}

const deps = new AppDeps();

/** Returns what this process shares by name. */
export function getAppDeps(): { setDep(name: string, value: any): void; getDep<T = any>(name: string): T } {
  return deps;
}
