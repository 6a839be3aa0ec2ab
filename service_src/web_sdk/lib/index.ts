/** `/lib.js`: takes the calls that the snippet collected, and all later ones. */

import { commands, open, page, warn } from "./tracker";

interface Stub {
  (...call: unknown[]): unknown;
  /** The original's snippet: arrays. */
  _q?: unknown[][];
  _sv?: string;
  _host?: string;
  _prefix?: string;
  _loaded?: boolean;
  doCall?: (call: unknown[]) => unknown;
  push?: Stub;
  /** Ours: arguments. */
  q?: ArrayLike<unknown>[];
}

const GLOBALS = ["rstat4", "rstat"];
/** These hold for all calls before them, so they are made first. */
const FIRST = ["configure", "consent", "optin", "optout", "ignore"];

const globals = window as unknown as Record<string, Stub | undefined>;
const isStub = (found: Stub | undefined): found is Stub => typeof found === "function" && !!(found._q || found.q);

function run(call: ArrayLike<unknown>): unknown {
  const [name, ...given] = Array.from(call);
  if (typeof name === "string" && Object.hasOwn(commands, name)) {
    const found = (commands as Record<string, (...given: unknown[]) => unknown>)[name]?.(...given);
    // The first call opens the tracker, or the end of the script that configures it.
    if (!FIRST.includes(name)) open();
    else if (name === "configure") setTimeout(open, 0);
    return found;
  }
  warn(`there is no command "${name}", nothing was sent; commands are ${Object.keys(commands).join(", ")}`);
  return undefined;
}

function start(): void {
  const name = GLOBALS.find((each) => isStub(globals[each])) ?? "rstat4";
  const stubs = GLOBALS.map((each) => globals[each]).filter(isStub);
  // The original's snippet loads the script again at each `configure`.
  if (globals["rstat4"]?._loaded || globals["rstat"]?._loaded) return;
  const script = document.currentScript as HTMLScriptElement | null;
  const own = globals[name];
  Object.assign(page, {
    global: name,
    script: script?.src ?? "",
    nonce: script?.nonce ?? "",
    server: own?._host ?? "",
    prefix: own?._prefix ?? "",
    snippet: own?._sv,
  });
  const face: Stub = (...call) => run(call);
  face._loaded = true;
  face.push = face;
  const calls = stubs.flatMap((stub) => [...(stub._q ?? []), ...(stub.q ?? [])]);
  for (const stub of stubs) {
    // A page may have kept the snippet's function.
    stub._loaded = true;
    stub.doCall = run;
    for (const queue of [stub._q, stub.q]) if (queue) queue.push = (call: any) => Number(run(call));
  }
  for (const each of GLOBALS) if (!globals[each] || isStub(globals[each])) globals[each] = face;
  const early = calls.filter((call) => FIRST.includes(String(call[0])));
  early.sort((one, other) => Number(other[0] === "configure") - Number(one[0] === "configure")).forEach(run);
  if (calls.length) open();
  calls.filter((call) => !early.includes(call)).forEach(run);
}

start();
