/**
 * The data behind the address `memory://NAME`: streams with consumer groups, hashes, and texts that expire. It answers what this
 * package asks of a Redis 7.2 or later, with the same errors; a test runs the same histories on it and on a real Redis. Where Redis
 * is free to do less (`MAXLEN ~`), it does exactly what was asked for.
 */

import type { Part } from "./resp";

/** Milliseconds and number. What Redis allows beyond 2^53 is only met as the end of a range. */
type Id = readonly [number, number];
interface Entry {
  id: Id;
  fields: Buffer[];
}
interface Pending {
  id: Id;
  consumer: string;
  at: number;
  count: number;
}
type Answer = (...args: Buffer[]) => unknown;

const LAST = 2n ** 64n - 1n;
const END: Id = [Number(LAST), Number(LAST)];
/** Entries that XAUTOCLAIM looks at for each one that it may return. */
const ATTEMPTS = 10;

/** What Redis would answer with an error; the text is the whole reply. */
export class Refused extends Error {}

/** A consumer group: how far it has read, and what is pending. */
class Group {
  readonly pending = new Map<string, Pending>();
  readonly seen = new Map<string, number>();
  constructor(public last: Id) {}

  /** What is pending of a consumer, or of all, from `begin` on, by id. */
  held(consumer = "", begin: Id = [0, 0]): Pending[] {
    const found = [...this.pending.values()].filter((one) => compare(one.id, begin) >= 0 && (!consumer || one.consumer === consumer));
    return found.sort((a, b) => compare(a.id, b.id));
  }
}

class Stream {
  entries: Entry[] = [];
  last: Id = [0, 0];
  added = 0;
  readonly groups = new Map<string, Group>();

  between(begin: Id, end: Id): Entry[] {
    return this.entries.filter(({ id }) => compare(id, begin) >= 0 && compare(id, end) <= 0);
  }

  find(id: Id): Entry | undefined {
    return this.entries.find((entry) => compare(entry.id, id) === 0);
  }

  /** Keeps the entries that `wanted` returns true for; returns how many it removed. */
  keep(wanted: (entry: Entry, place: number) => boolean): number {
    const before = this.entries.length;
    this.entries = this.entries.filter(wanted);
    return before - this.entries.length;
  }

  /** Removes the oldest as `MAXLEN n` or `MINID id` says. */
  trim([kind, ...rest]: string[]): number {
    const bound = rest[0] === "~" || rest[0] === "=" ? rest[1] : rest[0];
    if (kind.toUpperCase() === "MAXLEN") return this.keep((_, place) => place >= this.entries.length - Number(bound));
    return this.keep(({ id }) => compare(id, readId(bound, 0)) >= 0);
  }
}

/** Keys and what they hold. */
export class Store {
  private readonly keys = new Map<string, Buffer | Map<string, Buffer> | Stream>();
  private readonly expires = new Map<string, number>();

  /** Returns the reply to a command, texts as strings or Buffers; null also where an XREADGROUP has nothing new. Throws Refused. */
  answer(parts: readonly Part[]): unknown {
    for (const [key, at] of this.expires) if (at <= Date.now()) this.drop(key);
    const answer = this.answers[String(parts[0]).toUpperCase()];
    if (!answer) throw new Refused(`ERR the in-memory Redis does not support ${parts[0]}: a test of this needs a real Redis`);
    return answer(...parts.slice(1).map((part) => (Buffer.isBuffer(part) ? part : Buffer.from(String(part)))));
  }

