/** The methods that list, replay and delete dead letters; every service whose listener consumes the durable stream has them. */

import { randomBytes } from "node:crypto";
import { deadLettersOf } from "../constants";
import { InvalidParams } from "../errors";
import type { RedisLink } from "../redis/link";
import { describe, logger } from "../service/logs";
import { within } from "../stop";
import { fieldsOf, readObject, StreamGroup } from "./group";
import type { ListenerCall } from "./processor";

const LOCK_MS = 15_000;
const LOCK_INTERVAL = 5000;
const FREE_IF_OURS = "return redis.call('get', KEYS[1]) == ARGV[1] and redis.call('del', KEYS[1]) or 0";
/** In one step: between a look and a write the lock may run out and become another instance's. */
const EXTEND_IF_OURS = "return redis.call('get', KEYS[1]) == ARGV[1] and redis.call('pexpire', KEYS[1], ARGV[2]) or 0";
/** Milliseconds in which a replay may end before its call is answered; callers wait 2 s by default. */
const PATIENCE = 1500;
const LISTED_MOST = 1000;
const READ_BYTES = 4_000_000;
const PORTION_ENTRIES = 1000;
const PORTION_BYTES = 2_000_000;
const SINGLES = 50;
const PAGE = 50;
/** Until it is known how large they are. */
const FIRST_PAGE = 10;
const ID = /^[0-9]{1,19}-[0-9]{1,19}$/;

interface Letter {
  id: string;
  event: Record<string, unknown>;
  facts: Record<string, string>;
  readable: boolean;
  size: number;
}

type Figures = Record<string, number | string | boolean>;

/** A letter, or a batch that begins with it, was not taken; the replay ends there. */
class NotTaken extends Error {
  constructor(
    readonly id: string,
    reason: string,
  ) {
    super(reason);
  }
}

/** The dead letters of a service: a replay gives them to its listeners, one replay at a time among all instances. */
export class DeadLetters {
  figures: Figures = {};
  private readonly key: string;
  private readonly lock: string;
  private readonly token = randomBytes(8).toString("hex");
  private readonly groups: ReadonlyMap<string, StreamGroup>;
  private busy = false;
  private stopped = false;

  constructor(
    private readonly service: string,
    private readonly feeds: readonly ListenerCall[],
    private readonly link: RedisLink,
  ) {
    this.key = deadLettersOf(service);
    this.lock = `${this.key}:replay`;
    this.groups = new Map(feeds.map(({ group }) => [group, new StreamGroup(group, "", link, link)]));
  }

  /** Ends a replay behind the letters that it has in hand. */
  stop(): void {
    this.stopped = true;
  }

  /** The functions to expose, by name. */
  methods(): Record<string, (params: any) => Promise<unknown>> {
    return {
      dead_letters: ({ limit }) => this.list(limit),
      replay_dead_letters: ({ limit, ids }) => this.replay(limit, ids),
      delete_dead_letters: ({ ids }) => this.remove(ids),
    };
  }

  private async list(limit: unknown): Promise<unknown> {
    const letters = await this.pages("XREVRANGE", "+", "-", readCount(limit ?? 100, LISTED_MOST), READ_BYTES);
    const found = { count: await this.length(), letters: letters.map(showLetter) };
    return Object.keys(this.figures).length ? { ...found, replay: this.figures } : found;
  }

  private async replay(limit: unknown, ids: unknown): Promise<unknown> {
    // What becomes a dead letter while the replay runs is not replayed by it: it would have no end.
    const there = await this.length();
    const chosen = ids ? await this.chosen(ids) : null;
    const count = chosen ? chosen.length : Math.min(readCount(limit, Math.max(1, there)), there);
    const refusal = await this.begin();
    if (refusal) return refusal;
    const run = this.run(count, chosen);
    await within(run, PATIENCE);
    return { letters: count, replayed: 0, started: true, ...this.figures };
  }

  private async remove(ids: unknown): Promise<{ deleted: number }> {
    // `ids=,` is a mistake of somebody who meant some of them, never all.
    if (ids) return { deleted: await this.link.command(["XDEL", this.key, ...(await this.chosen(ids))]) };
    const deleted = await this.length();
    await this.link.command(["DEL", this.key]);
    return { deleted };
  }

