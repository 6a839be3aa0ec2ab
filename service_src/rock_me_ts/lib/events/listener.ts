/**
 * The durable stream of events, as a listener consumes it: the service is a consumer group of the stream `events`. What it was
 * given stays pending until its function returned, and is given again when the function threw, or when the process died.
 * While the function works on one batch, or on as many as the listener allows at once, the next one is read already.
 */

import { Backoff } from "../backoff";
import { RedisError } from "../errors";
import type { RedisAddress } from "../redis/address";
import { RedisLink } from "../redis/link";
import { logger } from "../service/logs";
import type { Metrics } from "../service/metrics";
import { Stop, within } from "../stop";
import type { HealthFacts } from "../types";
import { type Delivery, StreamGroup } from "./group";
import type { LetterLimit } from "./letter_limit";
import { before, isOlder } from "./positions";
import { BatchProcessor, isNoGroup, type ListenerCall } from "./processor";
import { EventReader } from "./reader";

const BLOCK_MS = 2000;
/** A message that a silent consumer holds for so long is given to another one. */
const CLAIM_AFTER_MS = 8000;
const CLAIM_INTERVAL = 2000;
const HOLD_INTERVAL = 2000;
/** Between two looks whether fewer entries wait for another delivery, while nothing new is read. */
const FULL_PAUSE = 1000;
/** A function that works so long on the same events makes its service degraded. */
const STUCK_AFTER = 120_000;
/** Lives of a service that ended over the same events; from then on they are given one by one. */
const SUSPECT_AFTER = 2;
/** Crashes after which an event is a dead letter: one less than the director's crash window, so the service goes on. */
const CONVICTED_AFTER = 4;
/** A listener with so many attempts gives nothing up. */
const NEVER = 1_000_000;

export class StreamListener {
  /** Of its group. */
  readonly name: string;
  private readonly link: RedisLink;
  private readonly group: StreamGroup;
  private readonly batches: BatchProcessor;
  private readonly reader: EventReader;
  private readonly stopping = new Stop();
  private readonly backoff = new Backoff();
  private claimAt = 0;
  private oldestUnhandled = "";
  private hold: NodeJS.Timeout | undefined;
  private turn: Promise<void> = Promise.resolve();
  private running: Promise<void> = Promise.resolve();

  constructor(
    service: string,
    consumer: string,
    private readonly feed: ListenerCall,
    metrics: Metrics,
    private readonly commands: RedisLink,
    private readonly start: string,
    limit: LetterLimit | null,
  ) {
    this.name = feed.group;
    this.link = new RedisLink(`${this.name}-events`);
    this.group = new StreamGroup(this.name, consumer, this.link, commands, service);
    this.batches = new BatchProcessor(feed, this.group, metrics, this.stopping, limit);
    this.reader = new EventReader(feed.exposed, this.group, this.batches, metrics, this.stopping);
  }

  /** Begins to consume; goes on until `stop`. Redis going away is waited out. */
  run(address: RedisAddress): void {
    this.link.start(address);
    this.hold = setInterval(() => void this.batches.extendLease(() => this.joinAgain()), HOLD_INTERVAL);
    this.running = this.loop();
  }

  /** Returns the health check; null while all is well. */
  check(): HealthFacts {
    if (!this.link.connected) return { status: "degraded", reason: `events are not read: ${this.link.lastError}` };
    const longest = this.feed.longest;
    if (longest < STUCK_AFTER) return this.batches.retries.check();
    const reason = `${this.feed.exposed.name} has been busy with the same events for ${Math.round(longest / 1000)} s`;
    return { status: "degraded", reason, hint: "what is it waiting for? See the service's log" };
  }

  /** Whether the group is there, so that it gets what is appended from now on. */
  get joined(): boolean {
    return this.reader.position !== "";
  }

  /** How many entries wait for another delivery. */
  get delayed(): number {
    return this.batches.retries.waiting.size;
  }

  /** Whether one of them should be delivered now. */
  get due(): boolean {
    return this.batches.retries.due;
  }

  /** Looks at the clock now: a test has set it. */
  wake(): void {
    this.batches.retries.wake();
  }

  /** Takes nothing new and lets what was taken end; resolves with whether it did within `timeout` milliseconds. */
  async stop(timeout: number): Promise<boolean> {
    this.stopping.stop();
    const ended = await within(this.turn, timeout);
    clearInterval(this.hold);
    const held = this.batches.unhandled();
    if (held.length && this.commands.connected) await this.group.release(held, ended).catch(() => {});
    this.batches.retries.clear();
    await this.link.close();
    await within(this.running, 1000);
    return ended;
  }

  private async loop(): Promise<void> {
    while (!this.stopping.stopped) {
      this.turn = this.once();
      await this.turn;
    }
  }

  /** Consumes until something goes wrong, or it stops; never rejects. */
  private async once(): Promise<void> {
    try {
      await this.stopping.unless(Promise.all([this.link.ready(30_000), this.commands.ready(30_000)]));
      if (this.stopping.stopped) return;
      await this.consume();
    } catch (error) {
      if (isNoGroup(error)) logger.warn({ group: this.name }, "events_group_gone");
      else if (!(error instanceof RedisError)) logger.error({ group: this.name, err: error }, "events_failed");
      this.rememberUnhandled();
      this.batches.dropAll();
      await this.stopping.sleep(this.backoff.next());
    }
  }

