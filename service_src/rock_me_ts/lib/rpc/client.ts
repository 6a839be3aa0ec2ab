/** Calls to other services. */

import { randomInt } from "node:crypto";
import { BROADCAST, METHOD_BATCH, RPC_TIMEOUT } from "../constants";
import { RedisReplyError, RedisUnavailable, type RpcError, RpcRemoteError, RpcTimeout, RpcUnavailable } from "../errors";
import type { RedisLink } from "../redis/link";
import type { CallOptions, Gathered, Params, Rpc } from "../types";
import { FanOut } from "./fan_out";
import { type Envelope, notification, request, SERVER_ERROR, toJson } from "./messages";
import { Outbox } from "./outbox";
import { instanceChannel, type Presence } from "./presence";

/** Something that takes the replies to one request id. */
export interface Waiter {
  /** Takes a reply; true: nothing more is expected. */
  take(reply: Envelope): boolean;
  /** Ends the wait: the service stops. */
  end(reason: string): void;
  /** The deadline, on the clock of `performance`, if the client's timer enforces it. */
  deadline?: number;
}

/** Returns the typed error for the `error` object of a reply. */
export function remoteError(error: unknown, to: string, method: string): RpcRemoteError {
  if (error === null || typeof error !== "object") return new RpcRemoteError(SERVER_ERROR, String(error), undefined, { to, method });
  const { code, message, data } = error as Record<string, unknown>;
  return new RpcRemoteError(typeof code === "number" ? code : SERVER_ERROR, String(message || "unknown error"), data, { to, method });
}

class Call implements Waiter {
  done = false;
  id = "";
  deadline = 0;

  constructor(
    readonly to: string,
    readonly method: string,
    readonly timeout: number,
    private readonly resolve: (value: any) => void,
    private readonly reject: (error: Error) => void,
    private readonly waiting: Map<string, Waiter>,
  ) {}

  private finish(): boolean {
    if (this.done) return false;
    this.done = true;
    this.waiting.delete(this.id);
    return true;
  }

  take(reply: Envelope): boolean {
    if (!this.finish()) return true;
    if (reply.error !== undefined && reply.error !== null) this.reject(remoteError(reply.error, this.to, this.method));
    else this.resolve(reply.result === undefined ? null : reply.result);
    return true;
  }

  fail(error: Error): void {
    if (this.finish()) this.reject(error);
  }

  unavailable(why: string): void {
    this.fail(new RpcUnavailable(`${this.to}.${this.method}: ${why}`, this));
  }

  end(reason: string): void {
    this.unavailable(reason);
  }
}

type Sent = { call: Call; instance: string };

export class RpcClient implements Rpc {
  name = "";
  /** The channel of this instance, on which answers of services of ours arrive. */
  replyChannel = "";
  timeouts = 0;
  late = 0;
  readonly waiting = new Map<string, Waiter>();
  private readonly batches: Outbox<Sent>;
  private readonly fanOut: FanOut;
  // One timer, for the earliest deadline: one for each call would cost as much as the call.
  private timer: NodeJS.Timeout | undefined;
  private timerAt = Number.POSITIVE_INFINITY;
  // Not from 1: an answer to an earlier life of this service must not be taken for one to this life.
  private lastId = randomInt(2 ** 40);

  constructor(
    private readonly link: RedisLink,
    private readonly presence: Presence,
  ) {
    this.batches = new Outbox(link, (reply, payload, sent) => this.onUnheard(reply, payload, sent));
    this.fanOut = new FanOut(
      link,
      presence,
      this.waiting,
      () => this.nextId(),
      () => this.replyChannel,
    );
  }

  nextId(): string {
    this.lastId += 1;
    return String(this.lastId);
  }

  call<T = any>(to: string, method: string, params: Params | null = {}, options: CallOptions = {}): Promise<T> {
    const timeout = options.timeout ?? RPC_TIMEOUT;
    return new Promise<T>((resolve, reject) => {
      const json = toJson(params ?? {});
      const call = new Call(to, method, timeout, resolve, reject, this.waiting);
      call.id = this.nextId();
      if (options.signal) this.watch(call, options.signal);
      if (call.done) return;
      this.waiting.set(call.id, call);
      const now = performance.now();
      call.deadline = now + timeout;
      if (call.deadline < this.timerAt) this.expireAt(call.deadline, now);
      if (this.link.connected) this.send(call, json);
      else
        this.link.ready(timeout).then(
          () => call.done || this.send(call, json),
          () => {}, // the timer tells
        );
    });
  }

  private expireAt(deadline: number, now: number): void {
    clearTimeout(this.timer);
    this.timerAt = deadline;
    this.timer = setTimeout(() => this.expire(), deadline - now);
  }

