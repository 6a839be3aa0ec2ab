/**
 * Which events go into one request. A receiver tells a repetition by its `webhook-id`, so what was sent together once is sent
 * together again, also by another process: the composition of each request stands in Redis until its events are acknowledged.
 */

import { createHash } from "node:crypto";
import type { BandEvent } from "@rockstat/rock-me-ts";

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
}

/** Milliseconds after which nobody will repeat a request. */
const KEPT = 7 * 86_400_000;

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
  constructor(
    private readonly store: Store,
    private readonly key: string,
    private readonly destination: string,
    private readonly mostItems: number,
    private readonly mostBytes: number,
  ) {}

  /** Divides events into requests: first as they were sent before, the rest by number and bytes. */
  async compose(items: readonly Item[]): Promise<Composition[]> {
    const found: Composition[] = [];
    let rest = [...items];
    for (const marks of items.length ? await this.recall() : []) {
      const there = new Map(rest.map((item) => [item.mark, item]));
      const again = marks.map((mark) => there.get(mark)).filter((item) => item !== undefined);
      if (again.length < marks.length) continue;
      found.push(this.composition(again));
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
    const note = JSON.stringify({ at: Date.now(), marks: items.map(({ mark }) => mark) });
    await this.store.command("HSET", this.key, id, note).catch(() => {});
  }

  /** Forgets requests that will not be repeated. */
  async forget(ids: readonly string[]): Promise<void> {
    if (ids.length) await this.store.command("HDEL", this.key, ...ids).catch(() => {});
  }

  private composition(items: Item[]): Composition {
    const whole = [this.destination, ...items.map(({ mark }) => mark)].join("\n");
    return { id: `msg_${createHash("sha256").update(whole).digest("hex").slice(0, 32)}`, items };
  }

  /** What was noted and not forgotten, the oldest first. */
  private async recall(): Promise<string[][]> {
    const notes = toMap(await this.store.command("HGETALL", this.key).catch(() => new Map()));
    const read = [...notes].map(([id, text]) => ({ id, ...readNote(text) }));
    const old = read.filter(({ at }) => at < Date.now() - KEPT).map(({ id }) => id);
    await this.forget(old);
    return read
      .filter(({ id }) => !old.includes(id))
      .sort((a, b) => a.at - b.at)
      .map(({ marks }) => marks);
  }
}

function readNote(text: string): { at: number; marks: string[] } {
  try {
    const { at, marks } = JSON.parse(text);
    if (typeof at === "number" && Array.isArray(marks) && marks.length) return { at, marks };
  } catch {
    // fall through: somebody else wrote it
  }
  return { at: 0, marks: [] };
}

/** RESP3 gives a map, RESP2 a list of names and values. */
function toMap(reply: unknown): Map<string, string> {
  if (reply instanceof Map) return reply as Map<string, string>;
  const list = Array.isArray(reply) ? (reply as string[]) : [];
  return new Map(list.flatMap((name, index) => (index % 2 ? [] : [[name, list[index + 1]] as [string, string]])));
}
