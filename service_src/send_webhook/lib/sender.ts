/**
 * Brings events to one destination. `take` returns when each event was taken, and throws Reject when the receiver says that
 * one of them is wrong. Until then it tries, for as long as it takes: the events stay pending in Redis meanwhile.
 */

import { type BandEvent, type HealthFacts, logger, Reject } from "@rockstat/rock-me-ts";
import type { Client, Verdict } from "./client";
import type { Destination, Options } from "./options";
import { bodyOf, type Composition, itemOf, type Requests } from "./requests";
import { signedHeaders } from "./signature";

/** So many single events may be refused in a row; then it may be about the secret or the receiver, not about the events. */
const DOUBTS_MOST = 20;

interface Trouble {
  kind: "later" | "setup" | "gone" | "doubt";
  reason: string;
  since: number;
  nextTry: number;
}

type Pauses = Pick<Options, "backoffFirst" | "backoffMost" | "refusedRetry">;

export class Sender {
  taken = 0;
  requests = 0;
  repeated = 0;
  refused = 0;
  lastTaken = 0;
  trouble: Trouble | null = null;
  private failures = 0;
  private doubts = 0;
  /** Marks of events that were taken while others of their batch were not yet: those are given again. */
  private readonly done = new Map<string, string>();

  constructor(
    readonly destination: Destination,
    private readonly client: Pick<Client, "post">,
    private readonly batches: Requests,
    private readonly pauses: Pauses,
  ) {}

  /** Takes a batch of events. After `signal` it never returns: the events stay pending for whoever comes next. */
  async take(events: readonly BandEvent[], signal: AbortSignal): Promise<void> {
    const items = events.filter((event) => this.destination.wants(event)).map(itemOf);
    for (let settled = false; !settled; ) {
      settled = true;
      for (const request of await this.batches.compose(items, this.done)) {
        settled = await this.deliver(request, signal);
        if (!settled) break;
      }
    }
    const came = new Map<string, string[]>();
    for (const { mark } of items) {
      const id = this.done.get(mark);
      if (id === undefined) continue;
      came.set(id, [...(came.get(id) ?? []), mark]);
      this.done.delete(mark);
    }
    for (const [id, marks] of came) {
      // A request some of whose events are still to come again is remembered until they did.
      const left = [...this.done].filter(([, of]) => of === id).map(([mark]) => mark);
      if (left.length) await this.batches.rememberTaken(id, [...marks, ...left]);
      else this.batches.finish([id]);
    }
  }

  /** Sends a request until it is taken; resolves with false where its events have to be composed anew. Rejects with Reject. */
  private async deliver(request: Composition, signal: AbortSignal): Promise<boolean> {
    const { name, keys, maxBytes } = this.destination;
    const body = bodyOf(request.items);
    const bytes = Buffer.byteLength(body);
    if (bytes > maxBytes) {
      await this.batches.forget([request.id]);
      if (request.items.length > 1) return false; // it was noted when max_bytes was larger
      throw new Reject(
        `the request would have ${bytes} bytes, and max_bytes of ${name} is ${maxBytes}; raise max_bytes and replay it, or have the event made smaller`,
      );
    }
    await this.batches.remember(request);
    for (let attempt = 1; ; attempt += 1) {
      this.requests += 1;
      if (attempt > 1) this.repeated += 1;
      const verdict = await this.client.post(body, signedHeaders(keys, request.id, Math.floor(Date.now() / 1000), body));
      if (verdict.meaning === "taken") {
        this.onTaken(request);
        return true;
      }
      if (verdict.meaning === "refused" && !(await this.isDoubtful(request, verdict, attempt, signal))) {
        await this.batches.forget([request.id]); // its events come again in other requests, or never
        if (request.borrows) return false; // the culprit may be none of those that were given now
        throw new Reject(`${name}: ${verdict.reason}${verdict.said ? `: ${verdict.said}` : ""}`);
      }
      if (verdict.meaning !== "refused") await this.pause(verdict, signal);
    }
  }

  private onTaken({ id, items }: Composition): void {
    if (this.trouble) logger.info({ destination: this.destination.name, seconds: secondsSince(this.trouble.since) }, "webhook_recovered");
    this.trouble = null;
    this.failures = this.doubts = 0;
    this.taken += items.length;
    this.lastTaken = Date.now();
    for (const { mark } of items) this.done.set(mark, id);
  }

