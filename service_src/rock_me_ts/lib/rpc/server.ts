/** Calls from other services. */

import { isDeepStrictEqual } from "node:util";
import { crc32 } from "node:zlib";
import { DIRECTOR_METHODS, METHOD_BATCH, SERVICE_DIRECTOR } from "../constants";
import { InvalidParams, RpcError } from "../errors";
import type { RedisLink } from "../redis/link";
import { describe, logger, maskText } from "../service/logs";
import type { Metrics } from "../service/metrics";
import { type Exposed, type Registry, runExposed } from "../service/registry";
import {
  addressOf,
  type Envelope,
  type ErrorObject,
  errorObject,
  failure,
  INVALID_PARAMS,
  INVALID_REQUEST,
  MESSAGES,
  METHOD_NOT_FOUND,
  OVERLOADED,
  SERVER_ERROR,
  success,
  toJson,
} from "./messages";
import { Outbox } from "./outbox";
import { type Presence, SEPARATOR } from "./presence";

/** Calls in progress before further ones are refused: a flood ends in errors, not in memory. */
export const MAX_IN_FLIGHT = 5000;
/** Of these, calls of one method: a handler that hangs leaves room for the others. */
export const MAX_PER_METHOD = 1000;

interface Progress {
  exposed: Exposed;
  begun: number;
  /** Answers; a call is answered once. */
  reply: ((payload: string) => void) | null;
  id: unknown;
  from: string;
}

export class RpcServer {
  name = "";
  /** Name under which replies are told to be of one group, as newer originals have it; "" for none. */
  group = "";
  /** Beginning of the keys of the director's grants, each of which serves one call; "": its methods serve everybody. */
  grants = "";
  private channels = new Set<string>();
  private readonly inProgress = new Set<Progress>();
  private readonly busy = new Map<string, number>();
  private draining = false;
  private onRest: (() => void) | null = null;
  private abort = new AbortController();
  private readonly batches: Outbox;
  private readonly batchMethod: Exposed;

  constructor(
    private readonly link: RedisLink,
    private readonly registry: Registry,
    private readonly metrics: Metrics,
    private readonly presence: Presence,
  ) {
    this.batches = new Outbox<undefined>(link, null, true);
    this.batchMethod = {
      name: METHOD_BATCH,
      kind: "method",
      func: (params: any, context) => this.runBatch(params.method, params.items, context.from),
      path: "",
      options: {},
    };
  }

  /** Takes messages for the service `name` that arrive on `channels` (its own name among them). */
  listen(name: string, channels: Iterable<string>): void {
    this.name = name;
    this.channels = new Set(channels);
    this.draining = false;
    this.abort = new AbortController();
  }

  /** Aborted when calls that are still in progress are cut off. */
  get signal(): AbortSignal {
    return this.abort.signal;
  }

  get inFlight(): number {
    return this.inProgress.size;
  }

  /** Returns method → number of its calls in progress. */
  busyMethods(): Record<string, number> {
    return Object.fromEntries(this.busy);
  }

