/** The limits of a service's dead letters: a stream that nobody looks at must not fill Redis. */

import { RedisReplyError } from "../errors";
import type { RedisLink } from "../redis/link";
import { logger } from "../service/logs";
import type { Metrics } from "../service/metrics";
import type { HealthFacts } from "../types";

/** From this share of a bound on the service is degraded. */
const ALARM_SHARE = 0.8;
const MEASURE_INTERVAL = 2000;
/** After so many bytes were added (or a quarter of the bound), the stream is measured at once. */
const MEASURE_BYTES = 4_000_000;

/** Knows how many dead letters a service has; beyond either bound the oldest are dropped, counted and told of. */
export class LetterLimit {
  count = 0;
  /** Dropped since the start of this process. */
  dropped = 0;
  private bytes = 0;
  private fresh = 0;
  private weighed = 0;
  private mayWeigh = true;
  private turn: Promise<void> = Promise.resolve();
  private timer: NodeJS.Timeout | null = null;

  constructor(
    service: string,
    private readonly key: string,
    private readonly link: RedisLink,
    private readonly metrics: Metrics,
    private readonly maxEntries: number,
    private readonly maxBytes: number,
  ) {
    metrics.gauge("dead_letters", "Dead letters at present.", () => [[{ service }, this.count]]);
  }

  /** Measures until `stop`: other instances add letters too, and operators delete them. */
  start(): void {
    this.timer = setInterval(() => void this.measure(), MEASURE_INTERVAL);
  }

  stop(): void {
    if (this.timer) clearInterval(this.timer);
  }

  /** Takes note of letters that were added. */
  async added(count: number, size: number): Promise<void> {
    this.count += count;
    this.fresh += size;
    if (this.count > this.maxEntries || this.fresh >= Math.min(MEASURE_BYTES, this.maxBytes / 4)) await this.measure();
  }

  /** Counts and weighs the letters, and drops the oldest of what is too much. While Redis is away it does nothing. */
  measure(): Promise<void> {
    this.turn = this.turn.then(() => (this.link.connected ? this.measureNow().catch(() => {}) : undefined));
    return this.turn;
  }

  private async measureNow(): Promise<void> {
    this.count = Number(await this.link.command(["XLEN", this.key]));
    // A little more than has to be: the next letter does not begin it all again.
    if (this.count > this.maxEntries) await this.trim(this.maxEntries - Math.floor(this.maxEntries / 20));
    if (this.count === this.weighed && !this.fresh) return;
    this.bytes = await this.weigh();
    this.fresh = 0;
    this.weighed = this.count;
    if (this.bytes > this.maxBytes) {
      await this.trim(Math.floor(((this.count * this.maxBytes) / this.bytes) * 0.95));
      this.bytes = await this.weigh();
      this.weighed = this.count;
    }
  }

  private async trim(most: number): Promise<void> {
    const dropped = Number(await this.link.command(["XTRIM", this.key, "MAXLEN", most]));
    this.count -= dropped;
    this.dropped += dropped;
    this.metrics.add("dead_letters_dropped", dropped);
    logger.error({ stream: this.key, count: dropped, left: this.count }, "dead_letters_dropped");
  }

  private async weigh(): Promise<number> {
    if (!this.count || !this.mayWeigh) return 0;
    try {
      return Number((await this.link.command(["MEMORY", "USAGE", this.key, "SAMPLES", 0])) ?? 0);
    } catch (error) {
      if (!(error instanceof RedisReplyError)) throw error;
      this.mayWeigh = false;
      logger.warn({ stream: this.key, reason: error.message }, "dead_letters_not_weighed");
      return 0;
    }
  }

  /** Returns the health check: the number, and degraded near or beyond a bound; null while there are no letters. */
  check(): HealthFacts {
    if (!this.count && !this.dropped) return null;
    const bound = `${this.maxEntries} letters or ${this.maxBytes >> 20} MB`;
    const facts = { count: this.count, hint: "check their reasons, then replay or delete them" };
    if (this.dropped) return { ...facts, status: "degraded", reason: `${this.dropped} of the oldest were dropped (limit: ${bound})` };
    if (this.count >= ALARM_SHARE * this.maxEntries || this.bytes >= ALARM_SHARE * this.maxBytes) {
      return { ...facts, status: "degraded", reason: `there are ${this.count} dead letters; beyond ${bound} the oldest are dropped` };
    }
    return { ...facts, status: "ok", reason: `${this.count} events could not be processed` };
  }
}
