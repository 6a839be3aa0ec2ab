/** What a listener says of an event: again later (Retry), never (Reject), and how long a call may take. */

import assert from "node:assert/strict";
import { hostname } from "node:os";
import { after, afterEach, before, test } from "node:test";
import { RegistrationError, Reject, Retry } from "../lib/errors";
import { groupStart } from "../lib/events/positions";
import { Retries } from "../lib/events/retries";
import { Service } from "../lib/service/service";
import type { ListenerOptions } from "../lib/types";
import { Bed, until } from "./support";

const bed = new Bed();
before(() => bed.startRedis());
afterEach(async () => {
  await bed.clear();
  await bed.ask("FLUSHALL");
});
after(() => bed.end());

/** A listener that throws for each number what `says` has for it, in order; `calls` has what it was given, `at` when. */
async function shop(says: Record<number, Error[]>, options: ListenerOptions = {}) {
  const calls: unknown[] = [];
  const at: Record<number, number[]> = {};
  const func = (given: any) => {
    const numbers: number[] = [given].flat().map(({ n }: any) => n);
    calls.push(options.batch ? numbers : numbers[0]);
    for (const n of numbers) at[n] = [...(at[n] ?? []), Date.now()];
    for (const n of numbers) {
      const error = says[n]?.shift();
      if (error) throw error;
    }
  };
  const service = await bed.service("listen", ({ expose }) => expose.listener(options as any, func), { events_from: "0" });
  return { service, calls, at };
}

const events = (...numbers: number[]) => bed.accept(...numbers.map((n) => ({ n })));

/** Whether the group was given everything and holds nothing. */
async function allDone(): Promise<boolean> {
  const newest = (await bed.ask("XINFO", "STREAM", "events")).get("last-generated-id");
  const [group] = await bed.ask("XINFO", "GROUPS", "events");
  return group.get("last-delivered-id") === newest && group.get("pending") === 0;
}

const noted = () => bed.ask("EXISTS", "events:retries:listen");
const nothingNoted = async () => !(await noted());

async function letters(): Promise<[number, string][]> {
  const rows: [string, string[]][] = await bed.ask("XRANGE", "dead:listen", "-", "+");
  return rows.map(([, [, event, , reason]]) => [JSON.parse(event).n, reason]);
}

/** Notes when the entry `number` of the stream (from 0) is due. */
async function note(number: number, dueMs: number): Promise<void> {
  await bed.ask("HSET", "events:retries:listen", (await bed.ask("XRANGE", "events", "-", "+"))[number][0], `${dueMs} 1`);
}

test("a retry comes later and holds up nobody; then nothing is pending or noted", async () => {
  await events(1, 2, 3);
  const { calls, at } = await shop({ 1: [new Retry("not yet", { after: 0.5 })] });
  await until(() => calls.length === 4);
  assert.deepEqual(calls, [1, 2, 3, 1]);
  assert.ok(at[1][1] - at[1][0] >= 500);
  await until(allDone);
  await until(nothingNoted);
});

test("a retry without a delay follows the listener's backoff", async () => {
  await events(1);
  const { calls, at } = await shop({ 1: [new Retry()] }, { backoff: 0.8, backoffMax: 0.8 });
  await until(() => calls.length === 2);
  assert.ok(at[1][1] - at[1][0] >= 400);
});

test("retries are bounded by the attempts, and failures before one count too", async () => {
  await events(1, 2, 3);
  const full = () => new Retry("full", { after: 0 });
  const { calls, service } = await shop(
    { 1: [full(), full(), full(), full()], 3: [new Error("away"), full(), new Error("away")] },
    { maxAttempts: 3, backoff: 0, backoffMax: 0 },
  );
  await until(allDone);
  assert.deepEqual([calls.filter((n) => n === 1).length, calls.filter((n) => n === 3).length], [3, 3]);
  const found = await letters();
  assert.deepEqual(found.find(([n]) => n === 1)?.[1], "still Retry after 3 attempts: full");
  assert.match(found.find(([n]) => n === 3)?.[1] ?? "", /^Error: away/);
  await until(nothingNoted);
  assert.match(service.metrics.render(), /band_listener_retries_total 3\n/);
});

test("a batch that retries too often is halved down to the culprit", async () => {
  await events(0, 1, 2, 3, 4, 5, 6, 7);
  await shop({ 5: Array.from({ length: 99 }, () => new Retry("full", { after: 0 })) }, { maxAttempts: 2, batch: 8, linger: 0.3 });
  await until(async () => (await letters()).length > 0);
  await until(allDone);
  assert.deepEqual(await letters(), [[5, "still Retry after 2 attempts: full"]]);
  await until(nothingNoted);
});

