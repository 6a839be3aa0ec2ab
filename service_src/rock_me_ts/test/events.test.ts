/** The durable stream: nothing lost, nothing twice where nothing broke, and what cannot be taken is put aside. */

import assert from "node:assert/strict";
import { hostname } from "node:os";
import { after, afterEach, before, test } from "node:test";
import { z } from "zod";
import { Reject } from "../lib/errors";
import { Service } from "../lib/service/service";
import type { ListenerOptions } from "../lib/types";
import { Bed, GENEROUS, until } from "./support";

const bed = new Bed();
before(() => bed.startRedis());
afterEach(async () => {
  await bed.clear();
  await bed.ask("FLUSHALL");
});
after(() => bed.end());

const accept = (...events: unknown[]) => bed.accept(...events);
const ask = (...parts: (string | number)[]) => bed.ask(...parts);

async function listener(options: ListenerOptions, func: (given: any, context: any) => unknown, given: Record<string, unknown> = {}) {
  return bed.service("sink", ({ expose }) => expose.listener(options as any, func), { events_from: "0", ...given });
}

const pending = async () => (await ask("XPENDING", "events", "sink"))[0];

test("events come one by one, in order, and are acknowledged and noted", async () => {
  await accept({ n: 1 }, { n: 2 });
  const got: number[] = [];
  await listener({}, (event) => void got.push(event.n));
  await until(() => got.length === 2);
  await accept({ n: 3 });
  await until(() => got.length === 3);
  assert.deepEqual(got, [1, 2, 3]);
  await until(pending, (count) => count === 0);
  assert.ok((await ask("XLEN", "events:taken:sink")) >= 1);
  assert.equal((await ask("XINFO", "CONSUMERS", "events", "sink"))[0].get("name"), `sink-${hostname()}`);
});

test("batches are filled, and large events come in small portions", async () => {
  await accept(...Array.from({ length: 250 }, (_, n) => ({ n })));
  const sizes: number[] = [];
  await listener({ batch: 200, linger: 0.2 }, (events) => void sizes.push(events.length));
  await until(() => sizes.reduce((sum, size) => sum + size, 0) === 250);
  assert.equal(sizes[0], 200);
  const large = "x".repeat(300_000);
  await accept(...Array.from({ length: 12 }, () => ({ large })));
  await until(() => sizes.reduce((sum, size) => sum + size, 0) === 262);
  await accept(...Array.from({ length: 60 }, () => ({ large })));
  await until(() => sizes.reduce((sum, size) => sum + size, 0) === 322);
  assert.ok(Math.max(...sizes.slice(2)) <= 20, `${sizes}: a batch has 4 MB, and what the last read brought`);
});

test("what throws is given again; what keeps throwing is halved until only the culprit is put aside", async () => {
  await accept({ n: 1 }, { n: 13 }, { n: 3 }, "not json", "[1]");
  const taken: number[] = [];
  const service = await listener({ batch: 10, maxAttempts: 2, linger: 0.1 }, (events) => {
    if (events.some(({ n }: any) => n === 13)) throw new Error("unlucky");
    taken.push(...events.map(({ n }: any) => n));
  });
  await until(
    () => ask("XLEN", "dead:sink"),
    (count) => count === 3,
  );
  await until(() => taken.length === 2);
  assert.deepEqual(taken, [1, 3]);
  await until(pending, (count) => count === 0);
  const lab = await bed.peer("lab");
  const { count, letters } = (await lab.call("sink", "dead_letters")).result;
  assert.equal(count, 3);
  const unlucky = letters.find((letter: any) => letter.event.n === 13);
  assert.match(unlucky.reason, /^Error: unlucky \(events\.test\.js:\d+\)$/);
  assert.ok(unlucky.event_stream_id && unlucky.stream_id !== unlucky.event_stream_id);
  assert.ok(letters.some((letter: any) => letter.event.unreadable === "not json"));
  assert.ok((service.status() as any).dead_letters >= 1);
});