  private async consume(): Promise<void> {
    const reconnected = this.joined;
    await this.join();
    await this.group.forgetConsumers();
    await this.finishOwn(reconnected);
    this.batches.forgetHandled();
    this.backoff.reset(); // an outage next week begins with a short pause again
    const { inFlight = 1 } = this.feed.exposed;
    const { retries } = this.batches;
    const working = new Set<Promise<void>>();
    let fault: { error: unknown } | null = null;
    const fail = (error: unknown) => {
      fault ??= { error };
    };
    const begin = (batch: Delivery[]) => {
      if (!batch.length) return;
      const work: Promise<void> = this.batches
        .work(batch)
        .catch(fail)
        .finally(() => working.delete(work));
      working.add(work);
    };
    const freeHand = async () => {
      while (working.size >= inFlight) await Promise.race(working);
    };
    let reading = this.read();
    try {
      while (!this.stopping.stopped && !fault) {
        const due = working.size < inFlight ? [retries.whenDue()] : [];
        await this.stopping.unless(Promise.race([reading.done, ...due, ...working]));
        const ready = reading.ended || (this.stopping.stopped && this.reader.filling);
        if (!ready) {
          if (retries.due && working.size < inFlight && !this.stopping.stopped) begin(await this.reader.due());
          continue;
        }
        const batch = await reading.batch;
        const stopped = this.stopping.stopped;
        await freeHand();
        if (!this.stopping.stopped && retries.due) {
          begin(await this.reader.due()); // what was delayed has its turn with what is new
          await freeHand();
        }
        if (fault || stopped !== this.stopping.stopped) break; // what waited for a free hand when the stop came is for others
        begin(batch);
        if (this.stopping.stopped) break; // when it stops, nothing more is read
        reading = this.read();
      }
    } catch (error) {
      fail(error);
    }
    // What is being worked on ends: it is remembered, and only acknowledged when it comes again.
    await Promise.all(working);
    if (fault) {
      await reading.batch.catch(() => {});
      throw (fault as { error: unknown }).error;
    }
  }

  /** Begins to read a batch; `done` never rejects. */
  private read(): { batch: Promise<Delivery[]>; done: Promise<void>; readonly ended: boolean } {
    const reading = { batch: this.next(), done: Promise.resolve(), ended: false };
    const end = () => {
      reading.ended = true;
    };
    reading.done = reading.batch.then(end, end);
    return reading;
  }

  // --- the group

  /** Makes the group where it is missing: at first as it is configured, later where this life had come to. */
  private async join(): Promise<void> {
    const reader = this.reader;
    if (!reader.position) {
      const made = await this.group.ensure(this.start);
      const position = await this.group.position();
      if (made) this.group.noteBeginning(position);
      reader.position = position;
      return;
    }
    let start = this.oldestUnhandled ? before(this.oldestUnhandled) : reader.position;
    if (isOlder(await this.group.newest(), start)) start = "0"; // another stream, made by a Redis whose clock is behind
    if (await this.group.ensure(start)) {
      reader.position = start;
      logger.warn({ group: this.name, begins_behind: start }, "events_group_made_again");
    }
    this.oldestUnhandled = "";
  }

  /** Makes the group while work goes on, which may take hours: without it, front's trimming would not know of anybody who needs what it accepts. */
  private async joinAgain(): Promise<void> {
    this.rememberUnhandled();
    await this.join();
  }

  private rememberUnhandled(): void {
    for (const id of this.batches.unhandled()) if (!this.oldestUnhandled || isOlder(id, this.oldestUnhandled)) this.oldestUnhandled = id;
  }

  // --- reading

  /** The next batch: what silent consumers left, or what is new; empty when nothing came for a while. */
  private async next(): Promise<Delivery[]> {
    this.reader.filling = false;
    if (performance.now() >= this.claimAt) {
      const { claimed, more } = await this.reader.claim(CLAIM_AFTER_MS);
      this.claimAt = performance.now() + (more ? 0 : CLAIM_INTERVAL);
      if (claimed.length) {
        logger.info({ group: this.name, count: claimed.length }, "events_claimed");
        return claimed;
      }
    }
    if (this.batches.retries.full) {
      await this.stopping.sleep(FULL_PAUSE);
      return [];
    }
    return this.reader.fresh(BLOCK_MS);
  }

  /** Handles what an earlier life of this consumer, or this one before it lost its connection, was given and did not finish. */
  private async finishOwn(reconnected: boolean): Promise<void> {
    const { maxAttempts = 10 } = this.feed.exposed;
    const isSuspect = (counts: Map<string, number>) => [...counts.values()].some((count) => count >= SUSPECT_AFTER);
    let after = "0-0";
    let counts = new Map<string, number>();
    while (!this.stopping.stopped) {
      if (maxAttempts < NEVER && !reconnected && !isSuspect(counts)) counts = await this.group.tries(after, this.reader.wanted);
      const single = isSuspect(counts);
      const { batch, trimmed, end } = await this.reader.own(after, single);
      if (trimmed.length) await this.group.acknowledge(trimmed);
      if (end === after) return;
      after = end;
      // Reading counts as a delivery, and the process has not crashed.
      if (reconnected) await this.group.holdAgain(batch.map(({ id }) => id));
      const tries = single ? (counts.get(end) ?? 0) : 0;
      counts.delete(end);
      if (tries >= CONVICTED_AFTER) await this.batches.deadLetter(batch, `the service crashed ${tries} times while it processed this event`);
      else await this.batches.work(await this.batches.setAside(batch));
    }
  }
}
