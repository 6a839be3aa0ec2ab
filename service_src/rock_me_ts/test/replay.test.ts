/** Events of the past are given to one listener once more, as in Python (test_band_replay.py). */

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { Reject, Retry } from "../lib/errors";
import { firstId, lastId } from "../lib/events/positions";
import { intervals } from "../lib/events/replay";
import type { Service } from "../lib/service/service";
import type { ListenerOptions } from "../lib/types";
import { Bed, until } from "./support";

const LAST = "18446744073709551615";
const bed = new Bed();
before(() => bed.startRedis());
Object.assign(intervals, { look: 100, lock: 0 });
afterEach(async () => {
  await bed.clear();
  await bed.ask("CONFIG", "SET", "maxmemory", 0);
  await bed.ask("FLUSHALL");
});
after(() => bed.end());

async function add(...numbers: number[]): Promise<void> {
  for (const n of numbers) await addUnder("in.gen.track.page", n);
}

const addUnder = (key: string, n: number) => bed.ask("XADD", "events", `${n}000-0`, "event", JSON.stringify({ key, n }));

interface Shop {
  service: Service;
  calls: unknown[];
  says: Record<number, Error[]>;
  /** What is in work waits until it is opened. */
  gate: { open: () => void; closed: Promise<void> | null };
  replay: (params?: object) => Promise<any>;
}

/** A listener that throws for each number what `says` has for it, in order; `calls` has what it was given. */
async function shop(options: ListenerOptions = {}, name = "listen"): Promise<Shop> {
  const calls: unknown[] = [];
  const says: Record<number, Error[]> = {};
  const gate: Shop["gate"] = { open: () => {}, closed: null };
  const func = async (given: any) => {
    await gate.closed;
    const numbers: number[] = [given].flat().map(({ n }: any) => n);
    calls.push(options.batch ? numbers : numbers[0]);
    for (const n of numbers) {
      const error = says[n]?.shift();
      if (error) throw error;
    }
  };
  const service = await bed.service(name, ({ expose }) => expose.listener({ start: "beginning", ...options } as any, func));
  const replay = (params: object = {}) => service.registry.methods.get("replay_events")?.func(params, {} as any) as Promise<any>;
  return { service, calls, says, gate, replay };
}

function close({ gate }: Shop): void {
  gate.closed = new Promise((resolve) => {
    gate.open = () => {
      gate.closed = null;
      resolve();
    };
  });
}

/** A shop that has taken the events `1` to `most`, and forgot the calls. */
async function used(most: number, options: ListenerOptions = {}, name = "listen"): Promise<Shop> {
  const one = await shop(options, name);
  await until(() => one.calls.flat().length === most);
  await until(async () => (await bed.ask("XPENDING", "events", name))[0] === 0);
  one.calls.length = 0;
  return one;
}

const ended = (one: Shop) =>
  until(
    () => one.replay(),
    ({ state }) => state !== "running",
  );

test("places in the stream: the first and the last of a range", () => {
  for (const [given, first, last] of [
    ["beginning", "0-0", "0-0"],
    ["now", "$", "+"],
    ["1795771800000-3", "1795771800000-3", "1795771800000-3"],
    [`5-${LAST}`, `5-${LAST}`, `5-${LAST}`],
    ["2026-11-27T12:30+03:00", "1795771800000-0", `1795771800000-${LAST}`],
    [1795771800, "1795771800000-0", `1795771800000-${LAST}`],
    [new Date(1795771800000), "1795771800000-0", `1795771800000-${LAST}`],
  ] as [string | number | Date, string, string][]) {
    assert.deepEqual([firstId(given), lastId(given)], [first, last]);
  }
});

test("a replay gives a range to one listener only, and both ends are in it", async () => {
  await add(1, 2, 3, 4, 5);
  const one = await used(5);
  const other = await used(5, {}, "other");
  assert.equal((await one.replay({ start: "2000-0", end: "4000-0" })).started, true);
  const last = await ended(one);
  assert.deepEqual([last.state, last.replayed], ["done", 3]);
  assert.deepEqual(one.calls, [2, 3, 4]);
  await add(6);
  await until(() => one.calls.length === 4 && other.calls.length === 1);
  assert.deepEqual([one.calls, other.calls], [[2, 3, 4, 6], [6]]);
});

test("a replay by key", async () => {
  await add(1);
  await addUnder("in.gen.hook.x", 2);
  await add(3);
  const one = await used(3);
  for (const [key, expected] of [
    ["in.gen.track", [1, 3]],
    ["in.gen.tr", []],
    ["in.gen.hook.x", [2]],
  ] as [string, number[]][]) {
    await one.replay({ start: "beginning", key });
    const last = await ended(one);
    assert.deepEqual(one.calls.splice(0), expected);
    assert.deepEqual([last.replayed, last.left_out], [expected.length, 3 - expected.length]);
  }
});

