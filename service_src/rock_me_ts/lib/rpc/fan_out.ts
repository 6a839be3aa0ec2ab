/** Requests to several services at once; to services of ours, those of one turn of the loop leave as one message. */

import { METHOD_BATCH, RPC_TIMEOUT } from "../constants";
import type { RpcRemoteError } from "../errors";
import type { RedisLink } from "../redis/link";
import type { Gathered } from "../types";
import { remoteError, type Waiter } from "./client";
import { type Envelope, request } from "./messages";
import { MAX_BATCH } from "./outbox";
import { instanceChannel, type Presence } from "./presence";

/** Gatherings that ask the same services at the same moment, and so are answered together. */
class Turn {
  readonly items: string[] = [];
  private readonly asked: { resolve: (found: Gathered) => void; results: Record<string, any>; errors: Record<string, RpcRemoteError> }[] = [];
  readonly open: Set<string>;
  timer: NodeJS.Timeout | undefined;

  constructor(
    readonly method: string,
    services: readonly string[],
    readonly timeout: number,
  ) {
    this.open = new Set(services);
  }

  ask(item: string): Promise<Gathered> {
    this.items.push(item);
    return new Promise((resolve) => this.asked.push({ resolve, results: {}, errors: {} }));
  }

  /** Takes what a service answered: a result for each that asked, errors by number, or one error of the whole. */
  take(service: string, results: readonly unknown[], errors: Record<string, unknown>, whole?: unknown, key = service): void {
    if (!this.open.has(service)) return;
    this.asked.forEach((one, index) => {
      const error = errors[index] ?? whole ?? (index < results.length ? undefined : { message: "fewer answers than requests" });
      if (error === undefined) one.results[key] = results[index] ?? null;
      else one.errors[key] = remoteError(error, service, this.method);
    });
    this.stopWaitingFor(service);
  }

  stopWaitingFor(service: string, heard = true): void {
    if (heard) this.open.delete(service);
    else this.silent.add(service);
    if ([...this.open].every((one) => this.silent.has(one))) this.finish();
  }

  private readonly silent = new Set<string>();

  /** Tells everybody who still waits what has come so far. */
  finish(): void {
    clearTimeout(this.timer);
    const missing = [...this.open];
    this.open.clear();
    for (const { resolve, results, errors } of this.asked.splice(0)) resolve({ results, errors, missing });
  }
}

export class FanOut {
  private turns = new Map<string, { turn: Turn; services: readonly string[] }>();
  private full: Turn[] = [];
  private planned = false;

  constructor(
    private readonly link: RedisLink,
    private readonly presence: Presence,
    private readonly waiting: Map<string, Waiter>,
    private readonly nextId: () => string,
    private readonly replyChannel: () => string,
  ) {}

  /** Asks services of ours; the questions of one turn of the loop reach each as one message. */
  ask(method: string, services: readonly string[], timeout: number, params: string): Promise<Gathered> {
    const key = JSON.stringify([method, timeout, ...services]);
    let entry = this.turns.get(key);
    if (!entry) {
      entry = { turn: new Turn(method, services, timeout), services };
      this.turns.set(key, entry);
      if (!this.planned) {
        this.planned = true;
        setImmediate(() => this.sendAll());
      }
    }
    const found = entry.turn.ask(params);
    if (entry.turn.items.length >= MAX_BATCH) {
      this.full.push(entry.turn);
      this.turns.delete(key);
    }
    return found;
  }

  /** Asks on a fan-out channel, as the original platform does: each service answers for itself. */
  askChannel(channel: string, method: string, services: readonly string[], timeout: number, params: string, from: string): Promise<Gathered> {
    const turn = new Turn(method, services, timeout);
    const found = turn.ask(params);
    const id = this.nextId();
    const finish = () => {
      this.waiting.delete(id);
      turn.finish();
    };
    this.waiting.set(id, {
      take: (reply: Envelope) => {
        const service = String(reply.from);
        const failed = reply.error !== undefined && reply.error !== null;
        turn.take(service, failed ? [] : [reply.result], {}, failed ? reply.error : undefined, groupOf(reply, service));
        return turn.open.size === 0;
      },
      end: finish,
    });
    turn.timer = setTimeout(finish, timeout);
    const sent = this.link.publish(channel, request(channel, method, from, params, id), (receivers) => {
      if (typeof receivers !== "number" || receivers === 0) finish(); // nobody got it: nothing to wait for
    });
    if (!sent) finish();
    return found;
  }

  private sendAll(): void {
    this.planned = false;
    const turns = [...this.full, ...[...this.turns.values()].map((entry) => entry.turn)];
    this.full = [];
    this.turns = new Map();
    for (const turn of turns) {
      turn.timer = setTimeout(() => turn.finish(), turn.timeout);
      const params = `{"method":${JSON.stringify(turn.method)},"items":[${turn.items.join(",")}]}`;
      for (const service of [...turn.open]) this.send(turn, service, params);
    }
    this.link.flush();
  }

  private send(turn: Turn, service: string, params: string): void {
    const id = this.nextId();
    // Whoever still waits has its own deadline; this only forgets an answer that never came.
    const forget = setTimeout(() => this.waiting.delete(id), Math.max(turn.timeout, RPC_TIMEOUT));
    this.waiting.set(id, {
      take: (reply: Envelope) => {
        clearTimeout(forget);
        const answer = reply.result as { results?: unknown[]; errors?: Record<string, unknown> } | null | undefined;
        if (reply.error !== undefined && reply.error !== null) turn.take(service, [], {}, reply.error);
        else if (!Array.isArray(answer?.results)) turn.take(service, [], {}, { message: "not the answer to a batch" });
        else turn.take(service, answer.results, answer.errors ?? {}, undefined, groupOf(reply, service));
        return true;
      },
      end: () => {
        clearTimeout(forget);
        turn.finish();
      },
    });
    this.publish(turn, service, request(service, METHOD_BATCH, this.replyChannel(), params, id), this.presence.pick(service));
  }

  private publish(turn: Turn, service: string, payload: string, instance: string | null): void {
    const channel = instance === null ? service : instanceChannel(service, instance);
    const sent = this.link.publish(channel, payload, (receivers) => {
      if (receivers === 0 && instance !== null) {
        this.presence.forget(service, instance);
        this.publish(turn, service, payload, this.presence.pick(service));
      } else if (typeof receivers !== "number" || receivers === 0) turn.stopWaitingFor(service, false);
    });
    if (!sent) turn.stopWaitingFor(service, false);
  }
}

/** Returns the name under which an answer is kept: that of the replicas' group, where the reply has one. */
function groupOf(reply: Envelope, service: string): string {
  return typeof reply.service_group === "string" && reply.service_group ? reply.service_group : service;
}
