/**
 * What a consumer asks of Redis: its group's commands on the stream `events`, and what their answers mean. Reading blocks a
 * connection, so it has one of its own; what acknowledges goes over the service's other one and need not wait behind it.
 */

import { isAscii } from "node:buffer";
import { deadLettersOf, EVENTS_STREAM, listenerOf, retriesOf, takenBy } from "../constants";
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
/** A field that is left behind (a process died between two commands) goes with the hash, when nothing is retried. */
const RETRIES_KEPT_SECONDS = 2 * 86_400;

/**
 * One entry of the stream: its id, the event or null when the entry is not readable, and its bytes, a character each: texts
 * count in the heap that V8 keeps small, while 64 MB of Buffers may pile up before it looks for those that nobody needs.
 */
export interface Delivery {
  id: string;
  event: Record<string, unknown> | null;
  raw: string;
}

/** When an entry is to be delivered again, in milliseconds since 1970, and how many attempts were made. */
export interface Delay {
  dueMs: number;
  attempts: number;
}

/** Returns the JSON object in a text, null where there is none. */
export function readObject(text: string): Record<string, unknown> | null {
  try {
    const value = parseLoosely(text);
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
    const bytes = fieldsOf(fields).get("event") ?? Buffer.alloc(0);
    const raw = bytes.latin1Slice(0, bytes.length);
    found.push({ id: id.toString(), event: readObject(isAscii(bytes) ? raw : bytes.toString()), raw });
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
    /** Whose dead letters its events become. */
    private readonly service = name,
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

  /** Notes behind which entry the group began: a trace says of older ones that the listener never got them. */
  noteBeginning(id: string): void {
    this.commands.command(["HSETNX", listenerOf(this.name), "began", id]).catch(() => {});
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

  /** How often each of the oldest entries behind `after` that this consumer holds was delivered. */
  async tries(after: string, count: number): Promise<Map<string, number>> {
    const rows = await this.reader.command(["XPENDING", EVENTS_STREAM, this.name, `(${after}`, "+", count, this.consumer]);
    return new Map(rows.map((row: any[]) => [row[0], Number(row[3])]));
  }

  /** Keeps entries pending until they are due, and notes that for the next life. */
  async delay(delays: ReadonlyMap<string, Delay>): Promise<void> {
    const key = retriesOf(this.name);
    const fields = [...delays].flatMap(([id, { dueMs, attempts }]) => [id, `${dueMs} ${attempts}`]);
    const held = this.holdAgain([...delays.keys()]);
    // What a full Redis does not note is still delivered later by this process.
    const noted = this.commands.command(["HSET", key, ...fields]).catch(() => {});
    this.commands.command(["EXPIRE", key, RETRIES_KEPT_SECONDS]).catch(() => {});
    await Promise.all([held, noted]);
  }

  /** Keeps entries as this consumer's own, as if they had not been delivered yet: the counter tells how often the process died over one. */
  async holdAgain(ids: readonly string[]): Promise<void> {
    for (const some of portions(ids)) {
      await this.commands.command(["XCLAIM", EVENTS_STREAM, this.name, this.consumer, 0, ...some, "RETRYCOUNT", 0, "JUSTID"]);
    }
  }

  /** What an earlier life noted of entries that it delayed. */
  async delays(ids: readonly string[]): Promise<Map<string, Delay>> {
    const found = new Map<string, Delay>();
    try {
      const notes: (string | null)[] = await this.reader.command(["HMGET", retriesOf(this.name), ...ids]);
      notes.forEach((note, index) => {
        if (note === null) return;
        const [dueMs, attempts] = note.split(" ").map(Number);
        found.set(ids[index], { dueMs, attempts });
      });
    } catch (error) {
      if (!(error instanceof RedisReplyError)) throw error;
      logger.warn({ group: this.name, reason: error.message }, "retries_not_read"); // the Redis user predates this key: deliver its events at once
    }
    return found;
  }

  /** Removes the notes of entries that are done with; what fails is harmless. */
  forgetDelays(ids: readonly string[]): void {
    this.commands.command(["HDEL", retriesOf(this.name), ...ids]).catch(() => {});
  }

  /** Entries by id, and the ids of those that are not in the stream any more. */
  async fetch(ids: readonly string[]): Promise<{ found: Delivery[]; gone: string[] }> {
    const rows: Entry[][] = await Promise.all(ids.map((id) => this.commands.command(["XRANGE", EVENTS_STREAM, id, id], { raw: true })));
    const found = readEntries(rows.flat());
    const there = new Set(found.map(({ id }) => id));
    return { found, gone: ids.filter((id) => !there.has(id)) };
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
    const stream = deadLettersOf(this.service);
    const whose = this.name === this.service ? [] : ["group", this.name];
    await Promise.all(
      deliveries.map(({ raw, id }) =>
        this.commands.command(["XADD", stream, "*", "event", Buffer.from(raw, "latin1"), "reason", reason, "stream_id", id, ...whose]),
      ),
    );
    await this.acknowledge(deliveries.map((delivery) => delivery.id));
    logger.error({ group: this.name, count: deliveries.length, stream, reason }, "events_dead_lettered");
  }

  /** Shows that these are still worked on, so that nobody claims them; resolves with those that are still pending. */
  async extendLease(ids: readonly string[]): Promise<Set<string>> {
    const pending = new Set<string>();
    for (const some of portions(ids)) {
      const claimed: string[] = await this.commands.command(["XCLAIM", EVENTS_STREAM, this.name, this.consumer, 0, ...some, "JUSTID"]);
      for (const id of claimed) pending.add(id);
    }
    return pending;
  }

  /** Lets others claim these at once: this consumer ends before it handled them. */
  async release(ids: readonly string[], crashed: boolean): Promise<void> {
    const counted = crashed ? [] : ["RETRYCOUNT", 0];
    for (const some of portions(ids)) {
      await this.commands.command(["XCLAIM", EVENTS_STREAM, this.name, this.consumer, 0, ...some, "IDLE", AN_HOUR, ...counted, "JUSTID"]);
    }
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

/** Yields some at a time: not all in one command, since Redis does nothing else meanwhile. */
function* portions(ids: readonly string[]): Generator<readonly string[]> {
  for (let begin = 0; begin < ids.length; begin += HOLD_MOST) yield ids.slice(begin, begin + HOLD_MOST);
}
