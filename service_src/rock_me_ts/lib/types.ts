/** The types of the new API. They name no type of another package, so that a service compiles against them through a link. */

import type { RpcRemoteError } from "./errors";
import type { WebEvent } from "./web_event";

export type { SourceType, WebEvent, WebLibrary, WebPage, WebScroll, WebSession, WebUser } from "./web_event";

export type Params = Record<string, any>;
type MaybePromise<T> = T | Promise<T>;

/** A schema of any library that follows Standard Schema 1 (zod, valibot, arktype …). */
export interface StandardSchema<Input = any, Output = Input> {
  readonly "~standard": {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (
      value: unknown,
    ) => MaybePromise<{ readonly value: Output; readonly issues?: undefined } | { readonly issues: ReadonlyArray<SchemaIssue> }>;
    readonly types?: { readonly input: Input; readonly output: Output } | undefined;
    /** Standard JSON Schema 1: with it, `/openapi.json` and the director's form know the parameters. */
    readonly jsonSchema?: { readonly input: (options: { readonly target: any }) => Record<string, unknown> } | undefined;
  };
}

export interface SchemaIssue {
  readonly message: string;
  readonly path?: ReadonlyArray<PropertyKey | { readonly key: PropertyKey }> | undefined;
}

/** The output type of a schema. */
export type OutputOf<S extends StandardSchema> = NonNullable<S["~standard"]["types"]>["output"];

/** What the client sent (the browser SDK: a WebEvent), and what each enricher added under its own name. */
export interface EventData extends Omit<WebEvent, "data"> {
  [field: string]: any;
}

/** An event as front passes it to handlers and listeners. */
export interface BandEvent<Data = EventData> {
  key: string;
  channel: string;
  service: string;
  name: string;
  projectId?: number | null;
  project?: string;
  uid: string;
  td: { ip?: string; ua?: string; ref?: string; host?: string; [field: string]: any };
  data: Data;
  id: string;
  time: number;
  privacy?: string[];
  [field: string]: any;
}

/** The type at a dotted path of an event; `any` if the path is unknown. */
export type AtPath<Path extends string, Root = BandEvent> = Path extends `${infer Head}.${infer Rest}`
  ? Head extends keyof Root
    ? AtPath<Rest, NonNullable<Root[Head]>>
    : any
  : Path extends keyof Root
    ? Root[Path]
    : any;

/** The parameters of an enricher with these `props`; front leaves out what an event does not have. */
export type PropsOf<P> = { [Name in keyof P]?: P[Name] extends string ? AtPath<P[Name]> : any } & { key?: string };

export interface CallContext {
  /** Aborted when the service stops before the function returned. */
  signal: AbortSignal;
  /** The caller's name, "" if the call does not name it. */
  from: string;
}

export interface ListenContext {
  /** Aborted when the service stops before the function returned, or its `timeout` is over: the events are then delivered again. */
  signal: AbortSignal;
}

export interface MethodOptions {
  /** The path on the service's own port; default: `/<name>`. */
  path?: string;
  /** False: over RPC only. */
  http?: boolean;
  /** What it does, for `/openapi.json` and the director's page. */
  description?: string;
}

export interface HandlerOptions extends MethodOptions {
  /** The name under which front routes to it, instead of the service's. */
  alias?: string;
  /** Milliseconds that front waits for the answer (front's default: 200). */
  timeout?: number;
}

export interface EnricherOptions<P> extends MethodOptions {
  /** Dotted prefixes of the keys of the events to enrich (`in.gen.track`; `*` for all). */
  keys: string[];
  /** Parameter name → dotted path in the event. */
  props?: P;
  alias?: string;
  /** Seconds for which front may reuse an answer for other events with the same `props`. */
  cache?: number;
  /** Returns the version of the data in use; when it changes, front drops the cached answers. */
  cacheVersion?: () => string;
}

export interface ListenerOptions extends MethodOptions {
  /** The method's name. Default: the group's, else the function's, else `broadcast`. */
  name?: string;
  /**
   * With it a service can have several listeners: this one consumes as the group `<service>.<group>`, and one that hangs
   * delays no other. Default: a group with the service's name.
   */
  group?: string;
  /** Dotted prefixes of the keys of the events to deliver (`in.gen.track`); others are acknowledged without a call. Default: all. */
  keys?: string[];
  /** Reads each event's `data`, and types it. An event with other data becomes a dead letter. The director's `/asyncapi.json` shows it. */
  data?: StandardSchema;
  /** 0: one event per call. N: a list of at most N events. */
  batch?: number;
  /** Seconds to wait for a batch to fill after its first event. */
  linger?: number;
  /** After this many failures (10) an event becomes a dead letter. */
  maxAttempts?: number;
  /** Seconds before the second attempt (0.5), doubled before each further one, with jitter. */
  backoff?: number;
  /** The longest pause between two attempts, in seconds (30). */
  backoffMax?: number;
  /** Seconds that one call may take; then its signal is aborted, and it counts as failed. 0: no limit. */
  timeout?: number;
  /**
   * Where a new listener starts: `now`, `beginning` (the oldest event in the stream), a time (Date, ISO 8601, seconds or milliseconds
   * since 1970) or an entry's id. One that has run before continues where it was.
   */
  start?: "now" | "beginning" | Date | number | (string & {});
  /**
   * A batch with this many bytes of JSON (4,000,000) is delivered without waiting for more events. 0: only the number counts.
   * Memory may hold `inFlight` + 1 batches, each as JSON and parsed.
   */
  batchBytes?: number;
  /** How many batches may be processed at once. */
  inFlight?: number;
  /** false: it gets no personal data. true: it gets personal data, but no event of a visitor who objected. Default: it gets everything. */
  personal?: boolean;
}

