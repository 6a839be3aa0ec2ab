/** The methods that list, replay and delete dead letters; every service whose listener consumes the durable stream has them. */

import { deadLettersOf } from "../constants";
import { InvalidParams, Reject } from "../errors";
import type { RedisLink } from "../redis/link";
import { describe, logger } from "../service/logs";
import { within } from "../stop";
import { StreamGroup } from "./group";
import { type Letter, LetterStream, sizeOf } from "./letter_stream";
import { LOCK_INTERVAL, ReplayLock } from "./lock";
import { type ListenerCall, PORTION_BYTES, PORTION_ENTRIES } from "./processor";

/** Milliseconds in which a replay may end before its call is answered; callers wait 2 s by default. */
export const PATIENCE = 1500;
const LISTED_MOST = 1000;
const READ_BYTES = 4_000_000;
const ID = /^[0-9]{1,19}-[0-9]{1,19}$/;

type Figures = Record<string, number | string | boolean | object>;

/** A letter, or a batch that begins with it, was not taken; the replay ends there. */
class NotTaken extends Error {
  constructor(
    readonly id: string,
    reason: string,
  ) {
    super(reason);
  }
}

/** Gives a group's letters to its listener, one replay at a time among all instances. */
class GroupReplay {
  figures: Figures = {};
  busy = false;
  readonly group: StreamGroup;
  readonly lock: ReplayLock;

  constructor(
    readonly feed: ListenerCall,
    link: RedisLink,
    service: string,
    key: string,
  ) {
    this.group = new StreamGroup(feed.group, "", link, link);
    this.lock = new ReplayLock(link, feed.group === service ? `${key}:replay` : `${key}:replay:${feed.exposed.group}`);
  }
}

/** The dead letters of a service. Its groups are replayed each by itself: one whose listener hangs keeps no other from it. */
export class DeadLetters {
  private readonly key: string;
  private readonly stream: LetterStream;
  private readonly replays: readonly GroupReplay[];
  private readonly groups: ReadonlySet<string>;
  private stopped = false;

  constructor(
    private readonly service: string,
    feeds: readonly ListenerCall[],
    private readonly link: RedisLink,
  ) {
    this.key = deadLettersOf(service);
    this.stream = new LetterStream(link, this.key);
    this.replays = feeds.map((feed) => new GroupReplay(feed, link, service, this.key));
    this.groups = new Set(feeds.map(({ group }) => group));
  }

  /** The figures of the last replay, of all groups together; empty when there was none. */
  get figures(): Figures {
    return this.figuresOf(this.replays);
  }

  /** Adds up; with `groups`, the figures of each, where there are several. */
  private figuresOf(replays: readonly GroupReplay[]): Figures {
    const begun = replays.filter(({ figures }) => "running" in figures);
    if (this.replays.length === 1 || !begun.length) return { ...begun[0]?.figures };
    const sum: Figures = { running: false };
    for (const { figures } of begun) {
      for (const [name, value] of Object.entries(figures)) {
        if (typeof value === "number") sum[name] = ((sum[name] as number) ?? 0) + value;
      }
      if (figures.running) sum.running = true;
      if (figures.stopped && !sum.stopped) Object.assign(sum, { stopped: figures.stopped }, figures.stopped_at ? { stopped_at: figures.stopped_at } : {});
    }
    return { ...sum, groups: Object.fromEntries(begun.map(({ feed, figures }) => [feed.group, { ...figures }])) };
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
    const letters = await this.stream.newest(readCount(limit ?? 100, LISTED_MOST), READ_BYTES);
    const found = { count: await this.stream.length(), letters: letters.map(showLetter) };
    const replay = this.figures;
    return Object.keys(replay).length ? { ...found, replay } : found;
  }

  private async replay(limit: unknown, ids: unknown): Promise<unknown> {
    // What becomes a dead letter while the replay runs is not replayed by it: it would have no end.
    const there = await this.stream.length();
    const chosen = ids ? await this.chosen(ids) : null;
    const count = chosen ? chosen.length : Math.min(readCount(limit, Math.max(1, there)), there);
    const begun: GroupReplay[] = [];
    for (const replay of this.replays) if (await this.begin(replay)) begun.push(replay);
    const busy = this.replays.filter((replay) => !begun.includes(replay));
    if (!begun.length) {
      const own = busy.some((replay) => replay.busy);
      return { started: false, reason: own ? "a replay is running" : "a replay is running in another instance", ...(own ? this.figures : {}) };
    }
    const run = this.run(begun, count, chosen);
    await within(run, PATIENCE);
    const waits = busy.length ? { busy: busy.map(({ feed }) => feed.group) } : {};
    return { letters: count, replayed: 0, started: true, ...this.figuresOf(begun), ...waits };
  }

  private async remove(ids: unknown): Promise<{ deleted: number }> {
    // `ids=,` is a mistake of somebody who meant some of them, never all.
    if (ids) return { deleted: await this.link.command(["XDEL", this.key, ...(await this.chosen(ids))]) };
    const deleted = await this.stream.length();
    await this.link.command(["DEL", this.key]);
    return { deleted };
  }

  private async begin(replay: GroupReplay): Promise<boolean> {
    if (replay.busy) return false;
    replay.busy = true; // before the first await: of two calls, one begins
    let begun = false;
    try {
      begun = await replay.lock.take();
    } finally {
      if (!begun) replay.busy = false;
    }
    if (begun) replay.figures = { running: true };
    return begun;
  }

  /** Replays side by side: one listener that hangs delays no other here either. */
  private async run(replays: readonly GroupReplay[], count: number, chosen: string[] | null): Promise<void> {
    // Letters of a listener that is no longer there are left out, and counted once: by the first.
    const last = chosen ? "" : this.lastOf(count);
    await Promise.all(replays.map((replay, index) => this.runOne(replay, count, chosen, last, index === 0)));
  }

