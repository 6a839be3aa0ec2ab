/**
 * Replay: events that are still in the stream are given to one listener again; other groups are not affected. The range and the
 * progress are in the hash `events:listener:<group>`, in the same form as Python's: one instance holds a lock and works on it, and
 * when it ends, another one or the next life goes on behind the last position noted. The end of a range is fixed when it begins.
 */

import { Backoff } from "../backoff";
import { deadLettersOf, EVENTS_STREAM, listenerOf } from "../constants";
import { InvalidParams, RedisReplyError, RedisUnavailable, Reject, Retry } from "../errors";
import type { RedisLink } from "../redis/link";
import { logger } from "../service/logs";
import { Stop, within } from "../stop";
import { StreamGroup } from "./group";
import type { LetterLimit } from "./letter_limit";
import { type Letter, LetterStream } from "./letter_stream";
import { PATIENCE } from "./letters";
import { LOCK_INTERVAL, ReplayLock } from "./lock";
import { before, firstId, isOlder, lastId } from "./positions";
import { isUnder } from "./privacy";
import { type ListenerCall, reasonOf } from "./processor";

/** Milliseconds between two looks whether an instance that replayed is gone, and between two extensions of the lock; tests shorten them. */
export const intervals = { look: 5000, lock: LOCK_INTERVAL };
/** Between two looks whether an operator wants it to stop. */
const ASK_INTERVAL = 200;
/** Between two notes of the position: so much may be given twice after a crash. */
const SAVE_INTERVAL = 1000;
/** Field of the hash: somebody wants the replay to stop. */
const ASKED = "replay_stop";

/** A replay: its range (both ends are in it), how far it is (`position`: the last entry that is done with), why it ended. */
export interface Progress {
  state: "running" | "stopped" | "done";
  start: string;
  end: string;
  key: string;
  position: string;
  replayed: number;
  rejected: number;
  /** Of other keys, or unreadable. */
  left_out: number;
  reason: string;
  stopped_at: string;
  started_at: number;
}

/** Which events, or what is to become of the replay. */
export interface Wish {
  start?: unknown;
  end?: unknown;
  key?: unknown;
  resume?: unknown;
  stop?: unknown;
}

/** What a caller is told: the progress without empty texts; of a refusal, `started: false` and `why`. */
export type Told = Partial<Omit<Progress, "state">> & { state: Progress["state"] | "none"; started?: boolean; why?: string };

/** It stops before the end of its range. */
class Stopped extends Error {
  constructor(
    reason: string,
    readonly at = "",
  ) {
    super(reason);
  }
}

/** Another instance, or the next life, goes on with it. */
class Left extends Error {}

/** Replays of one listener, one at a time among all instances of the service. */
export class EventReplay {
  readonly group: string;
  private readonly key: string;
  private readonly lock: ReplayLock;
  private readonly consumers: StreamGroup;
  private readonly stream: LetterStream;
  private readonly stopping = new Stop();
  private running: Promise<void> = Promise.resolve();
  /** Ends the wait for the next look. */
  private wake: () => void = () => {};
  private wanted = false;
  private onEnd: (() => void)[] = [];
  /** Stops what is in work behind its batch; with why. */
  private halt = new Stop();
  private haltedBy: Error | null = null;
  private savedAt = 0;
  private unsaved = new Map<string, number>();
  private unwritten: Progress | null = null;

  constructor(
    private readonly service: string,
    private readonly feed: ListenerCall,
    private readonly link: RedisLink,
    private readonly limit: LetterLimit | null,
  ) {
    this.group = feed.group;
    this.key = listenerOf(feed.group);
    this.lock = new ReplayLock(link, `${this.key}:replay`);
    this.consumers = new StreamGroup(feed.group, "", link, link);
    this.stream = new LetterStream(link, EVENTS_STREAM);
  }

  /** Begins, continues or stops a replay; without a wish it tells how the last one is. Rejects with InvalidParams. */
  async ask({ start = "", end = "now", key = "", resume, stop }: Wish): Promise<Told> {
    if (isSet(stop, "stop")) {
      await this.link.command(["HSET", this.key, ASKED, "1"]);
      return this.soon();
    }
    const again = isSet(resume, "resume");
    if (!again && (start === "" || start === null)) return shown(await this.read());
    if (typeof key !== "string") throw new InvalidParams("key must be a string: an event's key, or the beginning of one at a dot");
    if (!(await this.lock.take())) return this.refusal();
    try {
      const last = await this.read();
      if (last?.state === "running") return await this.refusal();
      await this.write(again ? resumed(last) : await this.planned(start, end, key));
      await this.link.command(["HDEL", this.key, ASKED]);
    } finally {
      await this.lock.free();
    }
    return { started: true, ...(await this.soon()) };
  }