export type Method<P = any> = (params: P, context: CallContext) => unknown;

export interface Expose {
  /** Offers a function over RPC and on the service's own port; `params` validates the parameters, and types them. */
  <S extends StandardSchema>(name: string, options: MethodOptions & { params: S }, func: Method<OutputOf<S>>): void;
  (name: string, options: MethodOptions, func: Method): void;
  (name: string, func: Method): void;
  (func: Method): void;
  /** Answers events: front calls the function for `/<service or alias>/<name>`; `*` takes every name. */
  handler: {
    (name: string, options: HandlerOptions, func: Method<BandEvent>): void;
    (name: string, func: Method<BandEvent>): void;
    (func: Method<BandEvent>): void;
  };
  /** Adds data to events: the answer is stored as `data.<service>`. */
  enricher: <V extends string, P extends Record<string, V>>(options: EnricherOptions<P>, func: Method<PropsOf<P>>) => void;
  /** Consumes events. Returning acknowledges them; throwing has them delivered again: see also Retry and Reject. */
  listener: {
    <S extends StandardSchema>(
      options: ListenerOptions & { data: S; batch: number },
      func: (events: BandEvent<OutputOf<S>>[], context: ListenContext) => unknown,
    ): void;
    <S extends StandardSchema>(
      options: ListenerOptions & { data: S; batch?: undefined },
      func: (event: BandEvent<OutputOf<S>>, context: ListenContext) => unknown,
    ): void;
    (options: ListenerOptions & { batch: number }, func: (events: BandEvent[], context: ListenContext) => unknown): void;
    (options: ListenerOptions & { batch?: undefined }, func: (event: BandEvent, context: ListenContext) => unknown): void;
    (func: (event: BandEvent, context: ListenContext) => unknown): void;
  };
}

export interface CallOptions {
  /** Milliseconds until the call ends with an error (2000). */
  timeout?: number;
  signal?: AbortSignal;
}

/** The answers of several services; `missing` lists those that did not answer. */
export interface Gathered {
  results: Record<string, any>;
  errors: Record<string, RpcRemoteError>;
  missing: string[];
}

export interface Rpc {
  /** Calls a method of a service. Rejects with RpcRemoteError, RpcTimeout or RpcUnavailable. */
  call<T = any>(to: string, method: string, params?: Params | null, options?: CallOptions): Promise<T>;
  /** Calls a method of a service without waiting for an answer. */
  notify(to: string, method: string, params?: Params | null): void;
  /** Calls a method once for each of `items`, all in one message; the service must run on this framework. */
  callMany<T = any>(to: string, method: string, items: readonly Params[], options?: CallOptions): Promise<(T | RpcRemoteError)[]>;
  /** Calls the same method of several services, and gathers the answers of those in `expect`; does not reject if some do not answer. */
  gather(channel: string, method: string, params: Params, options: { expect: readonly string[]; timeout?: number }): Promise<Gathered>;
  /** Returns a service as an object whose methods are calls: `rpc.service<Geo>("mmgeo").get({ip})`. */
  service<T extends object = Record<string, (params?: Params, options?: CallOptions) => Promise<any>>>(name: string): T;
}

export type HealthStatus = "ok" | "degraded" | "failing";
export type HealthFacts = { status?: HealthStatus; [fact: string]: any } | HealthStatus | boolean | null | undefined;

export interface HealthReport {
  status: HealthStatus;
  checks: Record<string, { status: HealthStatus; [fact: string]: any }>;
}

export interface WorkContext {
  /** Aborted when the service stops. */
  signal: AbortSignal;
}

/** A logger: each method takes `(text)` or `(values, text)`. */
export interface ServiceLogger {
  trace(values: unknown, text?: string, ...rest: unknown[]): void;
  debug(values: unknown, text?: string, ...rest: unknown[]): void;
  info(values: unknown, text?: string, ...rest: unknown[]): void;
  warn(values: unknown, text?: string, ...rest: unknown[]): void;
  error(values: unknown, text?: string, ...rest: unknown[]): void;
  fatal(values: unknown, text?: string, ...rest: unknown[]): void;
}

export interface ServiceRedis {
  /** Sends one command over the service's connection; rejects while Redis is unavailable. */
  command(...parts: (string | number)[]): Promise<any>;
  readonly connected: boolean;
}

/** The settings that the framework itself reads; all others in `settings()` are the service's own. */
export interface ServiceConfig {
  name: string;
  host: string;
  port: number;
  redisDsn: string;
  /** Listeners get what is published on the channel `broadcast`, at most once, instead of the durable stream. */
  listenAll: boolean;
  listenEnrich: boolean;
  logLevel: string;
  jsonLogs: boolean;
  eventsFrom: string;
  /** Milliseconds from the signal to the exit. */
  stopTimeout: number;
  deadLettersMax: number;
  deadLettersMaxMb: number;
  allowedHosts: string[];
  allowedOrigins: string[];
  serviceGroup: string;
}