  private readonly answers: Record<string, Answer> = {
    // --- texts and hashes
    SET: (key, value, ...options) => {
      const words = options.map((word) => String(word).toUpperCase());
      if (words.includes("NX") && this.keys.has(String(key))) return null;
      this.drop(String(key));
      this.keys.set(String(key), value);
      if (words.includes("PX")) this.expires.set(String(key), Date.now() + Number(words[words.indexOf("PX") + 1]));
      return "OK";
    },
    GET: (key) => this.text(key),
    /** This package's own scripts: change a text if it is still ours. */
    EVAL: (script, _number, key, ours, ms) => {
      if (!this.text(key)?.equals(ours)) return 0;
      if (script.includes("'pexpire'")) this.expires.set(String(key), Date.now() + Number(ms));
      else this.drop(String(key));
      return 1;
    },
    DEL: (...keys) => keys.filter((key) => this.drop(String(key))).length,
    EXISTS: (...keys) => keys.filter((key) => this.keys.has(String(key))).length,
    EXPIRE: (key, seconds) => {
      if (!this.keys.has(String(key))) return 0;
      this.expires.set(String(key), Date.now() + Number(seconds) * 1000);
      return 1;
    },
    HSET: (key, ...fields) => {
      const hash = this.hash(key);
      const before = hash.size;
      for (let place = 0; place < fields.length; place += 2) hash.set(String(fields[place]), fields[place + 1]);
      this.keys.set(String(key), hash);
      return hash.size - before;
    },
    HSETNX: (key, field, value) => (this.hash(key).has(String(field)) ? 0 : this.answers.HSET(key, field, value)),
    HGET: (key, field) => this.hash(key).get(String(field)) ?? null,
    HMGET: (key, ...fields) => fields.map((field) => this.hash(key).get(String(field)) ?? null),
    HDEL: (key, ...fields) => {
      const hash = this.hash(key);
      const gone = fields.filter((field) => hash.delete(String(field))).length;
      if (!hash.size) this.drop(String(key));
      return gone;
    },

    // --- streams
    XADD: (key, ...words) => {
      const trim: string[] = [];
      if (["MAXLEN", "MINID"].includes(String(words[0]).toUpperCase())) {
        trim.push(...words.splice(0, ["~", "="].includes(String(words[1])) ? 3 : 2).map(String));
        if (String(words[0]).toUpperCase() === "LIMIT") words.splice(0, 2);
      }
      const stream = this.stream(key) ?? new Stream();
      const id = newId(stream, String(words[0]));
      this.keys.set(String(key), stream);
      stream.entries.push({ id, fields: words.slice(1) });
      stream.last = id;
      stream.added += 1;
      if (trim.length) stream.trim(trim);
      return showId(id);
    },
    XLEN: (key) => this.stream(key)?.entries.length ?? 0,
    XRANGE: (key, begin, end, _count, count) => {
      const found = this.stream(key)?.between(readBegin(begin), readEnd(end)) ?? [];
      return (count ? found.slice(0, Number(count)) : found).map(rowOf);
    },
    XREVRANGE: (key, end, begin, _count, count) => {
      const found = (this.stream(key)?.between(readBegin(begin), readEnd(end)) ?? []).reverse();
      return (count ? found.slice(0, Number(count)) : found).map(rowOf);
    },
    XDEL: (key, ...ids) => {
      const gone = new Set(ids.map((id) => showId(readId(String(id), 0))));
      return this.stream(key)?.keep(({ id }) => !gone.has(showId(id))) ?? 0;
    },
    XTRIM: (key, ...words) => this.stream(key)?.trim(words.map(String)) ?? 0,
    /** The bytes of a stream's fields, and a little for each entry. */
    MEMORY: (_usage, key) => this.stream(key)?.entries.reduce((size, { fields }) => fields.reduce((sum, field) => sum + field.length, size + 50), 0) ?? null,
    XINFO: (what, key, name) => {
      const stream = this.stream(key);
      if (!stream) throw new Refused("ERR no such key");
      if (String(what).toUpperCase() === "STREAM") {
        const facts = { length: stream.entries.length, "last-generated-id": showId(stream.last), "entries-added": stream.added, groups: stream.groups.size };
        return new Map(Object.entries(facts));
      }
      if (String(what).toUpperCase() === "GROUPS") {
        const groups = [...stream.groups].sort(([a], [b]) => (a < b ? -1 : 1));
        return groups.map(([group, { seen, pending, last }]) => {
          const lag = stream.entries.filter(({ id }) => compare(id, last) > 0).length;
          return new Map(Object.entries({ name: group, consumers: seen.size, pending: pending.size, "last-delivered-id": showId(last), lag }));
        });
      }
      const { group } = this.group(key, name, (group) => `No such consumer group '${group}' for key name '${key}'`);
      const seen = [...group.seen].sort(([a], [b]) => (a < b ? -1 : 1));
      return seen.map(([consumer, at]) => new Map(Object.entries({ name: consumer, pending: group.held(consumer).length, idle: Date.now() - at })));
    },

    // --- consumer groups
    XGROUP: (what, key, name, ...more) => {
      const kind = String(what).toUpperCase();
      let stream = this.stream(key);
      if (!stream) {
        if (kind !== "CREATE" || !more.some((word) => String(word).toUpperCase() === "MKSTREAM")) {
          throw new Refused(
            "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option to create an empty stream automatically.",
          );
        }
        stream = new Stream();
        this.keys.set(String(key), stream);
      }
      if (kind === "CREATE") {
        if (stream.groups.has(String(name))) throw new Refused("BUSYGROUP Consumer Group name already exists");
        stream.groups.set(String(name), new Group(String(more[0]) === "$" ? stream.last : readId(String(more[0]), 0)));
        return "OK";
      }
      if (kind === "DESTROY") return Number(stream.groups.delete(String(name)));
      const { group } = this.group(key, name, (group) => `No such consumer group '${group}' for key name '${key}'`);
      const gone = group.held(String(more[0]));
      group.seen.delete(String(more[0]));
      for (const { id } of gone) group.pending.delete(showId(id));
      return gone.length;
    },
    XREADGROUP: (_group, name, consumer, ...options) => {
      const words = options.map((word) => String(word).toUpperCase());
      const at = words.indexOf("STREAMS");
      const [key, after] = [options[at + 1], String(options[at + 2])];
      const count = words.includes("COUNT") ? Number(words[words.indexOf("COUNT") + 1]) : undefined;
      const { stream, group } = this.group(key, name, (group) => `No such key '${key}' or consumer group '${group}' in XREADGROUP with GROUP option`);
      group.seen.set(String(consumer), Date.now());
      if (after === ">") {
        const found = stream.between(next(group.last), END).slice(0, count);
        for (const { id } of found) {
          group.pending.set(showId(id), { id, consumer: String(consumer), at: Date.now(), count: 1 });
          group.last = id;
        }
        return found.length ? new Map([[String(key), found.map(rowOf)]]) : null;
      }
      const held = group.held(String(consumer), next(readId(after, 0))).slice(0, count);
      const rows = held.map((one) => {
        const entry = stream.find(one.id);
        if (entry) Object.assign(one, { at: Date.now(), count: one.count + 1 });
        return [showId(one.id), entry?.fields ?? null];
      });
      return new Map([[String(key), rows]]);
    },
    XACK: (key, name, ...ids) => {
      const group = this.stream(key)?.groups.get(String(name));
      return group ? ids.filter((id) => group.pending.delete(showId(readId(String(id), 0)))).length : 0;
    },
    XPENDING: (key, name, begin, end, count, consumer) => {
      const { group } = this.group(key, name, (group) => `No such key '${key}' or consumer group '${group}'`);
      if (!begin) {
        const held = group.held();
        if (!held.length) return [0, null, null, null];
        const consumers = [...new Set(held.map((one) => one.consumer))].sort();
        const rows = consumers.map((one) => [one, String(group.held(one).length)]);
        return [held.length, showId(held[0].id), showId(held[held.length - 1].id), rows];
      }
      const last = readEnd(end);
      const held = group.held(consumer ? String(consumer) : "", readBegin(begin)).filter(({ id }) => compare(id, last) <= 0);
      return held.slice(0, Number(count)).map((one) => [showId(one.id), one.consumer, Date.now() - one.at, one.count]);
    },
    XCLAIM: (key, name, consumer, least, ...more) => {
      const { stream, group } = this.group(key, name, (group) => `No such key '${key}' or consumer group '${group}'`);
      const ids = more.map(String).filter((word) => /^\d+-\d+$/.test(word));
      const options = more.slice(ids.length).map((word) => String(word).toUpperCase());
      const idle = options.includes("IDLE") ? Number(options[options.indexOf("IDLE") + 1]) : 0;
      const count = options.includes("RETRYCOUNT") ? Number(options[options.indexOf("RETRYCOUNT") + 1]) : undefined;
      const only = options.includes("JUSTID");
      group.seen.set(String(consumer), Date.now());
      const claimed: unknown[] = [];
      for (const word of ids) {
        const one = group.pending.get(showId(readId(word, 0)));
        if (!one) continue;
        const entry = this.there(stream, group, one);
        // Without a least idle time, a clock that is set back does not matter.
        if (!entry || (Number(least) && Date.now() - one.at < Number(least))) continue;
        Object.assign(one, { consumer: String(consumer), at: Date.now() - idle, count: count ?? one.count + Number(!only) });
        claimed.push(only ? showId(one.id) : rowOf(entry));
      }
      return claimed;
    },
    XAUTOCLAIM: (key, name, consumer, least, begin, _count, count) => {
      const { stream, group } = this.group(key, name, (group) => `No such key '${key}' or consumer group '${group}'`);
      let room = count ? Number(count) : 100;
      let attempts = room * ATTEMPTS;
      const claimed: unknown[] = [];
      const deleted: string[] = [];
      let cursor: Id = [0, 0];
      group.seen.set(String(consumer), Date.now());
      for (const one of group.held("", readBegin(begin))) {
        if (!room || !attempts) {
          cursor = one.id;
          break;
        }
        attempts -= 1;
        const entry = this.there(stream, group, one);
        if (!entry) {
          deleted.push(showId(one.id));
          room -= 1;
        } else if (Date.now() - one.at >= Number(least)) {
          Object.assign(one, { consumer: String(consumer), at: Date.now(), count: one.count + 1 });
          claimed.push(rowOf(entry));
          room -= 1;
        }
      }
      return [showId(cursor), claimed, deleted];
    },
  };

