import { EventEmitter } from "node:events";
import { BROADCAST, METHOD_IAMALIVE, METHOD_STATUS, ROLE_LISTENER, SERVICE_DIRECTOR } from "../constants";
import { RpcRemoteError, RpcTimeout, RpcUnavailable } from "../errors";
import { dsnFromEnv } from "../redis/address";
import { readHealth } from "../service/health";
import { configureLogs, describe, knowSecrets } from "../service/logs";
import type { Registry, Row } from "../service/registry";
import { Service } from "../service/service";
import { readConfig } from "../service/settings";
import { TheIds } from "./ids";
import { StubLogger } from "./logger";
import { StubMeter } from "./meter";
import { isBandResponse } from "./response";
import type {
  AgnosticRPCOptions,
  BandResponseData,
  LoggerType,
  MeterFacade,
  RPCAdapter,
  RPCErrorDetails,
  RPCRequestHandler,
  RPCRequestOptions,
  RPCRequestParams,
} from "./types";

/** Milliseconds that a request waits for its answer unless told otherwise. */
const REQUEST_TIMEOUT = 200;

/** The package's own handlers of signals: a process may have several RPCAgnostic, the last to stop ends it. */
const handlers = new Set<Function>();

/** What carries messages: it belongs to the RPCAgnostic that is set up with it, and emits `message` for each that came. */
export class RPCAdapterRedis implements RPCAdapter {
  rsub: any = null;
  rpub: any = null;
  private readonly events: any = new EventEmitter();
  private link: { publish(channel: string, payload: string, onReply: null, keep: boolean): boolean } | null = null;

  constructor(readonly options: AgnosticRPCOptions) {}

  /** @internal */
  attach(link: any): void {
    this.link = this.rsub = this.rpub = link;
  }

  send(to: string, message: any): void {
    this.link?.publish(to, JSON.stringify(message), null, true);
  }

  on(event: string, fn: (...args: any[]) => void): this {
    this.events.on(event, fn);
    return this;
  }

  once(event: string, fn: (...args: any[]) => void): this {
    this.events.once(event, fn);
    return this;
  }

  removeListener(event: string, fn: (...args: any[]) => void): this {
    this.events.removeListener(event, fn);
    return this;
  }

  emit(event: string, ...args: any[]): boolean {
    return this.events.emit(event, ...args);
  }
}

/** Calls and answers on the bus, with the original's face: a handler gets one argument, the params. */
export class RPCAgnostic {
  timeout = REQUEST_TIMEOUT;
  readonly name: string;
  readonly ids: TheIds = new TheIds();
  readonly methods: { [method: string]: RPCRequestHandler } = Object.create(null);
  readonly queue: { [id: string]: any } = Object.create(null);
  adapter: RPCAdapter | null = null;
  private readonly log: LoggerType;
  private readonly meter: MeterFacade;
  private readonly engine: any;

  constructor(readonly options: AgnosticRPCOptions) {
    this.name = options.name;
    this.log = (options.log ?? new StubLogger()).for(this);
    this.meter = options.meter ?? new StubMeter();
    this.engine = new Service();
    (this.engine.registry as Registry).extraRows = (options.register ?? []).map(
      ({ method, role, options: given }): Row => ({ method, role, options: given ?? {} }),
    );
  }

  /** Connects, and begins to answer. */
  setup(adapter: RPCAdapter): void {
    this.adapter = adapter;
    const engine: Service = this.engine;
    if (adapter instanceof RPCAdapterRedis) adapter.attach(engine.link);
    engine.onEnvelope = (message) => {
      if (message.jsonrpc === "2.0") (adapter as RPCAdapterRedis).emit?.("message", message);
    };
    // Handlers are registered behind this call: the first messages find them.
    setImmediate(() => {
      this.start(engine).catch((error) => {
        this.log.fatal({ err: error }, describe(error));
        process.exit(1);
      });
    });
  }

  private async start(engine: Service): Promise<void> {
    const { options } = this;
    const dsn = (options.redisFactory as { options?: { dsn?: string } } | undefined)?.options?.dsn || dsnFromEnv(process.env);
    const config = readConfig({ name: this.name, redis_dsn: dsn, service_group: options.service_group, rpc: { listen_all: !options.durable } }, process.env);
    if (options.listen_direct === false) this.log.warn("rpc.listen_direct: false has no effect; a service always hears its own name");
    const channels = (options.channels ?? []).filter((channel) => channel !== BROADCAST || !options.durable);
    knowSecrets(process.env);
    configureLogs(config.logLevel, true);
    this.onSignals(engine);
    await engine.start(config, { port: false, channels });
  }

