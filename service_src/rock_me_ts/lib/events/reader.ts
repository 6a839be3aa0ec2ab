/**
 * How a listener's batches are read: in portions, so that large events never come by the thousand at once. Redis counts
 * entries, memory counts bytes.
 */

import { BATCH_BYTES } from "../constants";
import { logger } from "../service/logs";
import type { Metrics } from "../service/metrics";
import type { Exposed } from "../service/registry";
import type { Stop } from "../stop";
import type { Delivery, StreamGroup } from "./group";
import { isOlder } from "./positions";
import type { BatchProcessor } from "./processor";

const SINGLE_COUNT = 100;
/** Milliseconds that one read of a filling batch may wait, so that a stop is noticed. */
const LINGER_STEP = 200;
const PORTION_ENTRIES = 50;
/** What one read is meant to bring at most. */
const PORTION_BYTES = 2_000_000;
/** How large events are taken to be before the first came: they may be those that ended the life before. */
const FIRST_BYTES = 200_000;

export class EventReader {
  /** Whether something of the next batch came already. */
  filling = false;
  /** The newest new entry that was read, or where the group began. */
  position = "";
  readonly wanted: number;
  private readonly most: number;
  private readonly linger: number;
  private largest = FIRST_BYTES;

  constructor(
    exposed: Exposed,
    private readonly group: StreamGroup,
    private readonly batches: BatchProcessor,
    private readonly metrics: Metrics,
    private readonly stopping: Stop,
  ) {
    this.wanted = exposed.batch || SINGLE_COUNT;
    this.most = exposed.batchBytes ?? BATCH_BYTES;
    this.linger = (exposed.linger ?? 0) * 1000;
  }

  /** The next new events, filled up as the listener wishes; empty when nothing came for a while. */
  async fresh(blockMs: number): Promise<Delivery[]> {
    const { found, more } = await this.readNew(this.wanted, blockMs);
    if (found.length) {
      this.filling = true;
      await this.fill(found, more);
    }
    return found;
  }

  /** Up to a batch of what was delayed and is due; fewer, when they are large. */
  async due(): Promise<Delivery[]> {
    const ids = this.batches.retries.popDue(this.count(this.wanted));
    if (!ids.length) return [];
    this.batches.hold(ids); // before anything else can bring them
    const { found, gone } = await this.group.fetch(ids);
    this.came(found);
    if (gone.length) {
      this.countTrimmed(gone.length);
      await this.group.acknowledge(gone);
    }
    // Somebody may have acknowledged one, or made the group again, since it was delayed.
    const pending = await this.group.extendLease(ids);
    const due = found.filter(({ id }) => pending.has(id));
    const left = new Set(due.map(({ id }) => id));
    this.batches.forget(ids.filter((id) => !left.has(id)));
    return due;
  }

  /** Up to a batch of what silent consumers left; and whether there may be more of it. */
  async claim(idleMs: number): Promise<{ claimed: Delivery[]; more: boolean }> {
    const claimed: Delivery[] = [];
    let cursor = "0";
    do {
      const reply = await this.group.claim(idleMs, this.count(this.wanted - claimed.length), cursor);
      cursor = reply.cursor;
      this.came(reply.found);
      if (reply.trimmed) this.countTrimmed(reply.trimmed);
      claimed.push(...this.batches.take(reply.found));
    } while (cursor !== "0-0" && !this.isFull(claimed, this.most || BATCH_BYTES));
    return { claimed: await this.batches.setAside(claimed), more: cursor !== "0-0" };
  }

  /** The oldest behind `begin` of what this consumer was given and did not finish, ids of what was trimmed, and the last id that was read. */
  async own(begin: string, single: boolean): Promise<{ batch: Delivery[]; trimmed: string[]; end: string }> {
    const wanted = single ? 1 : this.wanted;
    const batch: Delivery[] = [];
    const trimmed: string[] = [];
    let end = begin;
    for (;;) {
      const asked = this.count(wanted - batch.length);
      const reply = await this.group.read(end, null, asked);
      this.came(reply.found);
      batch.push(...reply.found);
      trimmed.push(...reply.trimmed);
      const ends = [...reply.found.slice(-1).map(({ id }) => id), ...reply.trimmed.slice(-1)];
      end = ends.reduce((one, other) => (isOlder(one, other) ? other : one), end);
      if (reply.found.length + reply.trimmed.length < asked || batch.length >= wanted || trimmed.length >= this.wanted) break;
      if (this.isFull(batch, this.most || BATCH_BYTES)) break;
    }
    if (trimmed.length) this.countTrimmed(trimmed.length);
    return { batch: this.batches.take(batch), trimmed, end };
  }

  /** Tells of events that the hard bound of the stream took before this listener had them. */
  private countTrimmed(count: number): void {
    logger.error({ group: this.group.name, count }, "events_trimmed_before_delivery");
    this.metrics.add("listener_trimmed", count);
  }

  /** New events, and whether there are probably more: as many came as were asked for. */
  private async readNew(wanted: number, blockMs: number | null): Promise<{ found: Delivery[]; more: boolean }> {
    const asked = this.count(wanted);
    const { found } = await this.group.read(">", blockMs, asked);
    this.came(found);
    if (found.length) this.position = found[found.length - 1].id;
    return { found: this.batches.take(found), more: found.length === asked };
  }

  /** Adds to a batch what is there already, and what comes within `linger`, until it is full. */
  private async fill(batch: Delivery[], first: boolean): Promise<void> {
    const until = performance.now() + this.linger;
    let more = first;
    let size = sizeOf(batch);
    while (batch.length < this.wanted && !(this.most && size >= this.most) && !this.stopping.stopped) {
      const left = until - performance.now();
      if (!more && left <= 0) return;
      const next = await this.readNew(this.wanted - batch.length, more ? null : Math.max(1, Math.floor(Math.min(left, LINGER_STEP))));
      more = next.more;
      batch.push(...next.found);
      size += sizeOf(next.found);
    }
  }

  private isFull(batch: readonly Delivery[], most: number): boolean {
    return batch.length >= this.wanted || sizeOf(batch) >= most;
  }

  /** Of `wanted` entries, so many may come in one read. */
  private count(wanted: number): number {
    return Math.max(1, Math.min(wanted, PORTION_ENTRIES, Math.floor(PORTION_BYTES / this.largest)));
  }

  /** Notes what a read brought; what was large once is forgotten by and by. */
  private came(deliveries: readonly Delivery[]): void {
    if (!deliveries.length) return;
    const largest = deliveries.reduce((most, { raw }) => Math.max(most, raw.length), 0);
    this.largest = Math.max(1, largest, Math.floor((this.largest * 3) / 4));
  }
}

function sizeOf(deliveries: readonly Delivery[]): number {
  return deliveries.reduce((size, { raw }) => size + raw.length, 0);
}
