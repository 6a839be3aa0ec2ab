/** The processing of a batch of events: call the listener's function, retry after a failure, acknowledge. */

import { Backoff } from "../backoff";
import { ROLE_LISTENER } from "../constants";
import { InvalidParams, RedisError, Reject, Retry } from "../errors";
import { describeThrown, logger, maskText } from "../service/logs";
import type { Metrics } from "../service/metrics";
import type { Exposed } from "../service/registry";
import type { Stop } from "../stop";
import type { Delivery, StreamGroup } from "./group";
import type { LetterLimit } from "./letter_limit";
import { Retries } from "./retries";

/** What a replay reads at once at most. */
export const PORTION_ENTRIES = 1000;
export const PORTION_BYTES = 2_000_000;
/** Of a listener without batches. */
const SINGLES = 50;

/** A listener's function, for whoever gives it events: the stream, and replays beside it. Its calls are counted. */
export class ListenerCall {
  private readonly begun = new Set<{ at: number }>();
  private readonly queue: (() => void)[] = [];

  constructor(
    readonly exposed: Exposed,
    /** The name of its consumer group. */
    readonly group: string,
    private readonly signal: AbortSignal,
    private readonly metrics: Metrics | null = null,
  ) {}

  /** How many entries, and about how many bytes, a replay reads at once. */
  get portion(): { entries: number; size: number } {
    const { batch = 0, batchBytes = 0 } = this.exposed;
    return { entries: Math.min(batch || SINGLES, PORTION_ENTRIES), size: Math.min(batchBytes || PORTION_BYTES, PORTION_BYTES) };
  }

  /** Milliseconds that the oldest call of the function has been in progress; 0 when there is none. */
  get longest(): number {
    return this.begun.size ? performance.now() - Math.min(...[...this.begun].map((call) => call.at)) : 0;
  }

  /** Calls the function with a batch, or with the one event, when it is its turn. Rejects with whatever it throws. */
  async give(events: Record<string, unknown>[]): Promise<void> {
    // A function that handles one batch at a time is not given another one by a replay meanwhile.
    while (this.begun.size >= (this.exposed.inFlight ?? 1)) await new Promise<void>((resolve) => this.queue.push(resolve));
    const call = { at: performance.now() };
    this.begun.add(call);
    try {
      await this.withinTimeout((signal) => this.exposed.func(this.exposed.batch ? events : events[0], { signal, from: "" }));
      this.count("ok", call.at);
    } catch (error) {
      const thrown = asRejection(error);
      const asked = thrown !== error ? "invalid_params" : error instanceof Retry ? "retry" : error instanceof Reject ? "reject" : "";
      this.count(asked || "error", call.at, asked ? null : { thrown });
      throw thrown;
    } finally {
      this.begun.delete(call);
      this.queue.shift()?.();
    }
  }

  private count(outcome: string, begun: number, failure: { thrown: unknown } | null = null): void {
    const { metrics, exposed } = this;
    if (!metrics) return;
    metrics.called(exposed.name, outcome, performance.now() - begun);
    if (failure) metrics.failures.failed(ROLE_LISTENER, exposed.name, failure.thrown);
    else if (outcome === "ok") metrics.failures.succeeded(ROLE_LISTENER, exposed.name);
  }

  /** A function cannot be ended from outside: its signal is aborted, and it is waited for no longer. */
  private async withinTimeout(call: (signal: AbortSignal) => unknown): Promise<void> {
    const { timeout = 0 } = this.exposed;
    if (!timeout) {
      await call(this.signal);
      return;
    }
    const own = new AbortController();
    const stop = () => own.abort(this.signal.reason); // not AbortSignal.any: Node 20 keeps what depends on a long-lived signal
    if (this.signal.aborted) stop();
    this.signal.addEventListener("abort", stop, { once: true });
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        const error = new TimeoutError(`the call took longer than ${timeout} s, the listener's timeout`);
        reject(error);
        own.abort(error);
      }, timeout * 1000);
    });
    try {
      await Promise.race([call(own.signal), late]);
    } finally {
      clearTimeout(timer);
      this.signal.removeEventListener("abort", stop);
    }
  }
}

/** Returns the rejection that an error means: an event that a schema refuses is not given again. */
function asRejection(error: unknown): unknown {
  if (!(error instanceof InvalidParams && error.path)) return error;
  return new Reject(`the event does not match its type: ${error.message}`, { cause: error });
}