  /** Refuses further calls, waits for those in progress; resolves with how many were cut off after `timeout` milliseconds. */
  async drain(timeout: number): Promise<number> {
    this.draining = true;
    if (this.inProgress.size) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, timeout);
        this.onRest = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    this.abort.abort(new Error("the service stops"));
    const late = [...this.inProgress];
    for (const one of late) {
      one.reply?.(failure(errorObject(SERVER_ERROR, "the call was cancelled before it finished"), one.id, this.name, one.from, this.group));
      one.reply = null;
      this.metrics.called(one.exposed.name, "cut_off", performance.now() - one.begun);
    }
    return late.length;
  }

  /** Answers a request that came on `channel` in the message `data`, if it is for this replica. */
  onRequest(channel: string, message: Envelope, data: string): void {
    if (channel.includes(SEPARATOR) || this.isOurs(message, data)) this.begin(channel, message);
  }

  /** Tells whether this replica answers a request that every replica got: each goes to exactly one of them. */
  private isOurs(message: Envelope, data: string): boolean {
    if (this.presence.alone) return true;
    const replicas = this.presence.replicas();
    const mark = message.id === undefined ? data : `${shown(message.id)}${shown(message.from)}${shown(message.method)}`;
    return replicas[crc32(mark) % replicas.length] === this.presence.instance;
  }

  private begin(channel: string, message: Envelope): void {
    if (typeof message.method !== "string") {
      this.refuse(message, String(message.from ?? ""), INVALID_REQUEST);
      return;
    }
    const [to, method, from] = addressOf(message as Envelope & { method: string });
    if (message.jsonrpc !== "2.0") {
      this.refuse(message, from, INVALID_REQUEST, 'jsonrpc must be "2.0"');
      return;
    }
    if (!this.channels.has(to)) {
      logger.debug({ to, channel, method }, "rpc_wrong_recipient");
      return;
    }
    const exposed = this.registry.methods.get(method) ?? (method === METHOD_BATCH ? this.batchMethod : undefined);
    if (!exposed) {
      // On a channel that several services hear it is not ours to refuse.
      if (channel === this.name || channel.includes(SEPARATOR)) this.refuse(message, from, METHOD_NOT_FOUND, `${this.name} has no method '${method}'`);
      return;
    }
    const params = message.params ?? {};
    if (typeof params !== "object" || (Array.isArray(params) && !exposed.takesLists)) {
      this.refuse(message, from, INVALID_PARAMS, "params must be an object of named arguments");
      return;
    }
    if (this.draining && !method.startsWith("__")) {
      this.refuse(message, from, SERVER_ERROR, `${this.name} is stopping`);
      return;
    }
    const busy = this.busy.get(method) ?? 0;
    if (this.inProgress.size >= MAX_IN_FLIGHT || busy >= MAX_PER_METHOD) {
      this.refuse(message, from, OVERLOADED, `${busy} calls of ${method} are in progress, ${this.inProgress.size} in all`);
      return;
    }
    if (this.grants && DIRECTOR_METHODS.has(method)) void this.answerDirector(exposed, params as object, message, from);
    else if (this.grants && exposed === this.batchMethod && DIRECTOR_METHODS.has((params as any).method)) {
      this.refuse(message, from, SERVER_ERROR, `${(params as any).method} cannot be called in a batch`);
    } else this.answer(exposed, params as object, message, from);
  }

  /** Answers only what the director has granted; everybody can write its name into `from`. */
  private async answerDirector(exposed: Exposed, params: object, message: Envelope, from: string): Promise<void> {
    const { name } = exposed;
    let granted = false;
    try {
      const grant = await this.link.command(["GETDEL", `${this.grants}:${message.id}`]);
      granted = grant !== null && isDeepStrictEqual(JSON.parse(String(grant)), { method: name, params });
    } catch (error) {
      logger.warn({ method: name, reason: describe(error) }, "grant_unreadable");
    }
    if (granted) this.answer(exposed, params, message, from);
    else this.refuse(message, from, SERVER_ERROR, `only the director may call ${name}: ask it, as in GET /call/${this.name}/${name}`);
  }

  /** Runs the function; one that has nothing to wait for is answered without a turn of the loop. */
  private answer(exposed: Exposed, params: object, message: Envelope, from: string): void {
    const answered = message.id !== undefined && from !== "";
    const progress: Progress = {
      exposed,
      begun: performance.now(),
      reply: answered ? (payload) => this.send(from, payload) : null,
      id: message.id,
      from,
    };
    let result: unknown;
    try {
      result = runExposed(exposed, params, { from, signal: this.abort.signal });
    } catch (error) {
      this.fail(progress, error);
      return;
    }
    if (!isThenable(result)) {
      this.succeed(progress, result);
      return;
    }
    this.inProgress.add(progress);
    this.busy.set(exposed.name, (this.busy.get(exposed.name) ?? 0) + 1);
    result.then(
      (value) => this.end(progress, () => this.succeed(progress, value)),
      (error) => this.end(progress, () => this.fail(progress, error)),
    );
  }

  private end(progress: Progress, tell: () => void): void {
    const { name } = progress.exposed;
    this.inProgress.delete(progress);
    this.busy.set(name, (this.busy.get(name) ?? 1) - 1);
    tell();
    if (!this.inProgress.size) this.onRest?.();
  }

  private succeed(progress: Progress, result: unknown): void {
    const { exposed, reply, id, from } = progress;
    if (reply) {
      let json: string;
      try {
        json = result instanceof RawJson ? result.json : toJson(result);
      } catch (error) {
        this.fail(progress, error);
        return;
      }
      reply(success(json, id, this.name, from, this.group));
    }
    this.metrics.called(exposed.name, "ok", performance.now() - progress.begun);
    this.metrics.failures.succeeded(exposed.kind, exposed.name);
  }

  private fail(progress: Progress, error: unknown): void {
    const { exposed, reply, id, from, begun } = progress;
    const misfit = error instanceof InvalidParams;
    if (!misfit) logger.error({ method: exposed.name, sender: from, reason: describe(error), err: error }, "rpc_handler_failed");
    // Front gives what it gives to every handler: what does not fit is the function's mistake, not the caller's. A value that a schema
    // refuses came from a client, who must not be able to make a service degraded.
    const byHand = !exposed.role || from.split(SEPARATOR)[0] === SERVICE_DIRECTOR;
    if (!misfit || !(byHand || error.path)) this.metrics.failures.failed(exposed.kind, exposed.name, error);
    reply?.(failure(errorOf(error), id, this.name, from, this.group));
    this.metrics.called(exposed.name, misfit ? "invalid_params" : "error", performance.now() - begun);
  }

  private send(channel: string, reply: string): void {
    // A channel of an instance is one of ours, which takes batches; others get one message an answer.
    if (channel.includes(SEPARATOR)) this.batches.put(channel, reply, undefined);
    else this.link.publish(channel, reply, null, true);
  }

  private refuse(message: Envelope, from: string, code: number, detail?: string): void {
    this.metrics.called("-", MESSAGES[code], 0);
    logger.warn({ sender: from, reason: MESSAGES[code], detail }, "rpc_refused");
    if (message.id === undefined || !from) return;
    // The original answers an invalid request with a null id.
    this.send(from, failure(errorObject(code, detail), code === INVALID_REQUEST ? null : message.id, this.name, from));
  }

  // --- many calls in one message

  /** Calls a method for each item; a promise only where one of the calls has something to wait for. */
  private runBatch(method: unknown, items: unknown, from: string): RawJson | Promise<RawJson> {
    const exposed = typeof method === "string" && !method.startsWith("__") ? this.registry.methods.get(method) : undefined;
    if (!exposed) throw new InvalidParams(`there is no method ${JSON.stringify(method)} to call for each item`);
    if (!Array.isArray(items)) throw new InvalidParams("items must be a list of objects of named arguments");
    const begun = performance.now();
    const context = { from, signal: this.abort.signal };
    const results: unknown[] = [];
    const failed = new Map<number, unknown>();
    const late: number[] = [];
    for (let index = 0; index < items.length; index += 1) {
      let result: unknown = null;
      try {
        result = runExposed(exposed, items[index] ?? {}, context);
        if (isThenable(result)) late.push(index);
      } catch (error) {
        failed.set(index, error);
        result = null;
      }
      results.push(result);
    }
    const write = () => {
      const json = writeResults(results, failed);
      this.noteBatch(exposed, results.length - failed.size, [...failed.values()], performance.now() - begun);
      const errors = Object.fromEntries([...failed].map(([index, error]) => [index, errorOf(error)]));
      return new RawJson(`{"results":${json},"errors":${JSON.stringify(errors)}}`);
    };
    return late.length ? settle(results, late, failed).then(write) : write();
  }

  private noteBatch(exposed: Exposed, well: number, failed: unknown[], took: number): void {
    this.metrics.called(exposed.name, "ok", took, well);
    this.metrics.failures.succeeded(exposed.kind, exposed.name, well);
    if (!failed.length) return;
    const last = failed[failed.length - 1];
    logger.warn({ method: exposed.name, count: failed.length, last: describe(last) }, "rpc_batch_errors");
    this.metrics.called(exposed.name, "error", 0, failed.length);
    this.metrics.failures.failed(exposed.kind, exposed.name, last, failed.length);
  }
}