  private async refusal(): Promise<Told> {
    const why = "a replay is running; stop it first";
    return { started: false, why, ...shown(await this.read()) };
  }

  /** Has the work begin now, and tells how it is after a moment. */
  private async soon(): Promise<Told> {
    const ended = new Promise<void>((resolve) => this.onEnd.push(resolve));
    this.wanted = true;
    this.wake();
    await within(ended, PATIENCE);
    return shown(await this.read());
  }

  private async planned(start: unknown, end: unknown, key: string): Promise<Progress> {
    let [first, last] = ["", ""];
    try {
      [first, last] = [firstId(start as string), lastId(end as string)];
    } catch (error) {
      throw new InvalidParams((error as Error).message);
    }
    const given = await this.consumers.position();
    if (last === "+" || isOlder(given, last)) last = given;
    if (first === "$" || isOlder(last, first)) {
      throw new InvalidParams(`there is nothing between ${start} and ${end}: events up to ${given} were delivered to the listener`);
    }
    const ahead = { replayed: 0, rejected: 0, left_out: 0, reason: "", stopped_at: "", started_at: Date.now() };
    return { state: "running", start: first, end: last, key, position: before(first), ...ahead };
  }

  // --- the work

  /** Works on replays until `stop`. */
  run(): void {
    this.running = this.loop();
  }

  /** Ends a replay behind the batch that it has in hand, within `timeout` milliseconds; the next life goes on with it. */
  async stop(timeout: number): Promise<void> {
    this.stopping.stop();
    this.end(new Left("the service stops"));
    await within(this.running, timeout);
  }

  private async loop(): Promise<void> {
    while (!this.stopping.stopped) {
      await this.pause();
      if (!this.stopping.stopped) await this.look().catch((error) => logger.error({ group: this.group, err: error }, "replay_failed"));
    }
  }

  private async pause(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    if (!this.wanted) {
      const next = new Promise<void>((resolve) => {
        this.wake = resolve;
        timer = setTimeout(resolve, intervals.look);
      });
      await this.stopping.unless(next);
    }
    clearTimeout(timer);
    this.wanted = false;
  }

  private async look(): Promise<void> {
    try {
      await this.stopping.unless(this.link.ready(30_000));
      const progress = await this.read();
      if (progress?.state !== "running") {
        if (progress && progress === this.unwritten) await this.write(progress);
        this.tellEnd();
      } else if (await this.lock.take()) await this.work(progress);
    } catch (error) {
      if (error instanceof RedisUnavailable) return; // it goes on when Redis is back
      if (!(error instanceof RedisReplyError)) throw error;
      logger.warn({ group: this.group, reason: error.message }, "replay_refused"); // the Redis user predates these keys
    }
  }

  private async work(progress: Progress): Promise<void> {
    this.halt = new Stop();
    this.haltedBy = null;
    const extended = { at: performance.now() };
    const holding = setInterval(() => void this.hold(extended), ASK_INTERVAL);
    try {
      await this.replay(progress);
      progress.state = "done";
    } catch (error) {
      if (error instanceof Stopped) {
        Object.assign(progress, { state: "stopped", reason: error.message, stopped_at: error.at });
        logger.warn({ group: this.group, at: error.at, reason: error.message }, "replay_stopped");
      } else if (error instanceof Left) {
        logger.info({ group: this.group, at: progress.position, reason: error.message }, "replay_left");
        if (this.stopping.stopped) await this.save(progress, true).catch(() => {});
      } else throw error;
    } finally {
      clearInterval(holding);
      this.unwritten = progress;
      try {
        if (progress.state !== "running") await this.finish(progress);
      } finally {
        await this.lock.free();
        this.tellEnd();
      }
    }
  }

  private async finish(progress: Progress): Promise<void> {
    logger.info({ group: this.group, ...shown(progress) }, "replay_ended");
    await this.write(progress);
    await this.link.command(["HDEL", this.key, ASKED]);
  }

  /** Keeps the lock, and looks whether it should stop. While Redis is away it does nothing. */
  private async hold(extended: { at: number }): Promise<void> {
    try {
      const [asked] = await this.link.command(["HMGET", this.key, ASKED]);
      if (asked !== null) return this.end(new Stopped("stopped on request"));
      if (performance.now() - extended.at < intervals.lock) return;
      extended.at = performance.now();
      if (!(await this.lock.extend())) this.end(new Left("another instance has the lock"));
    } catch {}
  }

  private end(why: Error): void {
    this.haltedBy ??= why;
    this.halt.stop();
  }