/** Returns why a listener did not take what it was given, in words for an operator. */
export function reasonOf(error: unknown): string {
  return error instanceof Retry || error instanceof Reject ? maskText(error.message) : describeThrown(error);
}

/** A call of a listener took longer than its `timeout`. */
class TimeoutError extends Error {
  override readonly name = "TimeoutError";
}

/** Works on batches; `held` is what is in hand: read, and neither acknowledged nor buried yet. */
export class BatchProcessor {
  readonly held = new Set<string>();
  readonly retries: Retries;
  // Handled, but Redis went away before the acknowledgement: given again, they are only acknowledged.
  private readonly handled = new Set<string>();
  private lastError = "";

  constructor(
    private readonly feed: ListenerCall,
    private readonly group: StreamGroup,
    private readonly metrics: Metrics,
    private readonly stopping: Stop,
    private readonly limit: LetterLimit | null = null,
  ) {
    this.retries = new Retries(group, feed.exposed);
  }

  /** Remembers what was read; returns what was not in hand already. */
  take(deliveries: readonly Delivery[]): Delivery[] {
    const fresh = deliveries.filter(({ id }) => !this.held.has(id) && !this.retries.waiting.has(id));
    this.hold(fresh.map(({ id }) => id));
    return fresh;
  }

  /** Remembers what is in hand. */
  hold(ids: readonly string[]): void {
    for (const id of ids) this.held.add(id);
  }

  /** Of what another life was given, returns what is due now; the rest waits for its time. */
  async setAside(deliveries: readonly Delivery[]): Promise<Delivery[]> {
    const early = new Set(await this.retries.setAside(deliveries));
    for (const id of early) this.held.delete(id);
    return deliveries.filter(({ id }) => !early.has(id));
  }

  /** What this consumer is to keep: in hand, or waiting for another delivery. */
  owned(): string[] {
    return [...this.held, ...this.retries.waiting.keys()];
  }

  /** What this consumer keeps and did not handle yet. */
  unhandled(): string[] {
    return this.owned().filter((id) => !this.handled.has(id));
  }

  /** Nothing is in hand any more: what was not acknowledged is still pending, and comes again. */
  dropAll(): void {
    this.held.clear();
    this.retries.clear();
  }

  /** All that is pending came again: what is remembered beyond that was claimed by another consumer. */
  forgetHandled(): void {
    this.handled.clear();
  }

  /** Has the function take a batch. Rejects with a RedisError when what became of it could not be written. */
  async work(deliveries: readonly Delivery[]): Promise<void> {
    const known = deliveries.filter(({ id }) => this.handled.has(id)).map(({ id }) => id);
    if (known.length) await this.acknowledge(known);
    const left = deliveries.filter(({ id }) => this.held.has(id));
    await this.deadLetter(
      left.filter(({ event }) => event === null),
      "the entry of the stream is not a JSON object",
    );
    const readable = left.filter(({ event }) => event !== null);
    if (this.feed.exposed.batch) await this.attempt(readable);
    else for (const delivery of readable) await this.attempt([delivery]);
  }

  /** Puts a batch into the dead letters. */
  async deadLetter(deliveries: readonly Delivery[], reason: string): Promise<void> {
    if (!deliveries.length) return;
    await this.group.deadLetter(deliveries, reason);
    this.forget(deliveries.map(({ id }) => id));
    this.metrics.add("listener_dead_letters", deliveries.length);
    await this.limit?.added(
      deliveries.length,
      deliveries.reduce((size, { raw }) => size + raw.length, 0),
    );
  }

  /** Gives a batch until it is taken, at most `maxAttempts` times with growing pauses; then hunts the culprits. */
  private async attempt(deliveries: readonly Delivery[]): Promise<void> {
    if (!deliveries.length) return;
    const { name, maxAttempts = 10, backoff = 0.5, backoffMax = 30 } = this.feed.exposed;
    const failed = deliveries.reduce((least, { id }) => Math.min(least, this.retries.made(id)), Number.POSITIVE_INFINITY);
    const pauses = new Backoff(backoff * 1000, backoffMax * 1000);
    for (;;) {
      const failure = await this.give(deliveries);
      if (failure === null) return;
      if (failure.thrown instanceof Retry) return this.delay(deliveries, failure.thrown, pauses.attempts);
      if (failure.thrown instanceof Reject) return this.separate(deliveries, this.lastError, false);
      logger.error({ method: name, events: deliveries.length, reason: this.lastError, err: failure.thrown }, "listener_failed");
      if (failed + pauses.attempts + 1 >= maxAttempts) return this.separate(deliveries, this.lastError, true);
      if (await this.stopping.sleep(pauses.next())) return; // they stay pending: the next life, or another consumer, gets them again
    }
  }