test("dead letters are replayed, by number or by id, and deleted", async () => {
  await accept({ n: 1 }, { n: 2 });
  let well = false;
  const got: number[] = [];
  await listener({ maxAttempts: 1 }, ({ n }) => {
    if (!well) throw new Error("not now");
    got.push(n);
  });
  await until(
    () => ask("XLEN", "dead:sink"),
    (count) => count === 2,
  );
  const lab = await bed.peer("lab");
  const failed = (await lab.call("sink", "replay_dead_letters")).result;
  assert.deepEqual([failed.letters, failed.replayed, failed.stopped], [2, 0, "Error: not now"]);
  well = true;
  const [newest] = (await lab.call("sink", "dead_letters", { limit: 1 })).result.letters;
  const one = (await lab.call("sink", "replay_dead_letters", { ids: newest.stream_id })).result;
  assert.deepEqual([one.letters, one.replayed, one.running], [1, 1, false]);
  assert.deepEqual(got, [2]);
  assert.equal((await lab.call("sink", "replay_dead_letters", { ids: newest.stream_id })).error.code, -32602);
  assert.equal((await lab.call("sink", "delete_dead_letters", { ids: "," })).error.code, -32602);
  assert.deepEqual((await lab.call("sink", "delete_dead_letters")).result, { deleted: 1 });
  assert.equal(await ask("EXISTS", "dead:sink:replay"), 0);
});

test("what an earlier life did not finish comes first, and what ended two lives comes alone", async () => {
  await accept({ n: 1 }, { n: 2 });
  await ask("XGROUP", "CREATE", "events", "sink", "0");
  for (let life = 0; life < 2; life += 1) await ask("XREADGROUP", "GROUP", "sink", `sink-${hostname()}`, "COUNT", 2, "STREAMS", "events", life ? "0" : ">");
  await accept({ n: 3 });
  const batches: number[][] = [];
  await listener({ batch: 10, maxAttempts: 5 }, (events) => void batches.push(events.map(({ n }: any) => n)));
  await until(() => batches.flat().length === 3);
  assert.deepEqual(batches, [[1], [2], [3]]);
  await until(pending, (count) => count === 0);
});

test("an event over which too many lives ended is put aside", async () => {
  await accept({ n: 1 });
  await ask("XGROUP", "CREATE", "events", "sink", "0");
  for (let life = 0; life < 4; life += 1) await ask("XREADGROUP", "GROUP", "sink", `sink-${hostname()}`, "COUNT", 2, "STREAMS", "events", life ? "0" : ">");
  await listener({}, () => assert.fail("it must not be given"));
  await until(
    () => ask("XLEN", "dead:sink"),
    (count) => count === 1,
  );
  assert.match((await ask("XRANGE", "dead:sink", "-", "+"))[0][1].join(), /the service crashed 4 times/);
});

test("what a silent consumer holds is claimed", async () => {
  await accept({ n: 1 });
  await ask("XGROUP", "CREATE", "events", "sink", "0");
  await ask("XREADGROUP", "GROUP", "sink", "sink-dead", "COUNT", 1, "STREAMS", "events", ">");
  const [[id]] = await ask("XRANGE", "events", "-", "+");
  await ask("XCLAIM", "events", "sink", "sink-dead", 0, id, "IDLE", 60_000);
  const got: number[] = [];
  await listener({}, ({ n }) => void got.push(n));
  await until(() => got.length === 1);
  await until(pending, (count) => count === 0);
});

test("a group that is destroyed is made again where this life had come to", async () => {
  const got: number[] = [];
  await accept({ n: 1 });
  await listener({}, ({ n }) => void got.push(n));
  await until(() => got.length === 1);
  await until(pending, (count) => count === 0);
  await ask("XGROUP", "DESTROY", "events", "sink");
  await accept({ n: 2 });
  await until(() => got.length === 2);
  assert.deepEqual(got, [1, 2]);
});

test("a stop waits for what is worked on, and gives the rest back for others at once", async () => {
  let finish: () => void = () => {};
  const got: number[] = [];
  await accept({ n: 1 }, { n: 2 }, { n: 3 });
  const service = await listener({ batch: 1 }, async ([{ n }]) => {
    await new Promise<void>((resolve) => void (finish = resolve));
    got.push(n);
  });
  const [first] = await until(
    () => ask("XRANGE", "events", "-", "+"),
    (rows) => rows.length === 3,
  );
  await until(pending, (count) => count >= 2); // one in work, the next one read
  const stopped = service.stop();
  await new Promise((resolve) => setTimeout(resolve, 50));
  finish();
  await stopped;
  assert.deepEqual(got, [1]);
  const rows = await ask("XPENDING", "events", "sink", "-", "+", 10);
  assert.ok(
    rows.every((row: any) => row[0] !== first[0] && row[2] > 3_000_000),
    JSON.stringify(rows),
  );
});