  private async begin(): Promise<object | null> {
    if (this.busy) return { started: false, reason: "a replay is running", ...this.figures };
    this.busy = true; // before the first await: of two calls, one begins
    let begun = false;
    try {
      begun = Boolean(await this.link.command(["SET", this.lock, this.token, "NX", "PX", LOCK_MS]));
    } finally {
      if (!begun) this.busy = false;
    }
    return begun ? null : { started: false, reason: "a replay is running in another instance" };
  }

  private async run(count: number, chosen: string[] | null): Promise<void> {
    const figures: Figures = { running: true };
    this.figures = figures;
    let ours = true;
    const holding = setInterval(async () => {
      const held = await this.link.command(["EVAL", EXTEND_IF_OURS, 1, this.lock, this.token, LOCK_MS]).catch(() => 1);
      if (!held) ours = false;
    }, LOCK_INTERVAL);
    const replay = async (feed: ListenerCall, last: string) => {
      try {
        for await (const letters of this.portions(feed, count, chosen, last)) {
          await this.give(feed, letters, figures);
          if (!ours) figures.stopped = "another instance may have started a replay";
          if (this.stopped) figures.stopped = "the service stops";
          if (!ours || this.stopped) break;
        }
      } catch (error) {
        figures.stopped = error instanceof NotTaken ? error.message : describe(error);
        if (error instanceof NotTaken) figures.stopped_at = error.id;
        logger.warn({ stream: this.key, at: figures.stopped_at, reason: figures.stopped }, "replay_stopped");
      }
    };
    try {
      const last = chosen ? "" : await this.lastOf(count);
      // Side by side: one listener that hangs delays no other here either.
      await Promise.all(this.feeds.map((feed) => replay(feed, last)));
    } catch (error) {
      figures.stopped = describe(error);
    } finally {
      clearInterval(holding);
      await this.link.command(["EVAL", FREE_IF_OURS, 1, this.lock, this.token]).catch(() => {});
      figures.running = false;
      this.busy = false;
    }
  }

  private async give(feed: ListenerCall, all: Letter[], figures: Figures): Promise<void> {
    const add = (name: string, count: number) => {
      if (count) figures[name] = ((figures[name] as number) ?? 0) + count;
    };
    const isOwn = (letter: Letter) => this.groupOf(letter) === feed.group;
    // Letters of a listener that is no longer there are left out, and counted once: by the first.
    const letters = all.filter((letter) => isOwn(letter) || (feed === this.feeds[0] && !this.groups.has(this.groupOf(letter))));
    const readable = letters.filter((letter) => letter.readable && isOwn(letter));
    add("left_out", letters.length - readable.length);
    const batches = feed.exposed.batch ? [readable] : readable.map((letter) => [letter]);
    for (const batch of batches) {
      if (!batch.length) continue;
      const begun = performance.now();
      try {
        await feed.give(batch.map((letter) => letter.event));
      } catch (error) {
        throw new NotTaken(batch[0].id, describe(error));
      }
      const took = performance.now() - begun;
      await this.link.command(["XDEL", this.key, ...batch.map((letter) => letter.id)]);
      add("replayed", batch.length);
      const origins = batch.map((letter) => letter.facts.stream_id).filter(Boolean);
      if (origins.length)
        await this.groups
          .get(feed.group)
          ?.note(origins, took)
          .catch(() => {}); // a note that is refused harms nothing
    }
  }

  private groupOf(letter: Letter): string {
    return letter.facts.group ?? this.service;
  }

  // --- reading

  private async length(): Promise<number> {
    return Number(await this.link.command(["XLEN", this.key]));
  }

  /** Returns the id of the last of the oldest `count` letters. */
  private async lastOf(count: number): Promise<string> {
    if (count >= (await this.length())) {
      const [newest] = await this.link.command(["XREVRANGE", this.key, "+", "-", "COUNT", 1], { raw: true });
      return newest ? newest[0].toString() : "0-0";
    }
    let last = "0-0";
    for (let left = count; left > 0; ) {
      const letters = await this.pages("XRANGE", last, "+", Math.min(left, PORTION_ENTRIES), PORTION_BYTES);
      if (!letters.length) break;
      last = letters[letters.length - 1].id;
      left -= letters.length;
    }
    return last;
  }