test("a replay ends with what was delivered", async () => {
  await add(1, 2);
  const one = await used(2);
  for (const end of ["now", "2030-01-01"]) {
    assert.equal((await one.replay({ start: "beginning", end })).end, "2000-0");
    await ended(one);
  }
});

test("a replay in batches", async () => {
  await add(1, 2, 3, 4, 5, 6, 7, 8);
  const one = await used(8, { batch: 3 });
  await one.replay({ start: "beginning" });
  await ended(one);
  assert.deepEqual(one.calls, [
    [1, 2, 3],
    [4, 5, 6],
    [7, 8],
  ]);
});

test("a replay has the listener's attempts: failures again, Retry is waited for, Reject makes a dead letter", async () => {
  await add(1, 2, 3, 4);
  const one = await used(4, { backoff: 0, backoffMax: 0 });
  Object.assign(one.says, { 1: [new Error("away")], 2: [new Retry({ after: 0.05 })], 3: [new Reject("bad")] });
  await one.replay({ start: "beginning" });
  const last = await ended(one);
  assert.deepEqual(one.calls, [1, 1, 2, 2, 3, 4]);
  assert.deepEqual([last.replayed, last.rejected], [3, 1]);
  const [[, fields]] = await bed.ask("XRANGE", "dead:listen", "-", "+");
  assert.deepEqual(fields.slice(0, -1), ["event", '{"key":"in.gen.track.page","n":3}', "reason", "bad", "stream_id", "3000-0", "at"]);
  assert.match(one.service.metrics.render(), /band_calls_total\{[^}]*outcome="reject"[^}]*\} 1/);
});

test("a replay that fails stops, tells why and where, and is resumed there", async () => {
  await add(1, 2, 3);
  const one = await used(3, { maxAttempts: 2, backoff: 0, backoffMax: 0 });
  one.says[2] = [new Error("away"), new Error("away")];
  await one.replay({ start: "beginning" });
  const last = await ended(one);
  assert.deepEqual([last.state, last.stopped_at, last.replayed], ["stopped", "2000-0", 1]);
  assert.match(last.reason, /^failed after 2 attempts: Error: away/);
  await one.replay({ resume: true });
  assert.deepEqual([(await ended(one)).state, (await one.replay()).replayed], ["done", 3]);
  assert.deepEqual(one.calls, [1, 2, 2, 2, 3]);
});

test("an operator stops a replay behind its batch and resumes it; meanwhile another is refused", async () => {
  await add(1, 2, 3);
  const one = await used(3);
  close(one);
  assert.equal((await one.replay({ start: "beginning" })).state, "running");
  const refused = await one.replay({ start: "beginning" });
  assert.deepEqual([refused.started, refused.why], [false, "a replay is running; stop it first"]);
  await one.replay({ stop: true });
  one.gate.open();
  const last = await ended(one);
  assert.deepEqual([last.state, last.reason, last.position], ["stopped", "stopped on request", "1000-0"]);
  assert.deepEqual(one.calls, [1]);
  await one.replay({ resume: true });
  await ended(one);
  assert.deepEqual(one.calls, [1, 2, 3]);
});

test("a stop waits for no retry", async () => {
  await add(1, 2);
  const one = await used(2);
  one.says[1] = [new Retry({ after: 3600 })];
  assert.equal((await one.replay({ start: "beginning" })).state, "running");
  await one.replay({ stop: true });
  assert.equal((await ended(one)).reason, "stopped on request");
  assert.deepEqual(one.calls, [1]);
});

test("a full Redis has nothing given again, and an end that was not noted is no beginning", async () => {
  await add(1, 2, 3);
  const one = await used(3, { maxAttempts: 1 });
  for (const [error, expected, state] of [
    [null, [1, 2, 3], "done"],
    [new Error("away"), [1], "stopped"],
  ] as [Error | null, number[], string][]) {
    one.says[1] = error ? [error] : [];
    close(one);
    assert.equal((await one.replay({ start: "beginning" })).state, "running");
    await bed.ask("CONFIG", "SET", "maxmemory", 1);
    one.gate.open();
    await until(() => one.calls.length);
    await new Promise((resolve) => setTimeout(resolve, 200)); // its end is refused
    await bed.ask("CONFIG", "SET", "maxmemory", 0);
    const last = await ended(one);
    assert.deepEqual([last.state, one.calls.splice(0)], [state, expected]);
    await until(async () => (await bed.ask("HGET", "events:listener:listen", "replay")).includes(`"${state}"`));
  }
});

test("a replay goes on after a restart, behind what was done and before the clean-up", async () => {
  await add(1, 2, 3, 4, 5);
  const first = await used(5);
  const closed: number[] = [];
  first.service.registry.cleanups.push(() => void closed.push(first.calls.length));
  first.says[3] = [new Retry({ after: 60 })];
  assert.equal((await first.replay({ start: "beginning" })).state, "running");
  await until(() => first.calls.length === 3);
  await first.service.stop();
  assert.deepEqual(closed, [3]);
  assert.equal(await bed.ask("EXISTS", "events:listener:listen:replay"), 0);
  const second = await shop();
  const last = await ended(second);
  assert.deepEqual([last.state, last.replayed, second.calls], ["done", 5, [3, 4, 5]]);
});