test("Redis goes away and comes back: nothing is lost, and the listener goes on", async () => {
  const own = new Bed();
  await own.startRedis("--appendonly", "yes");
  try {
    const got: number[] = [];
    const add = async (n: number) => (await own.peer()).link.command(["XADD", "events", "*", "event", JSON.stringify({ n })]);
    const service = await own.service("sink", ({ expose }) => expose.listener(({ n }) => void got.push(n)), { events_from: "0" });
    await add(1);
    await until(() => got.length === 1);
    await own.signalRedis("SIGKILL");
    await until(() => !service.link.connected);
    const health = service.registry.frameworkChecks.events();
    assert.equal((health as any)?.status ?? "degraded", "degraded");
    await own.startRedis("--appendonly", "yes");
    await add(2);
    await until(() => got.includes(2), Boolean, 2 * GENEROUS);
    assert.deepEqual([...new Set(got)], [1, 2]);
  } finally {
    await own.end();
  }
});

test("personal data is withheld as the listener declares", async () => {
  const library = { user: { id: "1" }, alias: { previousId: "2" }, context: { device: { id: "3" } } };
  const event = { uid: "1", td: { ip: "1.2.3.4" }, data: { fpid: "2", mmgeo: { country_iso: "GB", lat: 1 }, own: 3, ...library } };
  await accept(event, { ...event, privacy: ["gpc"] });
  const got: any[] = [];
  await listener({ personal: false }, (given) => void got.push(given));
  await until(() => got.length === 2);
  assert.deepEqual(got[0], { data: { mmgeo: { country_iso: "GB" }, own: 3 } });
});

test("a listener with keys gets only events under them, one by one or in batches; the others are acknowledged, and nothing is announced", async () => {
  const keys = ["in.gen.track.purchase", "in.gen.hook"];
  const all = ["in.gen.track.purchase", "in.gen.track.purchases", "in.gen.hook.pay", "in.gen", undefined].map((key, n) => ({ key, n }));
  await accept(...all);
  const got: number[] = [];
  const batches: number[][] = [];
  const fill = ({ expose }: Service) => {
    expose.listener({ group: "one", keys }, ({ n }) => void got.push(n));
    expose.listener({ group: "many", keys, batch: 10, personal: true }, (events) => void batches.push(events.map(({ n }) => n)));
    expose.listener({ group: "all", keys: ["*"] }, () => {});
  };
  const service = await bed.service("sink", fill, { events_from: "0" });
  for (const group of ["one", "many", "all"]) {
    await until(async () => (await ask("XINFO", "GROUPS", "events")).find((row: any) => row.get("name") === `sink.${group}`)?.get("entries-read") === 5);
    await until(async () => (await ask("XPENDING", "events", `sink.${group}`))[0] === 0);
  }
  assert.deepEqual([got, batches], [[0, 2], [[0, 2]]]);
  assert.deepEqual(
    (service.status() as any).register.map(({ options }: any) => options),
    [{}, { personal: true }, {}],
  );
  await accept({ key: "in.gen.track.page", n: 9 });
  await until(async () => (await ask("XPENDING", "events", "sink.many"))[0] === 0);
  assert.equal(batches.length, 1);
  assert.throws(() => new Service().expose.listener({ keys: "in.gen" as any }, () => {}), /takes a list of prefixes/);
});

test("events of those who objected, and those set aside, do not reach a listener of personal data", async () => {
  await accept({ n: 1, privacy: ["consent"] }, { n: 3, aside: ["bot"] }, { n: 2, privacy: [] });
  const got: number[] = [];
  await listener({ personal: true, batch: 5 }, (events) => void got.push(...events.map(({ n }: any) => n)));
  await until(() => got.length);
  assert.deepEqual(got, [2]);
  await until(pending, (count) => count === 0);
});

test("listeners with groups of their own: one that hangs delays no other, and each replays its own dead letters", async () => {
  const got: Record<string, number[]> = { fast: [], slow: [] };
  let well = false;
  let free: () => void = () => {};
  const hangs = new Promise<void>((resolve) => void (free = resolve));
  const fill = ({ expose }: Service) => {
    expose.listener({ group: "slow" }, async ({ n }) => {
      await hangs;
      got.slow.push(n);
    });
    expose.listener({ group: "fast", maxAttempts: 1 }, ({ n }) => {
      if (n === 2 && !well) throw new Error("not now");
      got.fast.push(n);
    });
  };
  const service = await bed.service("sink", fill, { events_from: "0" });
  await accept({ n: 1 }, { n: 2 }, { n: 3 });
  await until(() => got.fast.length === 2);
  const groups = (await ask("XINFO", "GROUPS", "events")).map((row: any) => row.get("name")).sort();
  assert.deepEqual(groups, ["sink.fast", "sink.slow"]);
  assert.ok((await ask("XLEN", "events:taken:sink.fast")) >= 1);
  assert.deepEqual(got, { fast: [1, 3], slow: [] });
  const lab = await bed.peer("lab");
  const { count, letters } = (await lab.call("sink", "dead_letters")).result;
  assert.deepEqual([count, letters[0].group, letters[0].event], [1, "sink.fast", { n: 2 }]);
  well = true;
  await ask("XADD", "dead:sink", "*", "event", '{"n":9}', "reason", "of old", "group", "sink.gone");
  const replay = (await lab.call("sink", "replay_dead_letters")).result;
  assert.deepEqual([replay.letters, replay.replayed, replay.left_out, replay.stopped], [2, 1, 1, undefined]);
  assert.deepEqual(got.fast, [1, 3, 2]);
  free();
  await until(() => got.slow.length === 3);
  assert.deepEqual(service.status().methods, ["dead_letters", "delete_dead_letters", "fast", "replay_dead_letters", "replay_events", "slow"]);
});

