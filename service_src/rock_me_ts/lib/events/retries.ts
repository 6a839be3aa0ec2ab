/**
 * Entries that a listener asked for again later (`throw new Retry()`): they stay pending while others are delivered. When an entry
 * is due and how many attempts were made is noted in Redis, so that a restart, or another instance that takes the entry over, goes
 * on where this process was. Its content is not kept in memory: it is read again when due.
 */

import { Backoff } from "../backoff";
import { MAX_RETRY_SECONDS, type Retry } from "../errors";
import type { Exposed } from "../service/registry";
import type { HealthFacts } from "../types";
import type { Delay, Delivery, StreamGroup } from "./group";

/** With so many entries waiting, a consumer reads nothing new: each is claimed again every two seconds. */
const MAX_DELAYED = 10_000;
/** The clock of the host may be set meanwhile, so it is looked at so often. */
const LOOK_INTERVAL = 1000;
/** A clock that is set back by less, or another host's that is behind by less, has nothing delivered early. */
const CLOCK_STEP_MS = 3_600_000;

/** The delayed entries of one consumer, and the attempts made on those of them that it works on again. */
export class Retries {
  readonly waiting = new Map<string, Delay>();
  /** The latest due first. */
  private byTime: { dueMs: number; id: string }[] = [];
  private latest = 0;
  private readonly attempts = new Map<string, number>();
  private timer: NodeJS.Timeout | undefined;
  private onChange: () => void = () => {};

  constructor(
    private readonly group: StreamGroup,
    private readonly exposed: Exposed,
  ) {}

  /** Whether nothing new should be read before some of these are done. */
  get full(): boolean {
    return this.waiting.size >= MAX_DELAYED;
  }

  /** Whether an entry waits although its time has come. */
  get due(): boolean {
    return this.untilDue() <= 0;
  }

  /** Returns the health check: degraded while delayed entries hold up all others. */
  check(): HealthFacts {
    if (!this.full) return null;
    const reason = `${this.waiting.size} events wait for another delivery (Retry); nothing new is read meanwhile`;
    return { status: "degraded", reason, hint: "see the service's log for why the listener throws Retry" };
  }

  /** How many attempts on an entry ended in a delay. */
  made(id: string): number {
    return this.attempts.get(id) ?? 0;
  }

  /** Has entries delivered again after the delay that `error` names, or the listener's backoff; `made`: attempts so far, by id. */
  async delay(made: ReadonlyMap<string, number>, error: Retry): Promise<void> {
    const begin = Date.now() + 1; // the clock cuts off parts of a millisecond: never early
    const delays = new Map([...made].map(([id, attempts]) => [id, { dueMs: begin + this.milliseconds(attempts, error), attempts }]));
    await this.group.delay(delays);
    this.waitFor(delays);
  }

  private milliseconds(made: number, error: Retry): number {
    if (error.after !== undefined) return Math.floor(error.after * 1000);
    const { backoff = 0.5, backoffMax = 30 } = this.exposed;
    const pauses = new Backoff(backoff * 1000, backoffMax * 1000);
    pauses.attempts = made - 1;
    return Math.floor(Math.min(pauses.next(), MAX_RETRY_SECONDS * 1000));
  }

  /** Of what another life was given, keeps what is not due yet; resolves with its ids. */
  async setAside(deliveries: readonly Delivery[]): Promise<string[]> {
    if (!deliveries.length) return [];
    const noted = await this.group.delays(deliveries.map(({ id }) => id));
    const now = Date.now();
    for (const [id, { attempts }] of noted) this.attempts.set(id, attempts);
    const early = new Map([...noted].filter(([, { dueMs }]) => now < dueMs && dueMs <= latestDue()));
    if (early.size) {
      await this.group.holdAgain([...early.keys()]);
      this.waitFor(early);
    }
    return [...early.keys()];
  }

  private waitFor(delays: ReadonlyMap<string, Delay>): void {
    for (const [id, delay] of delays) {
      this.waiting.set(id, delay);
      this.attempts.set(id, delay.attempts);
      this.latest = Math.max(this.latest, delay.dueMs);
      this.byTime.splice(this.place(delay.dueMs), 0, { dueMs: delay.dueMs, id });
    }
    this.wake();
  }

  /** Where an entry that is due at a time stands in `byTime`: of those due at once, the first to come is given first. */
  private place(dueMs: number): number {
    let [low, high] = [0, this.byTime.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.byTime[middle].dueMs > dueMs) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Makes entries due now: they are not pending any more, and whoever fetches them finds out why. */
  hasten(ids: Iterable<string>): void {
    const delays = new Map<string, Delay>();
    for (const id of ids) {
      const delay = this.waiting.get(id);
      if (delay?.dueMs) delays.set(id, { ...delay, dueMs: 0 }); // once: a function that hangs has this called every two seconds
    }
    if (delays.size) this.waitFor(delays);
  }

  /** Has `whenDue` look at the clock now. */
  wake(): void {
    this.onChange();
  }

  /** Resolves when an entry is due. One waits at a time: what an earlier call returned never resolves from now on. */
  whenDue(): Promise<void> {
    return new Promise((resolve) => {
      this.onChange = () => {
        clearTimeout(this.timer);
        const left = this.untilDue();
        if (left <= 0) resolve();
        else if (left < Number.POSITIVE_INFINITY) this.timer = setTimeout(this.onChange, Math.min(LOOK_INTERVAL, left));
      };
      this.onChange();
    });
  }

  private untilDue(): number {
    const latest = latestDue();
    if (this.latest > latest) {
      this.latest = latest; // the clock was set back: nobody meant to wait for so long
      this.hasten([...this.waiting].filter(([, { dueMs }]) => dueMs > latest).map(([id]) => id));
    }
    const next = this.byTime[this.byTime.length - 1];
    return next ? next.dueMs - Date.now() : Number.POSITIVE_INFINITY;
  }

  /** Returns the ids of up to `count` entries that are due, the longest due first; they wait no more. */
  popDue(count: number): string[] {
    const found: string[] = [];
    while (found.length < count && this.untilDue() <= 0) {
      const { id, dueMs } = this.byTime.pop() as { id: string; dueMs: number };
      if (this.waiting.get(id)?.dueMs !== dueMs) continue; // it was delayed anew, or hastened
      this.waiting.delete(id);
      found.push(id);
    }
    return found;
  }

  /** Forgets entries that were acknowledged. */
  done(ids: readonly string[]): void {
    if (!this.attempts.size) return; // mostly
    const noted = ids.filter((id) => this.attempts.delete(id));
    if (noted.length) this.group.forgetDelays(noted);
  }

  /** Holds nothing: all of it is still pending, and noted in Redis. */
  clear(): void {
    clearTimeout(this.timer);
    this.onChange = () => {};
    this.waiting.clear();
    this.byTime = [];
    this.attempts.clear();
  }
}

/** Returns the latest time that a delayed entry may be due at. */
function latestDue(): number {
  return Date.now() + MAX_RETRY_SECONDS * 1000 + CLOCK_STEP_MS;
}