test("a delay and its count survive a restart", async () => {
  await events(1);
  const first = await shop({ 1: [new Retry("later", { after: 3600 })] }, { maxAttempts: 2 });
  await until(() => first.calls.length === 1);
  await until(noted);
  await first.service.stop();
  await events(2);
  const second = await shop({}, { maxAttempts: 2 });
  await until(() => second.calls.length === 1);
  assert.deepEqual(second.calls, [2]);
  await second.service.stop();
  await note(0, 0);
  const third = await shop({ 1: [new Retry("later again", { after: 0 })] }, { maxAttempts: 2 });
  await until(() => third.calls.length === 1);
  await until(allDone);
  assert.deepEqual(await letters(), [[1, "still Retry after 2 attempts: later again"]]);
});

test("restarts while it waits are no crashes", async () => {
  await events(1);
  const delayed = await shop({ 1: [new Retry({ after: 3600 })] }, { maxAttempts: 2 });
  await until(noted);
  await delayed.service.stop();
  for (const n of [2, 3, 4, 5, 6, 7]) {
    await events(n);
    const { service, calls } = await shop({}, { maxAttempts: 2 });
    await until(() => calls.length === 1);
    await service.stop();
  }
  assert.deepEqual(await letters(), []);
  assert.equal((await bed.ask("XPENDING", "events", "listen", "-", "+", 9))[0][3], 0);
});

test("what ends the process is found behind a delayed event", async () => {
  await bed.ask("XGROUP", "CREATE", "events", "listen", "0", "MKSTREAM");
  await events(1, 2, 3);
  const consumer = `listen-${hostname()}`;
  const reply = await bed.ask("XREADGROUP", "GROUP", "listen", consumer, "COUNT", 2, "STREAMS", "events", ">");
  await note(0, Date.now() + 3_600_000);
  await bed.ask("XCLAIM", "events", "listen", consumer, 0, reply.get("events")[1][0], "RETRYCOUNT", 7, "JUSTID");
  const { calls } = await shop({}, { maxAttempts: 3 });
  await until(() => calls.length === 1);
  assert.deepEqual(calls, [3]);
  assert.deepEqual(await letters(), [[2, "the service crashed 7 times while it processed this event"]]);
});

test("a batch is retried as a whole", async () => {
  await events(1, 2, 3);
  const { calls } = await shop({ 2: [new Retry({ after: 0.2 })] }, { batch: 10 });
  await until(() => calls.length === 2);
  assert.deepEqual(calls, [
    [1, 2, 3],
    [1, 2, 3],
  ]);
  await until(allDone);
});

test("a constant retry does not starve new events, nor they it", async () => {
  await events(1);
  const calls: number[] = [];
  await bed.service(
    "listen",
    ({ expose }) =>
      expose.listener({ maxAttempts: 500 }, async ({ n }) => {
        calls.push(n);
        if (calls.length === 5) await events(2, 3, 4, 5);
        if (n === 1 && calls.length < 300) throw new Retry({ after: 0 });
      }),
    { events_from: "0" },
  );
  await until(() => calls.includes(5));
  assert.ok(calls.indexOf(5) < 250, String(calls.indexOf(5)));
  await until(allDone);
});

test("a rejected event is a dead letter at once, with its reason; health is well", async () => {
  await events(1, 2);
  const { calls, service } = await shop({ 1: [new Reject("no such project")] });
  await until(allDone);
  assert.deepEqual(calls, [1, 2]);
  assert.deepEqual(await letters(), [[1, "no such project"]]);
  assert.equal(service.metrics.failures.check(), null);
  assert.match(service.metrics.render(), /band_calls_total\{method="func",outcome="reject"\} 1\n/);
});

test("of a batch only what is rejected alone is a dead letter; what fails meanwhile has its own attempts", async () => {
  await events(0, 1, 2, 3, 4, 5, 6, 7);
  const bad = Array.from({ length: 9 }, () => new Reject("bad"));
  await shop({ 2: bad, 7: [new Error("away")] }, { batch: 10, backoff: 0, backoffMax: 0 });
  await until(allDone);
  assert.deepEqual(await letters(), [[2, "bad"]]);
});

test("a call that takes too long fails: its signal is aborted, and the reason says what happened", async () => {
  await events(1, 2);
  const aborted: unknown[] = [];
  await bed.service(
    "listen",
    ({ expose }) =>
      expose.listener({ timeout: 0.1, maxAttempts: 2, backoff: 0, backoffMax: 0 }, async ({ n }, { signal }) => {
        if (n !== 1) return;
        signal.addEventListener("abort", () => aborted.push(signal.reason.name));
        await new Promise(() => {}); // it hears of nothing
      }),
    { events_from: "0" },
  );
  await until(allDone);
  assert.deepEqual(aborted, ["TimeoutError", "TimeoutError"]);
  assert.deepEqual(await letters(), [[1, "TimeoutError: the call took longer than 0.1 s, the listener's timeout"]]);
});