  /** The entry of what is pending; what is not in the stream any more is not pending either. */
  private there(stream: Stream, group: Group, { id }: Pending): Entry | undefined {
    const entry = stream.find(id);
    if (!entry) group.pending.delete(showId(id));
    return entry;
  }

  // --- keys

  private text(key: Buffer): Buffer | null {
    return this.value(key, Buffer) ?? null;
  }

  private hash(key: Buffer): Map<string, Buffer> {
    return this.value(key, Map) ?? new Map();
  }

  private stream(key: Buffer): Stream | undefined {
    return this.value(key, Stream);
  }

  private group(key: Buffer, name: Buffer, refusal: (group: string) => string): { stream: Stream; group: Group } {
    const stream = this.stream(key);
    const group = stream?.groups.get(String(name));
    if (!stream || !group) throw new Refused(`NOGROUP ${refusal(String(name))}`);
    return { stream, group };
  }

  private value(key: Buffer, kind: any): any {
    const value = this.keys.get(String(key));
    if (value !== undefined && !(value instanceof kind)) throw new Refused("WRONGTYPE Operation against a key holding the wrong kind of value");
    return value;
  }

  private drop(key: string): boolean {
    this.expires.delete(key);
    return this.keys.delete(key);
  }
}

function compare(a: Id, b: Id): number {
  return a[0] - b[0] || a[1] - b[1];
}

