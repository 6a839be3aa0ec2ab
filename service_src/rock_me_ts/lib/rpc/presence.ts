/**
 * Who runs now, of our own kind: the instances of each service.
 *
 * Every instance keeps its name in the sorted set `band:instances:<service>` with the time until which it counts, and says on
 * the channel `band:presence` when it comes and goes. So a caller knows that a peer is one of ours (it understands batches and
 * answers to a channel of the caller's instance) and how many replicas share the work; services of the original platform are
 * not there, and are spoken to as they always were.
 */

import { RedisReplyError, RedisUnavailable } from "../errors";
import type { RedisLink } from "../redis/link";
import { logger } from "../service/logs";

export const PRESENCE_CHANNEL = "band:presence";
/** Between service and instance in the name of an instance's own channel. */
export const SEPARATOR = "#";
const REFRESH = 3000;
const LIFETIME_SECONDS = 10;
const FORGET_AFTER = 60_000;
const MAX_WITHOUT_INSTANCES = 100;

const keyOf = (service: string): string => `band:instances:${service}`;

/** Returns the channel on which one instance of a service is spoken to. */
export function instanceChannel(service: string, instance: string): string {
  return `${service}${SEPARATOR}${instance}`;
}

export class Presence {
  service = "";
  instance = "";
  /** Why Redis refused this instance's last sign of life; empty when it took it. */
  refused = "";
  private readonly known = new Map<string, string[]>();
  /** Services that were called without a known instance → when, the latest at the end. */
  private readonly called = new Map<string, number>();
  private readonly fetching = new Set<string>();
  private readonly changed = new Set<string>();
  private turn = 0;
  private left = false;
  private shown = false;
  private timer: NodeJS.Timeout | null = null;

  constructor(private readonly link: RedisLink) {}

  // --- looking

  /** Returns an instance of a service to call, in turn; null when none of ours is known (yet). */
  pick(service: string): string | null {
    const instances = this.known.get(service);
    if (instances?.length) {
      this.turn = (this.turn + 1) % 0x40000000;
      return instances[this.turn % instances.length];
    }
    this.miss(service, instances);
    return null;
  }

  /** Tells whether instances of ours are known for a service; looks for them when it was never asked. */
  knows(service: string): boolean {
    const instances = this.known.get(service);
    if (!instances?.length) this.miss(service, instances);
    return Boolean(instances?.length);
  }

  /** Returns the instances of this service that share its work, sorted: this one among them until it leaves. */
  replicas(): string[] {
    const known = this.known.get(this.service) ?? [];
    if (this.left) return known.filter((other) => other !== this.instance);
    return known.includes(this.instance) ? known : [...known, this.instance].sort();
  }

  /** Whether no other instance of this service is known. */
  get alone(): boolean {
    const known = this.known.get(this.service);
    return !known || known.every((instance) => instance === this.instance);
  }

  /** Takes an instance that does not listen any more out of what is known, and has everybody look again. */
  forget(service: string, instance: string): void {
    const instances = this.known.get(service);
    if (!instances?.includes(instance)) return;
    this.known.set(
      service,
      instances.filter((other) => other !== instance),
    );
    this.link.publish(PRESENCE_CHANNEL, service);
  }

  /** Looks again at a service that said that it changed. */
  onChange(service: string): void {
    if (this.known.has(service)) this.look(service);
  }

  // --- showing

  /** Shows this instance until `stop`, and keeps what is known of others fresh. */
  start(service: string, instance: string): void {
    this.service = service;
    this.instance = instance;
    this.left = this.shown = false;
    this.refused = "";
    this.known.set(service, []);
    this.timer = setInterval(() => void this.refresh(), REFRESH);
  }

  stop(): void {
    if (this.timer) clearInterval(this.timer);
    this.timer = null;
  }

  /** Gives a sign of life now; a new connection begins with one. */
  async refresh(): Promise<void> {
    if (this.left || !this.link.connected) {
      this.shown = false; // Redis may have come back empty: say it again
      return;
    }
    try {
      await this.show();
      await Promise.all([...this.known.keys()].map((name) => this.fetch(name)));
    } catch (error) {
      this.shown = false;
      if (!(error instanceof RedisUnavailable)) logger.error({ err: error }, "presence_failed");
    }
    this.dropUnused();
  }

  /** Takes this instance out, so that callers turn to others at once. */
  async leave(): Promise<void> {
    this.left = true;
    try {
      await this.link.command(["ZREM", keyOf(this.service), this.instance], { timeout: 1000 });
      this.link.publish(PRESENCE_CHANNEL, this.service);
    } catch {
      // its time runs out by itself
    }
  }

  private async show(): Promise<void> {
    const key = keyOf(this.service);
    const now = Date.now() / 1000;
    try {
      await Promise.all([
        this.link.command(["ZADD", key, now + LIFETIME_SECONDS, this.instance]),
        this.link.command(["ZREMRANGEBYSCORE", key, "-inf", now]),
        this.link.command(["EXPIRE", key, LIFETIME_SECONDS * 2]),
      ]);
    } catch (error) {
      if (!(error instanceof RedisReplyError)) throw error;
      this.refused = error.message; // full, read-only, or no right to: others are looked at all the same
      this.shown = false;
      return;
    }
    this.refused = "";
    if (!this.shown) this.link.publish(PRESENCE_CHANNEL, this.service);
    this.shown = true;
  }

  private miss(service: string, instances: string[] | undefined): void {
    this.called.delete(service);
    this.called.set(service, Date.now());
    if (this.called.size > MAX_WITHOUT_INSTANCES) this.drop(this.called.keys().next().value as string);
    if (instances === undefined) this.look(service);
  }

  private dropUnused(): void {
    const longAgo = Date.now() - FORGET_AFTER;
    for (const [name, at] of [...this.called]) if (at < longAgo) this.drop(name);
    for (const name of [...this.known.keys()]) if (!this.called.has(name)) this.drop(name);
  }

  private drop(name: string): void {
    this.called.delete(name);
    if (!this.known.get(name)?.length && name !== this.service) this.known.delete(name);
  }

  private look(service: string): void {
    if (this.fetching.has(service)) {
      this.changed.add(service); // what is being fetched may be from before the change
      return;
    }
    if (!this.link.connected) return;
    this.fetching.add(service);
    void this.fetchQuietly(service);
  }

  private async fetchQuietly(service: string): Promise<void> {
    try {
      do {
        this.changed.delete(service);
        await this.fetch(service);
      } while (this.changed.has(service));
    } catch {
      if (!this.known.has(service)) this.known.set(service, []);
    } finally {
      this.changed.delete(service);
      this.fetching.delete(service);
    }
  }

  private async fetch(service: string): Promise<void> {
    let named: string[] = [];
    try {
      named = (await this.link.command(["ZRANGEBYSCORE", keyOf(service), Date.now() / 1000, "+inf"])) as string[];
    } catch (error) {
      if (!(error instanceof RedisReplyError)) throw error; // not to be read: spoken to plainly
    }
    this.known.set(service, named.length ? await this.listening(service, [...named].sort()) : []);
  }

  /** Returns those that are subscribed: one that was killed said no farewell, but Redis knows that it is gone. */
  private async listening(service: string, instances: string[]): Promise<string[]> {
    try {
      const counts = (await this.link.command(["PUBSUB", "NUMSUB", ...instances.map((one) => instanceChannel(service, one))])) as (string | number)[];
      return instances.filter((_, index) => Number(counts[index * 2 + 1]) > 0);
    } catch (error) {
      if (error instanceof RedisReplyError) return instances; // it may not ask: the time limit alone has to do
      throw error;
    }
  }
}