test("a stop reaches a call that has a timeout", async () => {
  await events(1);
  let reason = "";
  const service = await bed.service(
    "listen",
    ({ expose }) =>
      expose.listener({ timeout: 60 }, async (_event, { signal }) => {
        await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
        reason = signal.reason.message;
      }),
    { events_from: "0", stop_timeout: 1 },
  );
  await until(async () => (await bed.ask("XPENDING", "events", "listen").catch(() => [0]))[0] === 1);
  await service.stop();
  await until(() => reason);
  assert.equal(reason, "the service stops");
});

test("a delayed event that was deleted or acknowledged is passed over", async () => {
  await events(1, 2);
  const { calls } = await shop({ 1: [new Retry({ after: 3600 })], 2: [new Retry({ after: 3600 })] });
  await until(async () => (await bed.ask("HLEN", "events:retries:listen")) === 2);
  const [[first], [second]] = await bed.ask("XRANGE", "events", "-", "+");
  await bed.ask("XDEL", "events", first);
  await bed.ask("XACK", "events", "listen", second);
  await until(allDone);
  await until(nothingNoted);
  assert.deepEqual(calls, [1, 2]);
});

test("without a place for notes a retry still comes later", async () => {
  await bed.ask("SET", "events:retries:listen", "of another type");
  await events(1);
  const { calls } = await shop({ 1: [new Retry({ after: 0.2 })] });
  await until(() => calls.length === 2);
  await until(allDone);
});

test("a new listener starts where it is told to, one that has run goes on", async () => {
  await bed.ask("XADD", "events", "1795470000000-0", "event", '{"n":1}');
  await bed.ask("XADD", "events", "1795480000000-0", "event", '{"n":2}');
  const got: Record<string, number[]> = {};
  const listen = (name: string, start: ListenerOptions["start"]) =>
    bed.service(name, ({ expose }) => expose.listener({ start }, ({ n }) => void (got[name] = [...(got[name] ?? []), n])));
  await listen("all", "beginning");
  await listen("some", new Date(1795480000000));
  const none = await listen("none", "now");
  await until(() => got.all?.length === 2 && got.some?.length === 1);
  assert.deepEqual([got.all, got.some], [[1, 2], [2]]);
  assert.equal(await bed.ask("HGET", "events:listener:some", "began"), "1795479999999-18446744073709551615");
  await none.stop();
  await bed.ask("XADD", "events", "1795490000000-0", "event", '{"n":3}');
  await listen("none", "now");
  await until(() => got.none?.length === 1);
});

test("places in the stream are an end, a time or an id", () => {
  const night = "1795737599999-18446744073709551615";
  for (const place of ["2026-11-27", "2026-11-27T00:00Z", "2026-11-27 01:00+0100", 1795737600, "1795737600000", new Date("2026-11-27"), "1795737600000-0"]) {
    assert.equal(groupStart(place), night, String(place));
  }
  assert.deepEqual([groupStart("now"), groupStart("beginning"), groupStart("5-7")], ["$", "0-0", "5-6"]);
  for (const wrong of ["yesterday", "", "12", "2026-13-01", "2026-11-27Z", new Date(Number.NaN), "18446744073709551616-0", "5-18446744073709551616"])
    assert.throws(() => groupStart(wrong), /not a place in the stream/);
});

test("what cannot be meant is refused", () => {
  for (const after of [-1, 86_401, Number.NaN]) assert.throws(() => new Retry({ after }), /a day/);
  for (const options of [{ maxAttempts: 0 }, { timeout: -1 }, { backoff: 2, backoffMax: 1 }, { backoff: -1 }]) {
    assert.throws(() => new Service().expose.listener(options, () => {}), /at least one attempt/);
  }
  assert.throws(() => new Service().expose.listener({ start: "soon" }, () => {}), RegistrationError);
  assert.equal(new Retry().message, "the listener asked for another delivery");
  assert.deepEqual([new Retry("why", { cause: 1 }).cause, new Reject("x").name, new Retry({}).after], [1, "Reject", undefined]);
});

test("an entry that is found not to be pending is made due once, however often that is found", async () => {
  const retries = new Retries({ delay: async () => {} } as any, {} as any);
  await retries.delay(new Map([["1-1", 1]]), new Retry({ after: 60 }));
  for (let look = 0; look < 5; look += 1) retries.hasten(["1-1"]);
  assert.equal((retries as any).byTime.length, 2); // as it was noted first, and as due now
  assert.deepEqual(retries.popDue(10), ["1-1"]);
  retries.clear();
});
