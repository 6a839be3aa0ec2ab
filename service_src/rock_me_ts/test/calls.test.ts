/** Calls to others: of our kind, of the original's, absent, slow and broken. */

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { RpcRemoteError, RpcTimeout, RpcUnavailable } from "../lib/errors";
import { Bed, until } from "./support";

const bed = new Bed();
before(() => bed.startRedis());
afterEach(() => bed.clear());
after(() => bed.end());

test("calls of one turn to a service of ours leave as one message, on the channel of its instance", async () => {
  const echo = await bed.service("echo", ({ expose }) => expose("m", (params) => params));
  const { rpc, presence } = await bed.service("caller");
  await until(() => presence.knows("echo"));
  const spy = await bed.peer(`echo#${echo.presence.instance}`);
  const answers = await Promise.all(Array.from({ length: 700 }, (_, n) => rpc.call("echo", "m", { n })));
  assert.deepEqual(
    answers.map(({ n }) => n),
    Array.from({ length: 700 }, (_, n) => n),
  );
  assert.deepEqual(
    spy.messages.map((message) => JSON.parse(message).length),
    [500, 200],
  );
  spy.messages.length = 0;
  const text = "x".repeat(20_000);
  await Promise.all(Array.from({ length: 10 }, () => rpc.call("echo", "m", { text })));
  assert.ok(
    spy.messages.every((message) => message.length < 100_000),
    "large calls share a message up to some size",
  );
  assert.ok(spy.messages.length < 5);
});

test("an original peer gets one plain request, and its reply in any spelling is understood", async () => {
  const { rpc } = await bed.service("caller");
  const original = await bed.peer("original");
  const call = rpc.call("original", "m", { a: "ж" });
  const request = JSON.parse(await original.next());
  assert.deepEqual([request.method, request.params, request.from], ["original:m:caller", { a: "ж" }, "caller"]);
  await original.publish("caller", ` {"to":"caller", "result": {"u":"https:\\/\\/a.b", "n": NaN},\n "id": "${request.id}", "jsonrpc":"2.0"}`);
  assert.deepEqual(await call, { u: "https://a.b", n: null });
});

test("errors are typed: remote, nobody there, too late, aborted", async () => {
  await bed.service("peer", ({ expose }) => {
    expose("fails", () => {
      throw new Error("broken");
    });
    expose("hangs", () => new Promise(() => {}));
  });
  const { rpc } = await bed.service("caller");
  await assert.rejects(
    rpc.call("peer", "fails"),
    (error: RpcRemoteError) => error instanceof RpcRemoteError && error.code === -32000 && /broken/.test(error.message),
  );
  await assert.rejects(rpc.call("nobody", "m"), RpcUnavailable);
  await assert.rejects(rpc.call("peer", "hangs", {}, { timeout: 50 }), RpcTimeout);
  const abort = new AbortController();
  const call = rpc.call("peer", "hangs", {}, { signal: abort.signal });
  abort.abort(new Error("enough"));
  await assert.rejects(call, /enough/);
  assert.equal(rpc.waiting.size, 0);
});

test("each call ends at its own time, whatever the order in which calls with other times began", async () => {
  await bed.service("deaf", ({ expose }) => expose("hang", () => new Promise(() => {})));
  const asks = await bed.service("asks");
  await until(() => asks.presence.knows("deaf"));
  const begun = performance.now();
  const ended: [number, number][] = [];
  const call = async (timeout: number) => {
    await assert.rejects(asks.rpc.call("deaf", "hang", {}, { timeout }), RpcTimeout);
    ended.push([timeout, performance.now() - begun]);
  };
  await Promise.all([600, 150, 300, 150, 450].map(call));
  assert.deepEqual(
    ended.map(([timeout]) => timeout),
    [150, 150, 300, 450, 600],
  );
  for (const [timeout, took] of ended) assert.ok(took > timeout - 5, `${timeout}: ${took}`);
  assert.equal(asks.rpc.timeouts, 5);
  assert.equal(asks.rpc.waiting.size, 0);
});