/** A result that is JSON already. */
class RawJson {
  constructor(readonly json: string) {}
}

function isThenable(value: unknown): value is Promise<unknown> {
  return typeof value === "object" && value !== null && typeof (value as Promise<unknown>).then === "function";
}

/** Puts in place of each promise, at the places `late`, what it resolves with, or null; with one promise for all of them. */
function settle(results: unknown[], late: readonly number[], failed: Map<number, unknown>): Promise<void> {
  return new Promise((resolve) => {
    let open = late.length;
    const put = (index: number, value: unknown) => {
      results[index] = value;
      open -= 1;
      if (!open) resolve();
    };
    for (const index of late) {
      const result = results[index];
      // What is no promise but has a `then` may call back twice, or throw.
      const promise = result instanceof Promise ? result : Promise.resolve(result);
      promise.then(
        (value) => put(index, value),
        (error) => {
          failed.set(index, error);
          put(index, null);
        },
      );
    }
  });
}

/** Returns the list as JSON, in one piece where it can be; what cannot be written is null and `failed`. */
function writeResults(results: unknown[], failed: Map<number, unknown>): string {
  try {
    return toJson(results);
  } catch {
    const texts = results.map((result, index) => {
      try {
        return toJson(result);
      } catch (error) {
        failed.set(index, error);
        return "null";
      }
    });
    return `[${texts.join(",")}]`;
  }
}

/** Returns a value as Python's peers print it where they compute which replica answers. */
function shown(value: unknown): string {
  return value === undefined || value === null ? "None" : String(value);
}

/** Returns the JSON-RPC error object for what a handler threw. */
function errorOf(error: unknown): ErrorObject {
  if (error instanceof InvalidParams) return errorObject(INVALID_PARAMS, error.message, error.path);
  return errorObject(SERVER_ERROR, error instanceof RpcError ? maskText(error.message) : describe(error));
}