  private tellEnd(): void {
    for (const tell of this.onEnd.splice(0)) tell();
  }

  private async replay(progress: Progress): Promise<void> {
    const { entries: count, size } = this.feed.portion;
    const batch = this.feed.exposed.batch || 1;
    for (;;) {
      const portion = await this.stream.oldest({ after: progress.position, end: progress.end, count, size });
      if (!portion.length) return;
      const wanted = portion.filter(({ readable, event }) => readable && (!progress.key || isUnder(event.key, [progress.key])));
      for (let begin = 0; begin < wanted.length; begin += batch) {
        await this.give(wanted.slice(begin, begin + batch), progress);
        await this.save(progress);
      }
      progress.left_out += portion.length - wanted.length;
      progress.position = portion[portion.length - 1].id;
      await this.save(progress, true);
    }
  }

  /** Gives a batch to the listener, with its own attempts and pauses. A call in progress is never cut off. */
  private async give(batch: Letter[], progress: Progress): Promise<void> {
    const { maxAttempts = 10, backoff = 0.5, backoffMax = 30 } = this.feed.exposed;
    const pauses = new Backoff(backoff * 1000, backoffMax * 1000);
    for (;;) {
      if (this.haltedBy) throw this.haltedBy;
      const begun = performance.now();
      try {
        await this.feed.give(batch.map(({ event }) => event));
      } catch (error) {
        if (error instanceof Reject) return this.reject(batch, reasonOf(error), progress);
        if (pauses.attempts + 1 >= maxAttempts) throw new Stopped(`failed after ${maxAttempts} attempts: ${reasonOf(error)}`, batch[0].id);
        const pause = pauses.next();
        await this.halt.sleep(error instanceof Retry && error.after !== undefined ? error.after * 1000 : pause);
        continue;
      }
      const took = performance.now() - begun;
      progress.replayed += batch.length;
      progress.position = batch[batch.length - 1].id;
      for (const { id } of batch) this.unsaved.set(id, took);
      return;
    }
  }

  /** Makes a single rejected event a dead letter; of a batch, each half is tried again. */
  private async reject(batch: Letter[], reason: string, progress: Progress): Promise<void> {
    if (batch.length > 1) {
      const middle = batch.length >> 1;
      await this.give(batch.slice(0, middle), progress);
      return this.give(batch.slice(middle), progress);
    }
    const [{ id, raw, size }] = batch;
    const whose = this.group === this.service ? [] : ["group", this.group];
    await this.link.command(["XADD", deadLettersOf(this.service), "*", "event", raw, "reason", reason, "stream_id", id, ...whose, "at", Date.now()]);
    progress.rejected += 1;
    progress.position = id;
    await this.limit?.added(1, size);
  }

  // --- what is remembered

  private async read(): Promise<Progress | null> {
    const [text] = await this.link.command(["HMGET", this.key, "replay"]);
    if (text === null) return null;
    const [stored, ours]: [Progress, Progress | null] = [JSON.parse(text), this.unwritten];
    if (ours?.started_at !== stored.started_at) return stored;
    // A full Redis may refuse the note; what is done with is not given again for that.
    const ended = ours.position === stored.position && ours.state !== "running";
    return isOlder(stored.position, ours.position) || ended ? ours : stored;
  }

  private async write(progress: Progress): Promise<void> {
    await this.link.command(["HSET", this.key, "replay", JSON.stringify(progress)]);
    this.unwritten = null;
  }

  private async save(progress: Progress, now = false): Promise<void> {
    if (!now && performance.now() - this.savedAt < SAVE_INTERVAL) return;
    this.savedAt = performance.now();
    await this.write(progress);
    const unsaved = this.unsaved;
    if (!unsaved.size) return;
    this.unsaved = new Map();
    await this.consumers.note([...unsaved.keys()], Math.max(...unsaved.values())).catch(() => {}); // a note that is refused harms nothing
  }
}

function resumed(last: Progress | null): Progress {
  if (last?.state !== "stopped") throw new InvalidParams("there is no stopped replay; give the start of a new one");
  return { ...last, state: "running", reason: "", stopped_at: "" };
}

function shown(progress: Progress | null): Told {
  if (!progress) return { state: "none" };
  return Object.fromEntries(Object.entries(progress).filter(([, value]) => value !== "")) as unknown as Told;
}

/** Returns a parameter that is yes or no. Throws InvalidParams. */
function isSet(value: unknown, name: string): boolean {
  if (value === undefined || value === null || value === "") return false;
  const word = String(value).toLowerCase();
  if (["true", "1"].includes(word)) return true;
  if (["false", "0"].includes(word)) return false;
  throw new InvalidParams(`${name} must be true or false`);
}