  /** The oldest `count` letters up to `last`, or the chosen ones, some at a time. Other listeners' replays delete theirs meanwhile. */
  private async *portions(feed: ListenerCall, count: number, chosen: string[] | null, last: string): AsyncGenerator<Letter[]> {
    const { batch = 0, batchBytes = 0 } = feed.exposed;
    const entries = Math.min(batch || SINGLES, PORTION_ENTRIES);
    const most = Math.min(batchBytes || PORTION_BYTES, PORTION_BYTES);
    if (chosen) {
      let letters: Letter[] = [];
      for (const id of chosen) {
        letters.push(...(await this.one(id)));
        if (letters.length >= entries || letters.reduce((size, letter) => size + letter.size, 0) >= most) {
          yield letters;
          letters = [];
        }
      }
      if (letters.length) yield letters;
      return;
    }
    let after = "-";
    let left = count;
    while (left > 0) {
      const letters = await this.pages("XRANGE", after, last, Math.min(left, entries), most);
      if (!letters.length) return;
      after = letters[letters.length - 1].id;
      left -= letters.length;
      yield letters;
    }
  }

  private async pages(command: "XRANGE" | "XREVRANGE", first: string, end: string, count: number, most: number): Promise<Letter[]> {
    const letters: Letter[] = [];
    let [begin, size, page] = [first, 0, FIRST_PAGE];
    while (letters.length < count && size < most) {
      const start = begin === "-" || begin === "+" ? begin : `(${begin}`;
      const rows = await this.link.command([command, this.key, start, end, "COUNT", Math.min(page, count - letters.length)], { raw: true });
      if (!rows.length) break;
      letters.push(...rows.map(readLetter));
      size = letters.reduce((sum, letter) => sum + letter.size, 0);
      begin = letters[letters.length - 1].id;
      page = Math.max(1, Math.min(PAGE, Math.floor(((most - size) * letters.length) / Math.max(1, size))));
    }
    return letters;
  }

  private async one(id: string): Promise<Letter[]> {
    return (await this.link.command(["XRANGE", this.key, id, id], { raw: true })).map(readLetter);
  }

  private async chosen(ids: unknown): Promise<string[]> {
    const words = typeof ids === "string" ? ids.replaceAll(",", " ").split(/\s+/) : Array.isArray(ids) ? ids.map(String) : [String(ids)];
    const wanted = [...new Set(words.filter(Boolean))];
    if (!wanted.length) throw new InvalidParams(`there is no id in ids=${JSON.stringify(ids)}; write ids of dead letters, as in 1795470000000-0`);
    const wrong = wanted.find((one) => !ID.test(one));
    if (wrong !== undefined) throw new InvalidParams(`"${wrong.slice(0, 50)}" is not the id of a dead letter; such an id is 1795470000000-0`);
    const missing: string[] = [];
    // One after the other: they may be large, and only their ids are wanted.
    for (const one of wanted) if (!(await this.one(one)).length) missing.push(one);
    if (missing.length) {
      const more = missing.length > 1 ? ` and ${missing.length - 1} more` : "";
      throw new InvalidParams(`there is no dead letter ${missing[0]}${more}; dead_letters lists them`);
    }
    return wanted;
  }
}

function readLetter([id, fields]: [Buffer, Buffer[]]): Letter {
  const named = fieldsOf(fields);
  const raw = named.get("event") ?? Buffer.from("null");
  named.delete("event");
  const event = readObject(raw);
  const facts = Object.fromEntries([...named].map(([name, value]) => [name, value.toString()]));
  const size = fields.reduce((sum, field) => sum + field.length, 0);
  return { id: id.toString(), event: event ?? { unreadable: raw.toString() }, facts, readable: event !== null, size };
}

/** Returns a letter as an operator sees it: `stream_id` is the letter's own, by which it is replayed and deleted. */
function showLetter({ id, event, facts }: Letter): object {
  const origin = facts.stream_id ? { event_stream_id: facts.stream_id } : {};
  return { ...facts, ...origin, stream_id: id, event };
}

/** Returns a number of letters from 1 to `most`; `most` for what is no number. */
function readCount(value: unknown, most: number): number {
  const number = typeof value === "number" || (typeof value === "string" && value.trim()) ? Math.floor(Number(value)) : Number.NaN;
  return Number.isNaN(number) ? most : Math.max(1, Math.min(number, most));
}
