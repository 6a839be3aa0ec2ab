/**
 * What a consumer asks of Redis: its group's commands on the stream `events`, and what their answers mean. Reading blocks a
 * connection, so it has one of its own; what acknowledges goes over the service's other one and need not wait behind it.
 */

import { deadLettersOf, EVENTS_STREAM, takenBy } from "../constants";
import { RedisReplyError } from "../errors";
import type { RedisLink } from "../redis/link";
import type { Part } from "../redis/resp";
import { parseLoosely } from "../rpc/messages";
import { logger } from "../service/logs";

const TAKEN_KEPT = 10_000;
/** Ids that the notes of what was taken hold together, about. */
const TAKEN_IDS_KEPT = 200_000;
const HOLD_MOST = 1000;
const AN_HOUR = 3_600_000;

/** One entry of the stream: its id, and the event or null when the entry is not readable. */
export interface Delivery {
  id: string;
  event: Record<string, unknown> | null;
  raw: Buffer;
}

/** Returns the JSON object in some bytes, null where there is none. */
export function readObject(raw: Buffer): Record<string, unknown> | null {
  try {
    const value = parseLoosely(raw.toString("utf8"));
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}

/** Returns the fields of an entry by name. */
export function fieldsOf(fields: readonly Buffer[]): Map<string, Buffer> {
  const named = new Map<string, Buffer>();
  for (let index = 0; index + 1 < fields.length; index += 2) named.set(fields[index].toString(), fields[index + 1]);
  return named;
}

type Entry = [Buffer, Buffer[] | null];

function readEntries(entries: readonly Entry[]): Delivery[] {
  const found: Delivery[] = [];
  for (const [id, fields] of entries) {
    if (!fields?.length) continue;
    const raw = fieldsOf(fields).get("event") ?? Buffer.alloc(0);
    found.push({ id: id.toString(), event: readObject(raw), raw });
  }
  return found;
}

/** The group `name` as its consumer uses it. Every method may reject with a RedisError. */
export class StreamGroup {
  private idsOfANote = 1;

  constructor(
    readonly name: string,
    readonly consumer: string,
    private readonly reader: RedisLink,
    private readonly commands: RedisLink,
  ) {}

  /** Makes the group where it is missing, beginning behind `start`; resolves with whether it was missing. */
  async ensure(start: string): Promise<boolean> {
    try {
      await this.reader.command(["XGROUP", "CREATE", EVENTS_STREAM, this.name, start, "MKSTREAM"]);
      return true;
    } catch (error) {
      if (error instanceof RedisReplyError && error.code === "BUSYGROUP") return false;
      throw error;
    }
  }

  /** The id of the newest entry that the group was given, or begins behind. */
  async position(): Promise<string> {
    const rows: Map<string, any>[] = await this.reader.command(["XINFO", "GROUPS", EVENTS_STREAM]);
    return rows.find((row) => row.get("name") === this.name)?.get("last-delivered-id") ?? "0-0";
  }

  /** The id of the newest entry that the stream ever had; `0-0` when there is no stream. */
  async newest(): Promise<string> {
    try {
      return (await this.reader.command(["XINFO", "STREAM", EVENTS_STREAM])).get("last-generated-id");
    } catch (error) {
      if (error instanceof RedisReplyError) return "0-0";
      throw error;
    }
  }

  /** The next deliveries, and the ids of those that were trimmed from the stream meanwhile. */
  async read(after: string, blockMs: number | null, count: number): Promise<{ found: Delivery[]; trimmed: string[] }> {
    const block: Part[] = blockMs === null ? [] : ["BLOCK", blockMs];
    const reply: Map<string, Entry[]> | null = await this.reader.command(
      ["XREADGROUP", "GROUP", this.name, this.consumer, "COUNT", count, ...block, "STREAMS", EVENTS_STREAM, after],
      { timeout: (blockMs ?? 0) + 5000, raw: true },
    );
    const entries = reply ? ([...reply.values()][0] ?? []) : [];
    return { found: readEntries(entries), trimmed: entries.filter(([, fields]) => !fields?.length).map(([id]) => id.toString()) };
  }

  /** Takes over what silent consumers hold; how many of it were trimmed; where to go on (`0-0`: all was looked at). */
  async claim(idleMs: number, count: number, cursor: string): Promise<{ found: Delivery[]; trimmed: number; cursor: string }> {
    const reply = await this.reader.command(["XAUTOCLAIM", EVENTS_STREAM, this.name, this.consumer, idleMs, cursor, "COUNT", count], { raw: true });
    return { found: readEntries(reply[1]), trimmed: reply[2]?.length ?? 0, cursor: reply[0].toString() };
  }

  /** How often the oldest entry that this consumer holds was delivered; 0 when it holds none. */
  async tries(): Promise<number> {
    const rows = await this.reader.command(["XPENDING", EVENTS_STREAM, this.name, "-", "+", 1, this.consumer]);
    return rows.length ? Number(rows[0][3]) : 0;
  }

  /** Acknowledges; with `tookMs` the taking is noted for whoever traces an event, in the same write. */
  async acknowledge(ids: readonly string[], tookMs?: number): Promise<void> {
    const acknowledged = this.commands.command(["XACK", EVENTS_STREAM, this.name, ...ids]);
    if (tookMs !== undefined) this.note(ids, tookMs).catch(() => {}); // a note that a full Redis refused is no reason to deliver again
    await acknowledged;
  }

  /** Notes for whoever traces an event that these were taken. */
  async note(ids: readonly string[], tookMs: number): Promise<void> {
    this.idsOfANote += (ids.length - this.idsOfANote) / 20;
    const kept = Math.max(100, Math.min(TAKEN_KEPT, Math.floor(TAKEN_IDS_KEPT / this.idsOfANote)));
    await this.commands.command(["XADD", takenBy(this.name), "MAXLEN", "~", kept, "*", "ids", ids.join(","), "ms", tookMs.toFixed(1)]);
  }

  /** Puts events that cannot be delivered into the dead letters, then acknowledges them. */
  async deadLetter(deliveries: readonly Delivery[], reason: string): Promise<void> {
    const stream = deadLettersOf(this.name);
    await Promise.all(deliveries.map(({ raw, id }) => this.commands.command(["XADD", stream, "*", "event", raw, "reason", reason, "stream_id", id])));
    await this.acknowledge(deliveries.map((delivery) => delivery.id));
    logger.error({ group: this.name, count: deliveries.length, stream, reason }, "events_dead_lettered");
  }

  /** Shows that these are still worked on, so that nobody claims them. */
  async extendLease(ids: readonly string[]): Promise<void> {
    for (let begin = 0; begin < ids.length; begin += HOLD_MOST) {
      const some = ids.slice(begin, begin + HOLD_MOST); // not all in one command: Redis does nothing else meanwhile
      await this.commands.command(["XCLAIM", EVENTS_STREAM, this.name, this.consumer, 0, ...some, "JUSTID"]);
    }
  }

  /** Lets others claim these at once: this consumer ends before it handled them. */
  async release(ids: readonly string[]): Promise<void> {
    await this.commands.command(["XCLAIM", EVENTS_STREAM, this.name, this.consumer, 0, ...ids, "IDLE", AN_HOUR, "JUSTID"]);
  }

  /** Removes consumers that hold nothing and were not seen for an hour: each new container has a new name. */
  async forgetConsumers(): Promise<void> {
    try {
      const rows: Map<string, any>[] = await this.reader.command(["XINFO", "CONSUMERS", EVENTS_STREAM, this.name]);
      for (const row of rows) {
        const name = row.get("name");
        if (name !== this.consumer && !row.get("pending") && row.get("idle") > AN_HOUR) {
          await this.reader.command(["XGROUP", "DELCONSUMER", EVENTS_STREAM, this.name, name]);
        }
      }
    } catch (error) {
      if (!(error instanceof RedisReplyError)) throw error;
      logger.warn({ group: this.name, reason: error.message }, "stale_consumer_cleanup_failed");
    }
  }
}

/** An entry's id as numbers, for comparison as Redis compares. */
export function order(id: string): [bigint, bigint] {
  const [milliseconds, number] = id.split("-");
  return [BigInt(milliseconds || 0), BigInt(number || 0)];
}

/** Tells whether one id is older than another. */
export function isOlder(one: string, other: string): boolean {
  const [a, b] = [order(one), order(other)];
  return a[0] < b[0] || (a[0] === b[0] && a[1] < b[1]);
}

/** The id before one: a group that begins there is given that one first. */
export function before(id: string): string {
  const [milliseconds, number] = order(id);
  if (number) return `${milliseconds}-${number - 1n}`;
  return milliseconds ? `${milliseconds - 1n}-${2n ** 64n - 1n}` : "0-0";
}
