/** For tests of services: call a method, feed an event, stand in for a peer, read the logs. No Redis, no network. */

import { randomBytes } from "node:crypto";
import { isAbsolute, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { hearLogs } from "./service/logs";
import type { Exposed } from "./service/registry";
import { Service, service } from "./service/service";
import { readConfig } from "./service/settings";
import type { BandEvent, Params } from "./types";

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

/** A service under test, on a bus of its own inside this process. */
export interface Bench {
  /** Calls a method as another service would. Rejects with what the caller would get. */
  call<T = any>(method: string, params?: Params): Promise<T>;
  /** Gives an event to the enricher as front would; null when it wants no such event. */
  enrich(event: BandEvent): Promise<any>;
  /** Gives events to the listener as the stream would: one a call, or all as one batch. Rejects with what it throws. */
  listen(...events: BandEvent[]): Promise<void>;
  /** Stands in for another service. */
  peer(name: string, methods: Record<string, (params: any) => unknown>): Promise<void>;
  /** The port of the service, for requests over HTTP. */
  readonly port: number;
  stop(): Promise<void>;
}

/**
 * Runs the service of this process on a bus in memory.
 *
 * @param handlers a file, or a function that imports it, so that its functions are exposed
 */
export async function running(handlers?: string | (() => unknown), given: Record<string, unknown> = {}): Promise<Bench> {
  if (typeof handlers === "string") await import(pathToFileURL(isAbsolute(handlers) ? handlers : resolve(handlers)).href);
  else await handlers?.();
  const bus = `memory://${randomBytes(4).toString("hex")}`;
  const started: Service[] = [];
  const start = async (subject: Service, settings: Record<string, unknown>) => {
    await subject.start(readConfig({ listen: "127.0.0.1:0", redis_dsn: bus, stop_timeout: 2, ...settings }, {}));
    started.push(subject);
    await subject.link.ready(5000);
    return subject;
  };
  const name = String(given.name ?? "subject");
  await start(service, { ...given, name });
  const caller = await start(new Service(), { name: "bench" });
  const call = (method: string, params: Params = {}) => caller.rpc.call(name, method, params);
  return {
    call,
    enrich: async (event) => {
      const exposed = service.registry.withRole("enricher").find((one) => wants(one, event.key));
      return exposed ? call(exposed.name, propsOf(exposed, event)) : null;
    },
    listen: async (...events) => {
      const context = { signal: service.signal, from: "" };
      for (const exposed of service.registry.withRole("listener")) {
        if (exposed.batch) await exposed.func(events, context);
        else for (const event of events) await exposed.func(event, context);
      }
    },
    peer: async (peerName, methods) => {
      const peer = new Service();
      for (const [method, func] of Object.entries(methods)) peer.expose(method, func);
      await start(peer, { name: peerName });
    },
    get port() {
      return service.port;
    },
    stop: async () => {
      for (const one of [...started].reverse()) await one.stop();
    },
  };
}

/** Collects the lines of the log until `stop`. */
export function captureLogs(): { readonly lines: Record<string, any>[]; stop(): void } {
  const lines: Record<string, any>[] = [];
  const stop = hearLogs((line) => lines.push(line));
  return { lines, stop: () => void stop() };
}

function wants(exposed: Exposed, key: string): boolean {
  return ((exposed.options.keys as string[]) ?? []).some((prefix) => prefix === "*" || key === prefix || key.startsWith(`${prefix}.`));
}

function propsOf(exposed: Exposed, event: BandEvent): Params {
  const found: Params = {};
  for (const [name, path] of Object.entries((exposed.options.props as Record<string, string>) ?? {})) {
    const value = path.split(".").reduce<any>((inner, part) => (typeof inner === "object" && inner !== null ? inner[part] : undefined), event);
    if (value !== undefined && value !== null) found[name] = value;
  }
  return found;
}
