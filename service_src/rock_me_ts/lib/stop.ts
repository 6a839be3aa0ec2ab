/** A stop signal that many wait for, without the callbacks that pile up on one long-lived promise. */
export class Stop {
  private readonly waiters = new Set<() => void>();
  readonly controller = new AbortController();
  stopped = false;

  /** Ends every wait, and every one to come. */
  stop(): void {
    this.stopped = true;
    for (const waiter of [...this.waiters]) waiter();
    this.waiters.clear();
  }

  /** Waits `ms` milliseconds, unless it stops; resolves with whether it stops. */
  sleep(ms: number): Promise<boolean> {
    if (this.stopped) return Promise.resolve(true);
    return new Promise((resolve) => {
      const waiter = () => {
        clearTimeout(timer);
        this.waiters.delete(waiter);
        resolve(this.stopped);
      };
      const timer = setTimeout(waiter, ms);
      this.waiters.add(waiter);
    });
  }

  /** Resolves when `work` ends or it stops; rejects when `work` does. */
  async unless(work: Promise<unknown>): Promise<void> {
    if (this.stopped) return;
    let waiter: () => void = () => {};
    const stopped = new Promise<void>((resolve) => {
      waiter = resolve;
      this.waiters.add(waiter);
    });
    try {
      await Promise.race([work, stopped]);
    } finally {
      this.waiters.delete(waiter);
    }
  }
}

/** Resolves after `ms` milliseconds. */
export function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Resolves with whether `work` ended within `ms` milliseconds. */
export async function within(work: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(resolve, ms, false);
  });
  try {
    return await Promise.race([work.then(() => true), late]);
  } finally {
    clearTimeout(timer);
  }
}
