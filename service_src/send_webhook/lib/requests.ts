/**
 * Which events go into one request. A receiver tells a repetition by its `webhook-id`, so what was sent together once is sent
 * together again, also by another process: the composition of each request stands in Redis until its events are acknowledged.
 */

import { createHash } from "node:crypto";
import type { BandEvent } from "@rockstat/rock-me-ts";

const EVENTS = "events";

/** What is needed of a connection to Redis. */
export interface Store {
  command(...parts: (string | number)[]): Promise<any>;
}

/** An event as it is sent, with a mark by which it is known again. */
export interface Item {
  event: BandEvent;
  json: string;
  mark: string;
}

export interface Composition {
  id: string;
  items: Item[];
  /** Some of its events are not of the batch that it was composed of: they were sent with the others once, and come again later. */
  borrows?: boolean;
}

/** What stands in Redis of a request: its events or, when it was taken already, those of them that come again yet. */
interface Note {
  at: number;
  marks: string[];
  taken?: boolean;
}

/** Milliseconds after which nobody will repeat a request. */
const KEPT = 7 * 86_400_000;
/** Pending entries that are looked through, at most, for the rest of a request; and at once. */
const LOOKED_MOST = 5000;
const PAGE = 100;

/** Returns an event as it is sent. */
export function itemOf(event: BandEvent): Item {
  const json = JSON.stringify(event);
  return { event, json, mark: createHash("sha256").update(json).digest("base64url").slice(0, 22) };
}

/** Returns the body of a request: the same bytes for the same events. Its time is that of the newest of them. */
export function bodyOf(items: readonly Item[]): string {
  const newest = items.reduce((time, { event }) => Math.max(time, Number(event.time) || 0), 0);
  const timestamp = new Date(newest < 8.64e15 ? newest : 0).toISOString();
  return `{"type":"events","timestamp":"${timestamp}","data":[${items.map(({ json }) => json).join(",")}]}`;
}

/** The requests of one destination that are under way. */
export class Requests {
  /** Requests that Redis still has, although they are not to be repeated. */
  private readonly over = new Set<string>();

  constructor(
    private readonly store: Store,
    private readonly key: string,
    private readonly destination: string,
    private readonly mostItems: number,
    private readonly mostBytes: number,
    /** The consumer group whose pending events are asked for the rest of a request that was cut. */
    private readonly group: string,
    private readonly mayHave: (event: BandEvent) => boolean,
  ) {}

  /**
   * Divides events into requests: first as they were sent before, the rest by number and bytes. Of `done` events, by mark with the
   * id of their request, none is sent; those that an earlier life saw taken are added to it.
   */
  async compose(items: readonly Item[], done: Map<string, string> = new Map()): Promise<Composition[]> {
    const found: Composition[] = [];
    const notes = items.length ? await this.recall() : [];
    for (const { id, marks, taken } of notes) if (taken) for (const mark of marks) done.set(mark, id);
    let rest = items.filter(({ mark }) => !done.has(mark));
    for (const { marks } of notes) {
      const there = new Map(rest.map((item) => [item.mark, item]));
      const missing = new Set(marks.filter((mark) => !there.has(mark)));
      if (missing.size === new Set(marks).size) continue;
      for (const item of missing.size ? await this.find(missing) : []) there.set(item.mark, item);
      const again = marks.map((mark) => there.get(mark)).filter((item) => item !== undefined);
      if (again.length < marks.length) continue;
      found.push({ ...this.composition(again), borrows: missing.size > 0 });
      rest = rest.filter(({ mark }) => !marks.includes(mark));
    }
    const empty = Buffer.byteLength(bodyOf([]));
    let [part, bytes]: [Item[], number] = [[], empty];
    for (const item of rest) {
      const size = Buffer.byteLength(item.json) + 1;
      if (part.length && (part.length >= this.mostItems || bytes + size > this.mostBytes)) {
        found.push(this.composition(part));
        [part, bytes] = [[], empty];
      }
      part.push(item);
      bytes += size;
    }
    if (part.length) found.push(this.composition(part));
    return found;
  }

  /** Notes a request before it is sent for the first time. A Redis that takes no note is no reason not to send. */
  async remember({ id, items }: Composition): Promise<void> {
    await this.note(id, { at: Date.now(), marks: items.map(({ mark }) => mark) });
  }