  private async runOne(replay: GroupReplay, count: number, chosen: string[] | null, last: Promise<string> | string, first: boolean): Promise<void> {
    const { feed, figures, lock } = replay;
    let ours = true;
    const holding = setInterval(async () => {
      if (!(await lock.extend().catch(() => true))) ours = false;
    }, LOCK_INTERVAL);
    holding.unref(); // a listener that hangs keeps no process from ending
    try {
      for await (const letters of this.portions(feed, count, chosen, await last)) {
        await this.give(replay, letters, first);
        if (!ours) figures.stopped = "another instance may have started a replay";
        if (this.stopped) figures.stopped = "the service stops";
        if (!ours || this.stopped) break;
      }
    } catch (error) {
      figures.stopped = error instanceof NotTaken ? error.message : describe(error);
      if (error instanceof NotTaken) figures.stopped_at = error.id;
      logger.warn({ stream: this.key, group: feed.group, at: figures.stopped_at, reason: figures.stopped }, "replay_stopped");
    } finally {
      clearInterval(holding);
      await lock.free();
      figures.running = false;
      replay.busy = false;
    }
  }

  private async give(replay: GroupReplay, all: Letter[], first: boolean): Promise<void> {
    const { feed } = replay;
    const isOwn = (letter: Letter) => this.groupOf(letter) === feed.group;
    const letters = all.filter((letter) => isOwn(letter) || (first && !this.groups.has(this.groupOf(letter))));
    const readable = letters.filter((letter) => letter.readable && isOwn(letter));
    add(replay.figures, "left_out", letters.length - readable.length);
    const batches = feed.exposed.batch ? [readable] : readable.map((letter) => [letter]);
    for (const batch of batches) if (batch.length) await this.giveBatch(replay, batch);
  }

  /** Gives a batch; one that is rejected is halved, so that the replay stops at the culprit. Rejects with NotTaken. */
  private async giveBatch(replay: GroupReplay, batch: Letter[]): Promise<void> {
    const begun = performance.now();
    try {
      await replay.feed.give(batch.map((letter) => letter.event));
    } catch (error) {
      if (!(error instanceof Reject) || batch.length === 1) throw new NotTaken(batch[0].id, describe(error));
      const middle = batch.length >> 1;
      await this.giveBatch(replay, batch.slice(0, middle));
      return this.giveBatch(replay, batch.slice(middle));
    }
    const took = performance.now() - begun;
    await this.link.command(["XDEL", this.key, ...batch.map((letter) => letter.id)]);
    add(replay.figures, "replayed", batch.length);
    const origins = batch.map((letter) => letter.facts.stream_id).filter(Boolean);
    if (origins.length) await replay.group.note(origins, took).catch(() => {}); // a note that is refused harms nothing
  }

  private groupOf(letter: Letter): string {
    return letter.facts.group ?? this.service;
  }

  // --- reading

  /** Returns the id of the last of the oldest `count` letters. */
  private async lastOf(count: number): Promise<string> {
    if (count >= (await this.stream.length())) {
      const [newest] = await this.link.command(["XREVRANGE", this.key, "+", "-", "COUNT", 1], { raw: true });
      return newest ? newest[0].toString() : "0-0";
    }
    let last = "0-0";
    for (let left = count; left > 0; ) {
      const letters = await this.stream.oldest({ after: last, count: Math.min(left, PORTION_ENTRIES), size: PORTION_BYTES });
      if (!letters.length) break;
      last = letters[letters.length - 1].id;
      left -= letters.length;
    }
    return last;
  }

  /** The oldest `count` letters up to `last`, or the chosen ones, some at a time. Other listeners' replays delete theirs meanwhile. */
  private async *portions(feed: ListenerCall, count: number, chosen: string[] | null, last: string): AsyncGenerator<Letter[]> {
    const { entries, size } = feed.portion;
    if (chosen) {
      let letters: Letter[] = [];
      for (const id of chosen) {
        letters.push(...(await this.stream.one(id)));
        if (letters.length >= entries || sizeOf(letters) >= size) {
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
      const letters = await this.stream.oldest({ after, end: last, count: Math.min(left, entries), size });
      if (!letters.length) return;
      after = letters[letters.length - 1].id;
      left -= letters.length;
      yield letters;
    }
  }

  private async chosen(ids: unknown): Promise<string[]> {
    const words = typeof ids === "string" ? ids.replaceAll(",", " ").split(/\s+/) : Array.isArray(ids) ? ids.map(String) : [String(ids)];
    const wanted = [...new Set(words.filter(Boolean))];
    if (!wanted.length) throw new InvalidParams(`there is no id in ids=${JSON.stringify(ids)}; write ids of dead letters, as in 1795470000000-0`);
    const wrong = wanted.find((one) => !ID.test(one));
    if (wrong !== undefined) throw new InvalidParams(`"${wrong.slice(0, 50)}" is not the id of a dead letter; such an id is 1795470000000-0`);
    const missing: string[] = [];
    // One after the other: they may be large, and only their ids are wanted.
    for (const one of wanted) if (!(await this.stream.one(one)).length) missing.push(one);
    if (missing.length) {
      const more = missing.length > 1 ? ` and ${missing.length - 1} more` : "";
      throw new InvalidParams(`there is no dead letter ${missing[0]}${more}; dead_letters lists them`);
    }
    return wanted;
  }
}

function add(figures: Figures, name: string, count: number): void {
  if (count) figures[name] = ((figures[name] as number) ?? 0) + count;
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