  /** Has a batch delivered again later; of what has had its last attempt, what fails becomes a dead letter. */
  private async delay(deliveries: readonly Delivery[], error: Retry, failedBefore = 0): Promise<void> {
    const { name, maxAttempts = 10 } = this.feed.exposed;
    const attempts = (id: string) => this.retries.made(id) + failedBefore + 1;
    const later = new Map(deliveries.map(({ id }): [string, number] => [id, attempts(id)]).filter(([, made]) => made < maxAttempts));
    const spent = deliveries.filter(({ id }) => !later.has(id));
    if (!later.size) return this.separate(spent, `still Retry after ${maxAttempts} attempts: ${maskText(error.message)}`, true);
    await this.retries.delay(later, error);
    for (const id of later.keys()) this.held.delete(id);
    this.metrics.add("listener_retries", later.size);
    logger.info({ method: name, events: later.size, reason: error.message }, "events_delayed");
    if (spent.length) await this.givePart(spent, true);
  }

  /**
   * Buries what of a batch cannot be taken: each half is given once, in order, those that fail are halved again. Where the attempts
   * are not `exhausted`, only what is rejected is buried; what fails otherwise has all of them.
   */
  private async separate(deliveries: readonly Delivery[], reason: string, exhausted: boolean): Promise<void> {
    if (deliveries.length === 1) {
      await this.deadLetter(deliveries, reason);
      return;
    }
    const middle = deliveries.length >> 1;
    for (const half of [deliveries.slice(0, middle), deliveries.slice(middle)]) {
      if (this.stopping.stopped) return;
      await this.givePart(half, exhausted);
    }
  }

  private async givePart(part: readonly Delivery[], exhausted: boolean): Promise<void> {
    const failure = await this.give(part);
    if (failure === null) return;
    if (failure.thrown instanceof Retry) return this.delay(part, failure.thrown);
    if (!(failure.thrown instanceof Reject || exhausted)) return this.attempt(part);
    logger.warn({ method: this.feed.exposed.name, events: part.length, reason: this.lastError }, "listener_failed");
    await this.separate(part, this.lastError, exhausted);
  }

  /** Has the function take a batch once, and acknowledges it; resolves with what the function threw. */
  private async give(deliveries: readonly Delivery[]): Promise<{ thrown: unknown } | null> {
    const begun = performance.now();
    try {
      await this.feed.give(deliveries.map(({ event }) => event as Record<string, unknown>));
    } catch (error) {
      this.lastError = reasonOf(error);
      return { thrown: error };
    }
    const took = performance.now() - begun;
    this.metrics.add("listener_events", deliveries.length);
    const ids = deliveries.map(({ id }) => id);
    for (const id of ids) this.handled.add(id);
    await this.acknowledge(ids, took);
    return null;
  }

  private async acknowledge(ids: readonly string[], tookMs?: number): Promise<void> {
    await this.group.acknowledge(ids, tookMs);
    this.forget(ids);
  }

  /** Lets go of what is done with, and of what was noted of it. */
  forget(ids: readonly string[]): void {
    for (const id of ids) {
      this.held.delete(id);
      this.handled.delete(id);
    }
    this.retries.done(ids);
  }

  /** Shows that what is in hand is still worked on; a group that is gone is noticed here first, and made again. */
  async extendLease(makeGroup: () => Promise<void>): Promise<void> {
    const owned = this.owned();
    if (!owned.length || this.stopping.stopped) return;
    try {
      try {
        const pending = await this.group.extendLease(owned);
        this.retries.hasten(owned.filter((id) => !pending.has(id)));
      } catch (error) {
        if (!isNoGroup(error)) throw error;
        await makeGroup();
      }
    } catch (error) {
      if (!(error instanceof RedisError)) throw error;
      logger.warn({ group: this.group.name, reason: error.message }, "events_hold_failed");
    }
  }
}

/** Tells whether Redis said that the group is gone. */
export function isNoGroup(error: unknown): boolean {
  return error instanceof RedisError && (error as { code?: string }).code === "NOGROUP";
}