  /** Notes that a request was taken of which some events come again yet: by `marks`, those and the ones that came now. */
  async rememberTaken(id: string, marks: string[]): Promise<void> {
    await this.note(id, { at: Date.now(), marks, taken: true });
  }

  private async note(id: string, note: Note): Promise<void> {
    this.over.delete(id);
    await this.store.command("HSET", this.key, id, JSON.stringify(note)).catch(() => {});
  }

  /** Has requests forgotten at the next look: until their events are acknowledged, a kill brings them again. */
  finish(ids: readonly string[]): void {
    for (const id of ids) this.over.add(id);
  }

  /** Forgets requests that must not be repeated. */
  async forget(ids: readonly string[]): Promise<void> {
    if (!ids.length) return;
    this.finish(ids);
    const forgotten = await this.store.command("HDEL", this.key, ...ids).then(
      () => true,
      () => false,
    );
    if (forgotten) for (const id of ids) this.over.delete(id);
  }

  private composition(items: Item[]): Composition {
    const whole = [this.destination, ...items.map(({ mark }) => mark)].join("\n");
    return { id: `msg_${createHash("sha256").update(whole).digest("hex").slice(0, 32)}`, items };
  }

  /**
   * Finds the rest of a request that only a part came of again: batches are not always cut where they were, after a kill or with
   * other settings. It is not acknowledged yet, so the group still has it as pending.
   */
  private async find(wanted: ReadonlySet<string>): Promise<Item[]> {
    const found = new Map<string, Item>();
    let begin = "-";
    try {
      for (let looked = 0; looked < LOOKED_MOST; looked += PAGE) {
        const rows: [string, ...unknown[]][] = (await this.store.command("XPENDING", EVENTS, this.group, begin, "+", PAGE)) ?? [];
        // One after the other: they may be large, and few of them are wanted.
        for (const [id] of rows) {
          const item = readEntry(await this.store.command("XRANGE", EVENTS, id, id));
          if (item && wanted.has(item.mark) && this.mayHave(item.event)) found.set(item.mark, item);
          if (found.size === wanted.size) return [...found.values()];
        }
        if (rows.length < PAGE) break;
        begin = `(${rows[rows.length - 1][0]}`;
      }
    } catch {
      // Redis went away: a request that is not whole is not repeated
    }
    return [];
  }

  /** What was noted and not forgotten, the oldest first. */
  private async recall(): Promise<(Note & { id: string })[]> {
    const reply = await this.store.command("HGETALL", this.key).catch(() => null);
    if (reply === null) return [];
    const notes = toMap(reply);
    for (const id of this.over) if (!notes.has(id)) this.over.delete(id);
    const read = [...notes].map(([id, text]) => ({ id, ...readNote(text) }));
    const isOver = ({ id, at }: Note & { id: string }) => at < Date.now() - KEPT || this.over.has(id);
    const left = read.filter((note) => !isOver(note));
    await this.forget(read.filter(isOver).map(({ id }) => id));
    return left.sort((a, b) => a.at - b.at);
  }
}

function readNote(text: string): Note {
  try {
    const { at, marks, taken } = JSON.parse(text);
    if (typeof at === "number" && Array.isArray(marks) && marks.length) return { at, marks, taken: taken === true };
  } catch {
    // fall through: somebody else wrote it
  }
  return { at: 0, marks: [] };
}

/** Returns the event of an entry of the stream; null where there is none. */
function readEntry(rows: [string, string[]][] | undefined): Item | null {
  const fields = rows?.[0]?.[1] ?? [];
  const place = fields.findIndex((name, index) => index % 2 === 0 && name === "event");
  try {
    return place < 0 ? null : itemOf(JSON.parse(fields[place + 1]));
  } catch {
    return null;
  }
}

/** RESP3 gives a map, RESP2 a list of names and values. */
function toMap(reply: unknown): Map<string, string> {
  if (reply instanceof Map) return reply as Map<string, string>;
  const list = Array.isArray(reply) ? (reply as string[]) : [];
  return new Map(list.flatMap((name, index) => (index % 2 ? [] : [[name, list[index + 1]] as [string, string]])));
}