  /** Ends what is overdue, and sets the timer for what is next. */
  private expire(): void {
    const due = this.timerAt;
    this.timerAt = Number.POSITIVE_INFINITY;
    let next = Number.POSITIVE_INFINITY;
    for (const waiter of this.waiting.values()) {
      const { deadline } = waiter;
      if (deadline === undefined) continue;
      if (deadline > due) next = Math.min(next, deadline);
      else this.timeOut(waiter as Call);
    }
    if (next < this.timerAt) this.expireAt(next, performance.now());
  }

  private timeOut(call: Call): void {
    const { to, method, timeout } = call;
    this.timeouts += 1;
    const error: RpcError = this.link.connected
      ? new RpcTimeout(`${to}.${method} did not answer within ${timeout / 1000} s`, { to, method })
      : new RpcUnavailable(`${to}.${method} was not called: There is no connection to Redis: ${this.link.lastError}`, { to, method });
    call.fail(error);
  }

  private watch(call: Call, signal: AbortSignal): void {
    const stop = () => call.fail(signal.reason instanceof Error ? signal.reason : new Error("The call was aborted"));
    if (signal.aborted) stop();
    else signal.addEventListener("abort", stop, { once: true });
  }

  notify(to: string, method: string, params: Params | null = {}): void {
    this.link.publish(to, notification(to, method, this.name, params ?? {}), null, true);
  }

  broadcast(params: Params): void {
    this.notify(BROADCAST, BROADCAST, params);
  }

  async callMany<T = any>(to: string, method: string, items: readonly Params[], options: CallOptions = {}): Promise<(T | RpcRemoteError)[]> {
    const answer = await this.call<{ results: T[]; errors: Record<string, unknown> }>(to, METHOD_BATCH, { method, items }, options);
    const results: (T | RpcRemoteError)[] = answer.results;
    for (const [index, error] of Object.entries(answer.errors ?? {})) results[Number(index)] = remoteError(error, to, method);
    return results;
  }

  service<T extends object = Record<string, (params?: Params, options?: CallOptions) => Promise<any>>>(name: string): T {
    const methods = new Map<string, (params?: Params, options?: CallOptions) => Promise<any>>();
    return new Proxy({} as T, {
      get: (_target, method) => {
        if (typeof method !== "string" || method === "then") return undefined;
        let call = methods.get(method);
        if (!call) {
          call = (params, options) => this.call(name, method, params, options);
          methods.set(method, call);
        }
        return call;
      },
    });
  }

  async gather(channel: string, method: string, params: Params, options: { expect: readonly string[]; timeout?: number }): Promise<Gathered> {
    const services = [...new Set(options.expect)];
    const timeout = options.timeout ?? RPC_TIMEOUT;
    if (!services.length || !this.link.connected) return { results: {}, errors: {}, missing: services };
    if (services.map((service) => this.presence.knows(service)).every(Boolean)) return this.fanOut.ask(method, services, timeout, toJson(params));
    return this.fanOut.askChannel(channel, method, services, timeout, toJson(params), this.plainSender());
  }

  /** Gives a reply to the request that waits for it. */
  takeReply(reply: Envelope): void {
    const id = String(reply.id);
    const waiter = this.waiting.get(id);
    if (waiter === undefined) this.late += 1;
    else if (waiter.take(reply)) this.waiting.delete(id);
  }

  /** Ends everything that waits; returns how much there was. */
  cancelAll(reason: string): number {
    const all = [...this.waiting.values()];
    this.waiting.clear();
    clearTimeout(this.timer);
    this.timerAt = Number.POSITIVE_INFINITY;
    for (const waiter of all) waiter.end(reason);
    return all.length;
  }

  // --- sending

  private send(call: Call, params: string): void {
    const instance = this.presence.pick(call.to);
    if (instance === null) {
      this.publishPlain(call, request(call.to, call.method, this.plainSender(), params, call.id));
      return;
    }
    this.batches.put(instanceChannel(call.to, instance), request(call.to, call.method, this.replyChannel, params, call.id), { call, instance });
  }

  /** Returns where an original peer answers to: the service's channel, or ours alone when it has replicas. */
  plainSender(): string {
    return this.presence.alone ? this.name : this.replyChannel;
  }

  private publishPlain(call: Call, payload: string): void {
    const sent = this.link.publish(call.to, payload, (receivers) => {
      if (receivers === 0) call.unavailable(`no service "${call.to}" is connected to Redis; is it running, and is the name right?`);
      else if (receivers instanceof RedisReplyError) call.unavailable(receivers.message);
    });
    if (!sent) call.unavailable(`it was not called: ${this.link.lastError}`);
  }

  /** An instance is gone: turn to another one, or to whoever listens under the service's name. */
  private onUnheard(reply: any, payload: string, sent: Sent): void {
    const { call, instance } = sent;
    if (reply === 0) {
      this.presence.forget(call.to, instance);
      const other = this.presence.pick(call.to);
      if (other !== null && !call.done) {
        this.batches.put(instanceChannel(call.to, other), payload, { call, instance: other });
        return;
      }
    }
    if (!call.done && !(reply instanceof RedisUnavailable)) this.publishPlain(call, payload);
  }
}