test("a batch that is rejected is halved; resumed, a replay begins with the half that failed", async () => {
  await add(1, 2, 3, 4);
  const one = await used(4, { batch: 4, maxAttempts: 2, backoff: 0, backoffMax: 0 });
  one.says[1] = [new Reject("bad"), new Reject("bad"), new Reject("bad")];
  one.says[3] = [new Error("away"), new Error("away")];
  await one.replay({ start: "beginning" });
  const last = await ended(one);
  assert.deepEqual([last.state, last.stopped_at, last.position], ["stopped", "3000-0", "2000-0"]);
  await one.replay({ resume: "1" });
  assert.deepEqual([(await ended(one)).replayed, last.rejected], [3, 1]);
  assert.deepEqual(one.calls, [[1, 2, 3, 4], [1, 2], [1], [2], [3, 4], [3, 4], [3, 4]]);
});

test("a lost lock ends a replay behind its batch; it goes on when the lock is free", async () => {
  await add(1, 2, 3);
  const one = await used(3);
  close(one);
  assert.equal((await one.replay({ start: "beginning" })).state, "running");
  await bed.ask("SET", "events:listener:listen:replay", "another instance");
  await new Promise((resolve) => setTimeout(resolve, 500)); // it looks often
  one.gate.open();
  await until(() => one.calls.length === 1);
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.deepEqual(one.calls, [1]);
  await bed.ask("DEL", "events:listener:listen:replay");
  assert.deepEqual([(await ended(one)).replayed, one.calls], [3, [1, 2, 3]]);
});

test("what was replayed is noted as taken", async () => {
  await add(1, 2, 3);
  const one = await shop({ start: "3000-0" });
  await until(() => one.calls.length === 1);
  await one.replay({ start: "1000-0", end: "2000-0" });
  await ended(one);
  const notes: [string, string[]][] = await bed.ask("XRANGE", "events:taken:listen", "-", "+");
  assert.deepEqual(notes.flatMap(([, [, ids]]) => ids.split(",")).sort(), ["1000-0", "2000-0", "3000-0"]);
});

test("what cannot be replayed is told", async () => {
  await add(1, 2, 3);
  await used(3);
  const lab = await bed.peer("lab");
  assert.deepEqual((await lab.call("listen", "replay_events")).result, { state: "none" });
  for (const [params, said] of [
    [{ start: "yesterday" }, /not a place in the stream/],
    [{ start: "18446744073709551616-0" }, /not a place in the stream/],
    [{ start: "now" }, /nothing between/],
    [{ start: "3000-0", end: "2000-0" }, /nothing between/],
    [{ start: "9000-0" }, /events up to 3000-0 were delivered/],
    [{ start: "beginning", key: 5 }, /key must be a string/],
    [{ resume: true }, /no stopped replay/],
    [{ resume: "maybe" }, /true or false/],
    [{ group: "crm" }, /no listener of the group "crm"; it has listen/],
  ] as [object, RegExp][]) {
    const { error } = await lab.call("listen", "replay_events", params);
    assert.deepEqual([error.code, said.test(error.data.message)], [-32602, true], JSON.stringify(error));
  }
});

test("of several listeners, a replay is of the group that is named", async () => {
  const calls: Record<string, number[]> = { crm: [], lake: [] };
  await add(1, 2);
  await bed.service("listen", ({ expose }) => {
    for (const group of ["crm", "lake"]) expose.listener({ group, start: "beginning" }, (event: any) => void calls[group].push(event.n));
  });
  await until(() => calls.crm.length === 2 && calls.lake.length === 2);
  const lab = await bed.peer("lab");
  const { error } = await lab.call("listen", "replay_events", { start: "beginning" });
  assert.match(error.data.message, /several listeners; say which with group: listen\.crm, listen\.lake/);
  await lab.call("listen", "replay_events", { start: "beginning", group: "listen.crm" });
  await lab.call("listen", "replay_events", { start: "2000-0", group: "crm" });
  await until(() => calls.crm.length === 5);
  const told = (await lab.call("listen", "replay_events")).result;
  assert.deepEqual([told.state, told.replayed, told.groups["listen.lake"]], ["done", 1, { state: "none" }]);
  assert.deepEqual(calls, { crm: [1, 2, 1, 2, 2], lake: [1, 2] });
});

test("a service that starts again in one process replays again", async () => {
  await add(1);
  const one = await used(1);
  await one.service.stop();
  await one.service.start({ ...(one.service.config as any) });
  await one.service.link.ready(5000);
  await until(() => one.service.listeners[0].joined);
  await one.replay({ start: "beginning" });
  assert.deepEqual([(await ended(one)).state, one.calls], ["done", [1]]);
});
