/**
 * Tools for tests of services: call a method, deliver events, stand in for a peer, read the logs. No Redis, no network: the bus and the
 * stream of events are in this process, and a listener runs the same code as on a real Redis: it acknowledges, retries, rejects,
 * makes dead letters and replays them. It works under node:test, vitest and jest.
 */

import { randomBytes } from "node:crypto";
import { isAbsolute, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { EVENTS_STREAM, ROLE_ENRICHER, ROLE_LISTENER } from "./constants";
import { isUnder } from "./events/privacy";
import { ListenerCall } from "./events/processor";
import { hearLogs, logger } from "./service/logs";
import type { Exposed } from "./service/registry";
import { Service, service } from "./service/service";
import { readConfig } from "./service/settings";
import { delay } from "./stop";
import type { BandEvent, Params } from "./types";

/** Milliseconds until a test gives up waiting. */
const PATIENCE = 10_000;
const LOOK_INTERVAL = 5;

/** Returns an event as front makes it; `parts` replace or add fields. */
export function makeEvent(key = "in.gen.track.page", parts: Partial<BandEvent> = {}): BandEvent {
  const [, , serviceName = "", name = ""] = key.split(".");
  return {
    key,
    channel: "http",
    service: serviceName,
    name,
    projectId: 0,
    uid: "6410748586712844288",
    td: { ip: "2.125.160.216", ua: "Mozilla/5.0 (X11; Linux x86_64) Chrome/120.0.0.0 Safari/537.36" },
    data: {},
    id: "7530741854237622272",
    time: 1795468772451,
    ...parts,
  };
}

/** What `await using` and `using` need, where the TypeScript of the service knows them. */
type AsyncDisposal = SymbolConstructor extends { readonly asyncDispose: infer S } ? { [Key in S & symbol]: () => Promise<void> } : {};
type Disposal = SymbolConstructor extends { readonly dispose: infer S } ? { [Key in S & symbol]: () => void } : {};

/** An event that the listener could not process. */
export interface DeadLetter {
  event: BandEvent;
  reason: string;
  /** The letter's own id, by which it is replayed. */
  stream_id: string;
  [fact: string]: any;
}

/** A service under test, on a bus of its own inside this process. It is stopped by `stop`, or at the end of the block of `await using`. */
export interface Bench extends AsyncDisposal {
  /** Calls a method as another service would. Rejects with what the caller would get. */
  call<T = any>(method: string, params?: Params): Promise<T>;
  /** Gives an event to the enricher as front would; null if its keys do not match. */
  enrich(event: BandEvent): Promise<any>;
  /** Calls the listener's function with events: one per call, or all as one batch. Rejects with what it throws. */
  listen(...events: BandEvent[]): Promise<void>;
  /** Appends events to the stream, as front does with accepted ones; the listener consumes them. Resolves with their ids. */
  append(...events: BandEvent[]): Promise<string[]>;
  /**
   * Waits until the listener has nothing left to do: each event is acknowledged, is a dead letter, or waits for its next delivery
   * (`Retry`). What is due by the clock is delivered; a test may have set it. Rejects after `timeout` milliseconds.
   */
  settled(timeout?: number): Promise<void>;
  /** The dead letters, oldest first. */
  deadLetters(): Promise<DeadLetter[]>;
  /** Replays dead letters as an operator does; resolves with how many were `replayed`, and why it `stopped`. */
  replayDeadLetters(params?: { limit?: number; ids?: string | string[] }): Promise<{ replayed: number; stopped?: string; [fact: string]: any }>;
  /** Stands in for another service. */
  peer(name: string, methods: Record<string, (params: any) => unknown>): Promise<void>;
  /** The port of the service, for requests over HTTP. */
  readonly port: number;
  stop(): Promise<void>;
}

/**
 * Runs the service of this process on a bus in memory. Its listener's attempts follow each other without a pause; the delays of
 * `Retry` are kept.
 *
 * @param handlers a file, or a function that imports it, so that its functions are exposed
 * @param given settings: `name`, and what `config.yml` may have
 */
export async function running(handlers?: string | (() => unknown), given: Record<string, unknown> = {}): Promise<Bench> {
  if (typeof handlers === "string") await import(pathToFileURL(isAbsolute(handlers) ? handlers : resolve(handlers)).href);
  else await handlers?.();
  const bus = `memory://${randomBytes(4).toString("hex")}`;
  const started: Service[] = [];
  const start = async (subject: Service, settings: Record<string, unknown>) => {
    started.push(subject);
    await subject.start(readConfig({ listen: "127.0.0.1:0", redis_dsn: bus, stop_timeout: 2, ...settings }, {}));
    await subject.link.ready(5000);
    return subject;
  };
  const name = String(given.name ?? "subject");
  const listeners = service.registry.withRole(ROLE_LISTENER);
  const restore = withoutPauses(listeners);
  const stop = async () => {
    for (const one of started.splice(0).reverse()) await one.stop();
    restore();
  };
  let caller: Service;
  try {
    await start(service, { ...given, name });
    caller = await start(new Service(), { name: "bench" });
    await until(
      () => service.listeners.every((listener) => listener.joined),
      PATIENCE,
      () => `a listener of ${name} did not start; see the log`,
    );
  } catch (error) {
    await stop();
    throw error;
  }
  const call = (method: string, params: Params = {}) => caller.rpc.call(name, method, params);
  const bench: Omit<Bench, symbol> = {
    call,
    enrich: async (event) => {
      const exposed = service.registry.withRole(ROLE_ENRICHER).find((one) => isUnder(event.key, (one.options.keys as string[]) ?? []));
      return exposed ? call(exposed.name, propsOf(exposed, event)) : null;
    },
    listen: async (...events) => {
      for (const exposed of listeners) {
        const func = new ListenerCall(exposed, name, service.signal);
        for (const batch of exposed.batch ? [events] : events.map((event) => [event])) await func.give(batch);
      }
    },
    append: (...events) =>
      Promise.all(events.map((event) => caller.link.command(["XADD", EVENTS_STREAM, "*", "event", JSON.stringify(event)]) as Promise<string>)),
    settled: async (timeout = PATIENCE) => {
      let busy = "";
      const idle = async () => {
        busy = await workOf(service);
        return !busy;
      };
      await until(idle, timeout, () => `still busy after ${timeout} ms: ${busy}`);
    },
    deadLetters: async () => (await call("dead_letters", { limit: 1000 })).letters.reverse(),
    replayDeadLetters: (params = {}) => call("replay_dead_letters", params),
    peer: async (peerName, methods) => {
      const peer = new Service();
      for (const [method, func] of Object.entries(methods)) peer.expose(method, func);
      await start(peer, { name: peerName });
    },
    get port() {
      return service.port;
    },
    stop,
  };
  return Object.defineProperty(bench, Symbol.asyncDispose, { value: stop }) as Bench;
}

/** The collected log entries: until `stop`, or the end of the block of `using`. */
export interface CapturedLogs extends Disposal {
  readonly lines: Record<string, any>[];
  stop(): void;
}

/** Collects log entries, from the level `debug` on, instead of printing them. */
export function captureLogs(): CapturedLogs {
  const lines: Record<string, any>[] = [];
  const unhear = hearLogs((line) => lines.push(line));
  const { level } = logger;
  logger.level = "debug";
  const stop = () => {
    logger.level = level;
    unhear();
  };
  return Object.defineProperty({ lines, stop }, Symbol.dispose, { value: stop }) as unknown as CapturedLogs;
}

/** What a service's listeners have to do now, in words; "" when that is nothing. */
async function workOf({ listeners, link }: Service): Promise<string> {
  if (!listeners.length) return "";
  for (const listener of listeners) listener.wake();
  const newest = (await link.command(["XINFO", "STREAM", EVENTS_STREAM])).get("last-generated-id");
  const groups: Map<string, any>[] = await link.command(["XINFO", "GROUPS", EVENTS_STREAM]);
  for (const listener of listeners) {
    const group = groups.find((one) => one.get("name") === listener.name);
    const unread = group?.get("last-delivered-id") !== newest;
    const pending = group?.get("pending") - listener.delayed;
    if (unread || pending || listener.due) return `${listener.name} (${pending} in progress${unread ? ", more to read" : ""}${listener.due ? ", due" : ""})`;
  }
  return "";
}

async function until(wanted: () => boolean | Promise<boolean>, ms: number, problem: () => string): Promise<void> {
  const deadline = performance.now() + ms;
  while (!(await wanted())) {
    if (performance.now() > deadline) throw new Error(problem());
    await delay(LOOK_INTERVAL);
  }
}

/** Has attempts follow each other at once: a test should not wait for a minute and a half. Returns what undoes it. */
function withoutPauses(listeners: readonly Exposed[]): () => void {
  const before = listeners.map(({ backoff, backoffMax }) => ({ backoff, backoffMax }));
  for (const exposed of listeners) Object.assign(exposed, { backoff: 0, backoffMax: 0 });
  return () => listeners.forEach((exposed, index) => void Object.assign(exposed, before[index]));
}

function propsOf(exposed: Exposed, event: BandEvent): Params {
  const found: Params = {};
  for (const [name, path] of Object.entries((exposed.options.props as Record<string, string>) ?? {})) {
    const value = path.split(".").reduce<any>((inner, part) => (typeof inner === "object" && inner !== null ? inner[part] : undefined), event);
    if (value !== undefined && value !== null) found[name] = value;
  }
  return found;
}