test("listeners that would share a group are refused, and names that cannot be one", async () => {
  const twice = bed.service("sink", ({ expose }) => {
    expose.listener({ name: "one" }, () => {});
    expose.listener({ name: "two" }, () => {});
  });
  await assert.rejects(twice, /the same group \(one, two\); give each its own `group`/);
  await assert.rejects(
    bed.service("sink", ({ expose }) => expose.listener({ group: "a.b" }, () => {})),
    /The group "a.b" of a listener is not valid/,
  );
  const hidden = bed.service("sink", ({ expose }) => {
    expose.listener({ group: "a", name: "take" }, () => {});
    expose.listener({ group: "b", name: "take" }, () => {});
  });
  await assert.rejects(hidden, /"take" is already a listener/);
});

test("a replay of several listeners' dead letters gives the oldest that were asked for, and no others", async () => {
  const got: Record<string, number[]> = { a: [], b: [] };
  const fill = ({ expose }: Service) => {
    expose.listener({ group: "a" }, ({ n }) => void got.a.push(n));
    expose.listener({ group: "b" }, async ({ n }) => {
      await new Promise((done) => setTimeout(done, 20)); // it reads on when the other one's letters are gone
      got.b.push(n);
    });
  };
  await bed.service("sink", fill);
  const lab = await bed.peer("lab");
  for (let n = 0; n < 240; n += 1) await ask("XADD", "dead:sink", "*", "event", `{"n":${n}}`, "reason", "x", "group", n < 60 || n % 2 ? "sink.a" : "sink.b");
  const { letters } = (await lab.call("sink", "replay_dead_letters", { limit: 120 })).result;
  await until(async () => (await lab.call("sink", "dead_letters")).result.replay.running === false);
  assert.deepEqual([letters, got.a.length + got.b.length, Math.max(...got.b)], [120, 120, 118]);
});

test("while the listener of one group hangs, the dead letters of the others are still replayed", async () => {
  let down = true;
  const got: Record<string, number[]> = { hung: [], well: [] };
  const fill = ({ expose }: Service) => {
    expose.listener({ group: "hung" }, async ({ n }) => {
      await until(() => !down);
      got.hung.push(n);
    });
    expose.listener({ group: "well" }, ({ n }) => void got.well.push(n));
  };
  await bed.service("sink", fill);
  const lab = await bed.peer("lab");
  const bury = (n: number, group: string) => ask("XADD", "dead:sink", "*", "event", `{"n":${n}}`, "reason", "x", "group", group);
  await bury(1, "sink.hung");
  await bury(2, "sink.well");
  const first = (await lab.call("sink", "replay_dead_letters")).result;
  assert.deepEqual([first.started, first.running, first.replayed], [true, true, 1]);
  assert.deepEqual(first.groups, { "sink.hung": { running: true }, "sink.well": { running: false, replayed: 1 } });
  await bury(3, "sink.well");
  const second = (await lab.call("sink", "replay_dead_letters")).result;
  assert.deepEqual([second.started, second.running, second.replayed, second.busy], [true, false, 1, ["sink.hung"]]);
  assert.deepEqual(got, { hung: [], well: [2, 3] });
  const { replay } = (await lab.call("sink", "dead_letters")).result;
  assert.equal(replay.running, true);
  down = false;
  await until(async () => (await lab.call("sink", "dead_letters")).result.count === 0);
  assert.deepEqual(got.hung, [1]);
  assert.equal(await ask("EXISTS", "dead:sink:replay:hung", "dead:sink:replay:well"), 0);
});

