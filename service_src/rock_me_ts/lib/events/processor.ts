/** What is done with a batch of events: the listener's function, again after a failure, then the acknowledgement. */

import { Backoff } from "../backoff";
import { ROLE_LISTENER } from "../constants";
import { RedisError } from "../errors";
import { describeThrown, logger } from "../service/logs";
import type { Metrics } from "../service/metrics";
import type { Exposed } from "../service/registry";
import type { Stop } from "../stop";
import type { Delivery, StreamGroup } from "./group";
import type { LetterLimit } from "./letter_limit";

const RETRY_CAP = 30_000;

/** A listener's function, for whoever gives it events: the stream, and a replay of dead letters beside it. */
export class ListenerCall {
  private readonly begun = new Set<{ at: number }>();
  private readonly queue: (() => void)[] = [];

  constructor(
    readonly exposed: Exposed,
    private readonly signal: AbortSignal,
  ) {}

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
      await this.exposed.func(this.exposed.batch ? events : events[0], { signal: this.signal, from: "" });
    } finally {
      this.begun.delete(call);
      this.queue.shift()?.();
    }
  }
}

/** Works on batches; `held` is what is in hand: read, and neither acknowledged nor buried yet. */
export class BatchProcessor {
  readonly held = new Set<string>();
  // Handled, but Redis went away before the acknowledgement: given again, they are only acknowledged.
  private readonly handled = new Set<string>();
  private lastError = "";

  constructor(
    private readonly feed: ListenerCall,
    private readonly group: StreamGroup,
    private readonly metrics: Metrics,
    private readonly stopping: Stop,
    private readonly limit: LetterLimit | null = null,
  ) {}

  /** Remembers what was read; returns what was not in hand already. */
  take(deliveries: readonly Delivery[]): Delivery[] {
    const fresh = deliveries.filter((delivery) => !this.held.has(delivery.id));
    for (const { id } of fresh) this.held.add(id);
    return fresh;
  }

  /** What is in hand and was not handled yet. */
  unhandled(): string[] {
    return [...this.held].filter((id) => !this.handled.has(id));
  }

  /** Nothing is in hand any more: what was not acknowledged is still pending, and comes again. */
  dropAll(): void {
    this.held.clear();
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
    this.discard(deliveries.map(({ id }) => id));
    this.metrics.add("listener_dead_letters", deliveries.length);
    await this.limit?.added(
      deliveries.length,
      deliveries.reduce((size, { raw }) => size + raw.length, 0),
    );
  }

  /** Gives a batch until it is taken, at most `maxAttempts` times with growing pauses; then hunts the culprits. */
  private async attempt(deliveries: readonly Delivery[]): Promise<void> {
    if (!deliveries.length) return;
    const { name, maxAttempts = 10 } = this.feed.exposed;
    const backoff = new Backoff(500, RETRY_CAP);
    for (;;) {
      const error = await this.give(deliveries);
      if (error === null) return;
      logger.error({ method: name, events: deliveries.length, reason: this.lastError, err: error.thrown }, "listener_failed");
      if (backoff.attempts + 1 >= maxAttempts) {
        await this.separate(deliveries, this.lastError);
        return;
      }
      if (await this.stopping.sleep(backoff.next())) return; // they stay pending: the next life, or another consumer, gets them again
    }
  }

  /** Buries what of a batch cannot be taken: each half is given once, in order, those that fail are halved again. */
  private async separate(deliveries: readonly Delivery[], reason: string): Promise<void> {
    if (deliveries.length === 1) {
      await this.deadLetter(deliveries, reason);
      return;
    }
    const middle = deliveries.length >> 1;
    for (const half of [deliveries.slice(0, middle), deliveries.slice(middle)]) {
      if (this.stopping.stopped) return;
      if ((await this.give(half)) !== null) {
        logger.warn({ method: this.feed.exposed.name, events: half.length, reason: this.lastError }, "listener_failed");
        await this.separate(half, this.lastError);
      }
    }
  }

  /** Has the function take a batch once, and acknowledges it; resolves with what the function threw. */
  private async give(deliveries: readonly Delivery[]): Promise<{ thrown: unknown } | null> {
    const { name } = this.feed.exposed;
    const begun = performance.now();
    try {
      await this.feed.give(deliveries.map(({ event }) => event as Record<string, unknown>));
    } catch (error) {
      this.lastError = describeThrown(error);
      this.metrics.called(name, "error", performance.now() - begun);
      this.metrics.failures.failed(ROLE_LISTENER, name, error);
      return { thrown: error };
    }
    const took = performance.now() - begun;
    this.metrics.called(name, "ok", took);
    this.metrics.failures.succeeded(ROLE_LISTENER, name);
    this.metrics.add("listener_events", deliveries.length);
    const ids = deliveries.map(({ id }) => id);
    for (const id of ids) this.handled.add(id);
    await this.acknowledge(ids, took);
    return null;
  }

  private async acknowledge(ids: readonly string[], tookMs?: number): Promise<void> {
    await this.group.acknowledge(ids, tookMs);
    this.discard(ids);
  }

  private discard(ids: readonly string[]): void {
    for (const id of ids) {
      this.held.delete(id);
      this.handled.delete(id);
    }
  }

  /** Shows that what is in hand is still worked on; a group that is gone is noticed here first, and made again. */
  async extendLease(makeGroup: () => Promise<void>): Promise<void> {
    if (!this.held.size || this.stopping.stopped) return;
    try {
      try {
        await this.group.extendLease([...this.held]);
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