  /** Ends with what is in progress, unless the service listens to the signal itself. */
  private onSignals(engine: Service): void {
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      const handler = async () => {
        if (process.listeners(signal).some((other) => !handlers.has(other))) return;
        await engine.stop(signal);
        handlers.delete(handler);
        if (!process.listeners(signal).some((other) => handlers.has(other))) process.exit(0);
      };
      handlers.add(handler);
      process.on(signal, handler);
    }
  }

  /** Offers a method; the function gets the params object (`{}` for null). */
  register<T = any>(method: string, fn: RPCRequestHandler<T>): void {
    this.methods[method] = fn;
    const engine: Service = this.engine;
    const listens = method === BROADCAST && this.options.durable;
    engine.registry.add({
      name: method,
      func: method === METHOD_STATUS ? (params) => this.answerStatus(fn, params) : (params) => fn(params),
      path: "",
      kind: listens ? ROLE_LISTENER : "method",
      role: listens ? ROLE_LISTENER : undefined,
      options: {},
      takesLists: true,
      ...(listens ? { maxAttempts: 10, inFlight: 1 } : {}),
    });
    if (listens) engine.listen();
  }

  /** The service's own status, with what it leaves out. */
  private async answerStatus(fn: RPCRequestHandler, params: any): Promise<any> {
    const engine: Service = this.engine;
    const own = await fn(params);
    if (typeof own !== "object" || own === null || Array.isArray(own) || isBandResponse(own)) return own;
    const { instance, container, version } = engine.status();
    const name = own.name ?? this.name;
    const rows = own.register ?? (engine.registry.rows().length ? engine.registry.rows() : undefined);
    const health = await readHealth(engine.registry, engine.link);
    return { ...own, name, ...(rows ? { register: rows } : {}), instance, container, version, health };
  }

  /** Tells a service something; nobody answers. */
  notify(target: string, method: string, params: RPCRequestParams = null): void {
    const engine: Service = this.engine;
    if (target === SERVICE_DIRECTOR && method === METHOD_IAMALIVE) engine.beats = false;
    engine.rpc.name ||= this.name;
    engine.rpc.notify(target, method, params);
  }

  /** Asks a service; rejects with Error('Request timeout'), or with the peer's error (`code`, `message`, `data`). With `services`, asks all of them. */
  async request<T = any>(target: string, method: string, params: RPCRequestParams = null, options: RPCRequestOptions = {}): Promise<T> {
    const engine: Service = this.engine;
    const timeout = options.timeout ?? this.timeout;
    if (options.services && !options.services.length) return null as T;
    const note = this.meter.timenote("rpc.request", { target, method });
    try {
      if (options.services) {
        const found = await engine.rpc.gather(target, method, params ?? {}, { expect: [...options.services], timeout });
        return Object.fromEntries(Object.entries(found.results).map(([name, result]) => [name, unwrap(result)])) as T;
      }
      return unwrap(await engine.rpc.call(target, method, params, { timeout }));
    } catch (error) {
      this.meter.tick("rpc.error");
      // A collector gives the text to a visitor, whom the names of services and of Redis do not concern; the log has the cause.
      if (error instanceof RpcTimeout || error instanceof RpcUnavailable) throw new Error("Request timeout", { cause: error });
      if (error instanceof RpcRemoteError) error.message = error.remoteMessage; // as the peer wrote it; its detail is in `data`
      throw error;
    } finally {
      note();
    }
  }

  /** Sends a message as it is. */
  publish(message: any): void {
    (this.engine as Service).link.publish(message.to, JSON.stringify(message), null, true);
  }

  /** Calls a method of this service itself with a message's params. */
  async dispatch(message: { method: string; params?: any }): Promise<any> {
    const parts = message.method.split(":");
    const fn = this.methods[parts.length === 3 ? parts[1] : message.method];
    if (!fn) throw new Error(`${this.name} has no method "${message.method}"`);
    return fn(message.params ?? {});
  }

  wrapError(error: any): RPCErrorDetails {
    return { code: typeof error?.code === "number" ? error.code : -32000, message: "Server error", data: { message: describe(error) } };
  }
}

/** Returns a typed `data` reply's object where nothing is lost by it: a status and headers are for whoever answers a visitor. */
function unwrap(result: any): any {
  if (!isBandResponse(result) || result.type__ !== "data" || typeof result.data !== "object" || result.data === null) return result;
  const { statusCode = 200, headers, contentType, data } = result as BandResponseData;
  return statusCode === 200 && !headers?.length && !contentType ? data : result;
}