  /** Many refusals in a row, and nothing taken in between: from then on one event is given up a minute, not thousands a second. */
  private async isDoubtful({ items }: Composition, verdict: Verdict, attempt: number, signal: AbortSignal): Promise<boolean> {
    if (items.length > 1) return false;
    if (this.doubts >= DOUBTS_MOST && attempt === 1) {
      await this.wait("doubt", verdict.reason, this.pauses.refusedRetry, signal);
      return true;
    }
    this.doubts += 1;
    this.refused += 1;
    return false;
  }

  private async pause({ meaning, reason, retryAfter }: Verdict, signal: AbortSignal): Promise<void> {
    if (meaning === "gone") return this.wait("gone", reason, Number.POSITIVE_INFINITY, signal);
    if (meaning === "setup") return this.wait("setup", reason, this.pauses.refusedRetry, signal);
    const { backoffFirst, backoffMost } = this.pauses;
    const growing = Math.min(backoffMost, backoffFirst * 2 ** Math.min(this.failures, 30)) * (0.5 + Math.random() / 2);
    this.failures += 1;
    // Who says when it wants to be asked again is asked no sooner, and all senders not in the same moment.
    await this.wait("later", reason, Math.max(growing, (retryAfter ?? 0) * (1 + Math.random() / 10)), signal);
  }

  private async wait(kind: Trouble["kind"], reason: string, seconds: number, signal: AbortSignal): Promise<void> {
    if (this.trouble?.kind !== kind) logger.warn({ destination: this.destination.name, reason, next_try_s: rounded(seconds) }, "webhook_trouble");
    this.trouble = { kind, reason, since: this.trouble?.since ?? Date.now(), nextTry: Date.now() + seconds * 1000 };
    await sleep(seconds, signal);
  }

  /** Returns the figures since the start. */
  stats(): Record<string, unknown> {
    const { taken, requests, repeated, refused, lastTaken, trouble } = this;
    return { taken, requests, repeated, refused, last_taken: lastTaken || null, trouble: trouble && { kind: trouble.kind, reason: trouble.reason } };
  }

  /** Returns how this destination is, and what to do. */
  health(): Exclude<HealthFacts, string | boolean | null | undefined> {
    if (!this.trouble) return { status: "ok", taken: this.taken };
    const { kind, reason, since, nextTry } = this.trouble;
    const facts = {
      since: new Date(since).toISOString(),
      ...(Number.isFinite(nextTry) ? { next_try_s: Math.max(0, rounded((nextTry - Date.now()) / 1000)) } : {}),
    };
    const { name } = this.destination;
    if (kind === "later") return { status: "degraded", reason: `${name} is unavailable (${reason}); its events wait in the stream`, ...facts };
    const hints = {
      setup: "check its url and secret, and the receiver's own log",
      gone: "remove it from the destinations, or run the service again if that was a mistake",
      doubt: "check its secret, and what the receiver expects; dead letters can be replayed",
    };
    const words = { setup: "does not accept requests", gone: "wants no more requests", doubt: "refuses every event" };
    return { status: "failing", reason: `${name} ${words[kind]} (${reason}); its events wait in the stream`, hint: hints[kind], ...facts };
  }
}

function secondsSince(time: number): number {
  return rounded((Date.now() - time) / 1000);
}

function rounded(seconds: number): number {
  return Math.round(seconds * 10) / 10;
}

/** setTimeout takes no more than 24 days. */
const LONGEST_SLEEP = 86_400;

/** Resolves after some seconds; never, when the service stops before. */
async function sleep(seconds: number, signal: AbortSignal): Promise<void> {
  const end = Date.now() + seconds * 1000;
  while (!signal.aborted && Date.now() < end) {
    const left = Math.min(LONGEST_SLEEP * 1000, end - Date.now());
    await new Promise<void>((resolve) => {
      const over = () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", over);
        resolve();
      };
      const timer = setTimeout(over, left);
      signal.addEventListener("abort", over, { once: true });
    });
  }
  if (signal.aborted) await new Promise<never>(() => {});
}