test("a service is an object whose methods are calls", async () => {
  await bed.service("geo", ({ expose }) => expose("get", ({ ip }) => ({ ip })));
  const { rpc } = await bed.service("caller");
  const geo = rpc.service<{ get(params: { ip: string }): Promise<{ ip: string }> }>("geo");
  assert.deepEqual(await geo.get({ ip: "1.2.3.4" }), { ip: "1.2.3.4" });
});

test("many items are called in one message, each with its result or its error", async () => {
  await bed.service("many", ({ expose }) =>
    expose("half", ({ n }) => {
      if (n % 2) throw new Error("odd");
      return n / 2;
    }),
  );
  const { rpc } = await bed.service("caller");
  const [first, second] = await rpc.callMany("many", "half", [{ n: 4 }, { n: 3 }]);
  assert.equal(first, 2);
  assert.ok(second instanceof RpcRemoteError);
});

test("a gathering ends with what came: batches to our kind, the fan-out channel where one is not", async () => {
  for (const name of ["one", "two"]) await bed.service(name, ({ expose }) => expose.enricher({ keys: ["*"] }, ({ key }) => ({ [name]: key })));
  const { rpc, presence } = await bed.service("caller");
  await until(() => presence.knows("one") && presence.knows("two"));
  const ours = await rpc.gather("enrich", "enrich", { key: "k" }, { expect: ["one", "two"] });
  assert.deepEqual(ours, { results: { one: { one: "k" }, two: { two: "k" } }, errors: {}, missing: [] });
  const mixed = await rpc.gather("enrich", "enrich", { key: "k" }, { expect: ["one", "two", "gone"], timeout: 300 });
  assert.deepEqual(Object.keys(mixed.results).sort(), ["one", "two"]);
  assert.deepEqual(mixed.missing, ["gone"]);
});

test("a replica that is killed is turned away from, and its calls are answered by the other", async () => {
  const twins = [await bed.service("twin", ({ expose }) => expose("m", () => 1)), await bed.service("twin", ({ expose }) => expose("m", () => 2))];
  const { rpc, presence } = await bed.service("caller");
  await until(async () => {
    await rpc.call("twin", "m");
    return presence.knows("twin") && twins.every((one) => one.presence.replicas().length === 2);
  });
  await twins[0].link.close(); // as kill -9 does: no farewell
  const answers = await Promise.all(Array.from({ length: 20 }, () => rpc.call("twin", "m")));
  assert.deepEqual(new Set(answers), new Set([2]));
});

test("what is in progress is answered when the service stops, and what hangs is told so", async () => {
  let finish: (value: number) => void = () => {};
  const peer = await bed.service("peer", ({ expose }) => {
    expose("slow", () => new Promise((resolve) => void (finish = resolve)));
    expose("hangs", () => new Promise(() => {}));
  });
  const { rpc } = await bed.service("caller");
  const slow = rpc.call("peer", "slow", {}, { timeout: 10_000 });
  const hangs = rpc.call("peer", "hangs", {}, { timeout: 10_000 });
  hangs.catch(() => {});
  await until(() => peer.server.inFlight === 2);
  const stopped = peer.stop();
  finish(5);
  assert.equal(await slow, 5);
  await assert.rejects(hangs, /cancelled before it finished/);
  await stopped;
});

test("a flood of one method is refused beyond 1,000 calls, and other methods still answer", async () => {
  await bed.service("peer", ({ expose }) => {
    expose("hangs", () => new Promise(() => {}));
    expose("quick", () => "well");
  });
  const { rpc } = await bed.service("caller");
  const calls = Array.from({ length: 1010 }, () => rpc.call("peer", "hangs", {}, { timeout: 1500 }).catch((error) => error));
  assert.equal(await rpc.call("peer", "quick"), "well");
  const ends = await Promise.all(calls);
  assert.equal(ends.filter((error) => error.code === -32005).length, 10);
});