function next([first, second]: Id): Id {
  return second < END[1] ? [first, second + 1] : [first + 1, 0];
}

function newId({ last }: Stream, asked: string): Id {
  if (asked === "*") return Date.now() > last[0] ? [Date.now(), 0] : next(last);
  const id = readId(asked, 0);
  if (!id[0] && !id[1]) throw new Refused("ERR The ID specified in XADD must be greater than 0-0");
  if (compare(id, last) <= 0) throw new Refused("ERR The ID specified in XADD is equal or smaller than the target stream top item");
  return id;
}

function rowOf({ id, fields }: Entry): unknown {
  return [showId(id), fields];
}

function showId(id: Id): string {
  return id.map((part) => (part >= END[1] ? LAST : part)).join("-");
}

/** Returns an id; where it is only milliseconds, with `number` as its second part. Throws Refused. */
function readId(text: string, number: number): Id {
  const found = /^(\d+)(?:-(\d+))?$/.exec(text);
  if (!found) throw new Refused("ERR Invalid stream ID specified as stream command argument");
  return [Number(found[1]), found[2] === undefined ? number : Number(found[2])];
}

/** Returns where a range begins: `-`, an id, or `(` and the id before. */
function readBegin(bytes: Buffer): Id {
  const word = String(bytes);
  if (word === "-") return [0, 0];
  if (word === "+") return END;
  return word[0] === "(" ? next(readId(word.slice(1), 0)) : readId(word, 0);
}

/** Returns where a range ends: `+`, an id, or `(` and the id behind. */
function readEnd(bytes: Buffer): Id {
  const word = String(bytes);
  if (word === "+") return END;
  if (word === "-") return [0, 0];
  if (word[0] !== "(") return readId(word, END[1]);
  const [first, second] = readId(word.slice(1), END[1]);
  return second ? [first, second - 1] : [first - 1, END[1]];
}
