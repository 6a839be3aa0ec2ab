/** Scheduled functions, and work that would block the event loop. */

import { Worker } from "node:worker_threads";
import { describe, logger } from "./logs";
import type { Metrics } from "./metrics";
import type { Registry } from "./registry";

/** Runs the functions of `crontab` by their patterns; returns what ends that. One that still runs is not begun again. */
export function startCrontabs(registry: Registry, metrics: Metrics, signal: AbortSignal): () => void {
  if (!registry.crontabs.length) return () => {};
  const { Cron } = require("croner") as { Cron: new (pattern: string, options: object, func: () => Promise<void>) => { stop(): void } };
  const jobs = registry.crontabs.map(({ pattern, func }) => {
    const name = func.name || pattern;
    return new Cron(pattern, { protect: true }, async () => {
      try {
        await func({ signal });
        metrics.failures.succeeded("crontab", name);
      } catch (error) {
        metrics.failures.failed("crontab", name, error);
        logger.error({ function: name, reason: describe(error), err: error }, "crontab_failed");
      }
    });
  });
  return () => {
    for (const job of jobs) job.stop();
  };
}

/**
 * Returns a function that runs the default export of `file` in a thread of its own, so that it does not block the event loop.
 * Calls are answered in their order; an exception in the thread rejects the call.
 */
export function blocking<Arg = any, Result = any>(file: string): (arg: Arg) => Promise<Result> {
  let thread: Worker | null = null;
  let last = 0;
  const waiting = new Map<number, { resolve: (value: Result) => void; reject: (error: Error) => void }>();
  const failAll = (error: Error) => {
    thread = null;
    for (const { reject } of waiting.values()) reject(error);
    waiting.clear();
  };
  const begin = () => {
    const begun = new Worker(RUNNER, { eval: true, workerData: file });
    begun.on("message", ({ id, value, error }) => {
      const call = waiting.get(id);
      waiting.delete(id);
      if (error) call?.reject(error);
      else call?.resolve(value);
      if (!waiting.size) begun.unref();
    });
    begun.on("error", failAll);
    begun.on("exit", () => failAll(new Error(`the thread of ${file} ended`)));
    return begun;
  };
  return (arg) =>
    new Promise<Result>((resolve, reject) => {
      thread ??= begin();
      thread.ref();
      last += 1;
      waiting.set(last, { resolve, reject });
      thread.postMessage({ id: last, arg });
    });
}

const RUNNER = `
const { parentPort, workerData } = require("node:worker_threads");
const loaded = import(require("node:url").pathToFileURL(workerData)).then((found) => found.default?.default ?? found.default);
parentPort.on("message", async ({ id, arg }) => {
  try { parentPort.postMessage({ id, value: await (await loaded)(arg) }); }
  catch (error) { parentPort.postMessage({ id, error: error instanceof Error ? error : new Error(String(error)) }); }
});`;