test("of one listener a replay that hangs is not begun again beside it", async () => {
  await listener({}, () => new Promise(() => {}), { stop_timeout: 0.5 });
  await ask("XADD", "dead:sink", "*", "event", '{"n":1}', "reason", "x");
  const lab = await bed.peer("lab");
  assert.equal((await lab.call("sink", "replay_dead_letters")).result.running, true);
  assert.deepEqual((await lab.call("sink", "replay_dead_letters")).result, { started: false, reason: "a replay is running", running: true });
});

test("a replay of a batch stops at the letter that is rejected, behind the others", async () => {
  const got: number[] = [];
  await listener({ batch: 10 }, (events: any[]) => {
    if (events.some(({ n }) => n === 6)) throw new Reject("no sixes");
    got.push(...events.map(({ n }) => n));
  });
  const ids: string[] = [];
  for (let n = 0; n < 8; n += 1) ids.push(await ask("XADD", "dead:sink", "*", "event", `{"n":${n}}`, "reason", "x"));
  const lab = await bed.peer("lab");
  const { replayed, stopped, stopped_at } = (await lab.call("sink", "replay_dead_letters")).result;
  assert.deepEqual([replayed, stopped, stopped_at], [6, "Reject: no sixes", ids[6]]);
  assert.deepEqual(got, [0, 1, 2, 3, 4, 5]);
  assert.equal(await ask("XLEN", "dead:sink"), 2);
});

test("a listener that registers after the start is refused: it would get nothing", async () => {
  const service = await listener({ name: "one" }, () => {});
  assert.throws(() => service.expose.listener({ name: "two" }, () => {}), /The listener "two" registers after the start.*before start/);
});

test("where the director grants calls, nobody else is answered", async () => {
  process.env.BAND_GRANTS = "ns:director:grants:sink";
  await listener({}, () => {});
  delete process.env.BAND_GRANTS;
  await ask("XADD", "dead:sink", "*", "event", '{"n":1}', "reason", "no");
  const lab = await bed.peer("lab");
  const refused = /only the director may call/;
  const grant = (value: string) => ask("SET", "ns:director:grants:sink:7", value);
  for (const method of ["dead_letters", "replay_dead_letters", "delete_dead_letters"]) {
    assert.match((await lab.call("sink", method)).error.data.message, refused);
    assert.match((await lab.call("sink", "__batch", { method, items: [{}] })).error.data.message, /in a batch/);
  }
  for (const other of ['{"method":"dead_letters","params":{}}', '{"method":"delete_dead_letters","params":{"ids":"1-1"}}', "not json"]) {
    await grant(other);
    assert.match((await lab.call("sink", "delete_dead_letters", { ids: "" })).error.data.message, refused);
  }
  await grant('{"params":{"limit":1},"method":"dead_letters"}');
  assert.equal((await lab.call("sink", "dead_letters", { limit: 1 })).result.count, 1);
  assert.match((await lab.call("sink", "dead_letters", { limit: 1 })).error.data.message, refused);
});

test("a listener with a schema of data gets what it made of it; an event with other data is a dead letter at once", async () => {
  const Sale = z.object({ price: z.coerce.number(), currency: z.string().default("EUR") });
  await accept({ key: "a", data: { price: "2" } }, { key: "b", data: { price: "much" } }, { key: "c" }, { key: "d", data: { price: 4, currency: "GBP" } });
  const got: unknown[] = [];
  const service = await listener({ data: Sale, name: "sale" }, (event) => void got.push(event));
  await until(() => got.length === 2);
  assert.deepEqual(got, [
    { key: "a", data: { price: 2, currency: "EUR" } },
    { key: "d", data: { price: 4, currency: "GBP" } },
  ]);
  const reasons = async () => (await ask("XRANGE", "dead:sink", "-", "+")).map(([, fields]: any) => fields[3]);
  await until(reasons, (found) => found.length === 2);
  assert.match((await reasons())[0], /^the event does not match its type: data\.price: /);
  assert.match((await reasons())[1], /^the event does not match its type: data: /);
  assert.equal(service.metrics.failures.check(), null);
  assert.match(service.metrics.render(), /outcome="invalid_params"\} 2/);
  const lab = await bed.peer("lab");
  assert.equal((await lab.call("sink", "sale", { data: { price: "x" } })).error.code, -32602);
  await bed.clear();
  const prices: number[] = [];
  await bed.service("lake", ({ expose }) => expose.listener({ data: Sale, batch: 10 }, (events) => void prices.push(...events.map(({ data }) => data.price))), {
    events_from: "0",
  });
  await until(() => prices.length === 2);
  await until(async () => (await ask("XLEN", "dead:lake")) === 2);
});
