/** The service as a process, over a real Redis, to receivers on this machine. */

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { Bed, OTHER_SECRET, opensslSignature, SECRET, until } from "./support";

const bed = new Bed();
before(() => bed.open());
afterEach(() => bed.clear());
after(() => bed.close());

const pending = (name: string) => Number(bed.ask("XPENDING", "events", `send_webhook.${name}`).split("\n")[0]);
const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => from + index);

test("events arrive in order, in signed batches; each destination gets what it asks for", async () => {
  const [crm, lake] = [await bed.receiver(), await bed.receiver()];
  const run = await bed.start(
    [
      { name: "crm", url: crm.url, secret: [SECRET, OTHER_SECRET], keys: ["in.gen.track"], events: ["order"], linger: 0.1 },
      { name: "lake", url: lake.url, secret_env: "LAKE_SECRET", batch: 10, linger: 0.1, objected: "send" },
    ],
    { LAKE_SECRET: OTHER_SECRET },
  );
  bed.accept(1, 25);
  bed.accept(26, 26, { name: "order" });
  bed.accept(27, 27, { name: "order", key: "in.gen.tracker.order" });
  bed.accept(28, 28, { name: "order", privacy: ["gpc"] });
  await until(() => lake.accepted.length === 28 && crm.accepted.length === 1);
  assert.deepEqual(lake.accepted, range(1, 28));
  assert.deepEqual(crm.accepted, [26]);
  assert.ok(lake.got.every(({ events }) => events.length <= 10));
  const [got] = crm.got;
  assert.match(got.id, /^msg_[0-9a-f]{32}$/);
  assert.ok(Math.abs(Number(got.timestamp) - Date.now() / 1000) < 60);
  assert.deepEqual(
    got.signatures,
    [SECRET, OTHER_SECRET].map((secret) => opensslSignature(secret, got.id, got.timestamp, got.body)),
  );
  for (const one of lake.got) assert.deepEqual(one.signatures, [opensslSignature(OTHER_SECRET, one.id, one.timestamp, one.body)]);
  assert.equal(got.headers["content-type"], "application/json");
  const { type, timestamp, data } = JSON.parse(got.body);
  assert.deepEqual([type, timestamp, data.length], ["events", new Date(1795468772451 + 26).toISOString(), 1]);
  await until(() => pending("crm") + pending("lake") === 0);
  assert.deepEqual((await run.stats()).lake.taken, 28);
  // What is over is forgotten when the next events come.
  assert.ok(["crm", "lake"].every((name) => Number(bed.ask("HLEN", `send_webhook:sending:${name}`)) <= 3));
  assert.equal(bed.ask("EXISTS", "dead:send_webhook"), "0");
  assert.equal((await run.check()).status, "ok");
});

test("a destination that hangs delays no other, and gets everything when it is back", async () => {
  const [well, hung] = [await bed.receiver(), await bed.receiver()];
  hung.answer = null;
  const run = await bed.start([
    { name: "hung", url: hung.url, secret: SECRET, timeout: 0.5, linger: 0 },
    { name: "well", url: well.url, secret: SECRET, linger: 0 },
  ]);
  const begun = Date.now();
  for (const n of range(1, 30)) bed.accept(n, n);
  await until(() => well.accepted.length === 30);
  assert.ok(Date.now() - begun < 5000);
  const check = await until(
    () => run.check(),
    ({ status }) => status === "degraded",
  );
  assert.match(check.reason, /^hung is unavailable \(no response: none within 0.5 s\); its events wait in the stream$/);
  assert.deepEqual(check.destinations, { hung: "degraded", well: "ok" });
  hung.answer = () => ({ status: 204 });
  await until(() => new Set(hung.accepted).size === 30);
  assert.deepEqual([...new Set(hung.accepted)], range(1, 30));
  await until(() => pending("hung") === 0);
  assert.equal((await run.check()).status, "ok");
});

test("killed in the middle of a request: nothing is lost, and repetitions carry the same webhook-id and body", async () => {
  const receiver = await bed.receiver();
  const destinations = [{ name: "crm", url: receiver.url, secret: SECRET, batch: 50, linger: 0.2 }];
  receiver.answer = null;
  const first = await bed.start(destinations);
  bed.accept(1, 7);
  await until(() => receiver.got.length === 1);
  bed.accept(8, 20); // read ahead, while the first request hangs
  await until(() => pending("crm") === 20);
  await first.signal("SIGKILL");
  const second = await bed.start(destinations);
  await until(() => receiver.got.length === 2);
  await second.signal("SIGKILL");
  receiver.answer = () => ({ status: 200 });
  await bed.start(destinations);
  await until(() => new Set(receiver.accepted).size === 20);
  assert.deepEqual(receiver.accepted, range(1, 20));
  const [one, two, three, four] = receiver.got;
  assert.deepEqual([one.id, one.body], [two.id, two.body]);
  assert.deepEqual([one.id, one.body], [three.id, three.body]);
  assert.equal(one.events.length, 7);
  assert.notEqual(one.id, four.id);
  assert.equal(receiver.got.length, 4);
  await until(() => pending("crm") === 0);
});

test("killed, and the next lives read other portions: a request stays whole, and no event arrives under two ids", async () => {
  const receiver = await bed.receiver();
  const settings = (batch: number) => [{ name: "crm", url: receiver.url, secret: SECRET, batch, linger: 0 }];
  receiver.answer = null;
  const first = await bed.start(settings(50));
  bed.accept(1, 7);
  await until(() => receiver.got.length === 1);
  bed.accept(8, 9);
  await first.signal("SIGKILL");
  receiver.answer = ({ events }) => (events.length === 7 ? { status: 200 } : null);
  const second = await bed.start(settings(5)); // 1 to 5, then 6 to 9
  await until(() => receiver.got.length === 3);
  assert.equal(pending("crm"), 4);
  await second.signal("SIGKILL");
  receiver.answer = () => ({ status: 200 });
  await bed.start(settings(3)); // 6 to 8, then 9
  await until(() => pending("crm") === 0);
  const [one, two, three, four] = receiver.got;
  assert.deepEqual([one.id, one.body], [two.id, two.body]);
  assert.deepEqual([three.id, three.body], [four.id, four.body]);
  assert.equal(receiver.got.length, 4);
  assert.deepEqual(receiver.accepted, range(1, 9));
});

test("a request that was cut is refused: its culprit is found, and no other event is buried for it", async () => {
  const receiver = await bed.receiver();
  const settings = (batch: number) => [{ name: "crm", url: receiver.url, secret: SECRET, batch, linger: 0 }];
  receiver.answer = null;
  const first = await bed.start(settings(50));
  bed.accept(1, 6);
  await until(() => receiver.got.length === 1);
  await first.signal("SIGKILL");
  receiver.answer = ({ events }) => (events.some(({ data }) => data.n === 5) ? { status: 422, body: "no fives" } : { status: 200 });
  await bed.start(settings(1));
  await until(() => bed.ask("XLEN", "dead:send_webhook") === "1" && pending("crm") === 0);
  assert.deepEqual(receiver.accepted, [1, 2, 3, 4, 6]);
});

test("a stop in the middle of a request is repeated with the same webhook-id, and takes no longer than it should", async () => {
  const receiver = await bed.receiver();
  const destinations = [{ name: "crm", url: receiver.url, secret: SECRET, linger: 0 }];
  receiver.answer = () => ({ status: 503, headers: { "retry-after": "3600" } });
  const first = await bed.start(destinations);
  bed.accept(1, 1);
  await until(() => receiver.got.length === 1);
  const begun = Date.now();
  assert.equal(await first.signal("SIGTERM"), 0);
  assert.ok(Date.now() - begun < 5000);
  receiver.answer = () => ({ status: 200 });
  await bed.start(destinations);
  await until(() => receiver.accepted.length === 1);
  assert.equal(receiver.got[0].id, receiver.got[1].id);
});

test("5xx, 429 and Retry-After: it waits, and sends the same request again", async () => {
  const receiver = await bed.receiver();
  const at: number[] = [];
  receiver.answer = () => {
    at.push(Date.now());
    if (at.length === 1) return { status: 429, headers: { "retry-after": "1" } };
    return { status: at.length < 4 ? 500 : 200 };
  };
  const run = await bed.start([{ name: "crm", url: receiver.url, secret: SECRET, linger: 0 }]);
  bed.accept(1, 1);
  await until(() => receiver.accepted.length === 1);
  assert.ok(at[1] - at[0] >= 1000, String(at[1] - at[0]));
  assert.ok(at[2] - at[1] >= 45 && at[2] - at[1] < 1000);
  assert.equal(new Set(receiver.got.map(({ id }) => id)).size, 1);
  assert.equal(receiver.got.length, 4);
  await until(async () => (await run.stats()).crm.repeated === 3);
});

test("what the receiver refuses becomes a dead letter with its words; all else arrives, once", async () => {
  const receiver = await bed.receiver();
  receiver.answer = ({ events }) => (events.some(({ data }) => data.n % 10 === 3) ? { status: 422, body: "no threes,\nplease" } : { status: 200 });
  const run = await bed.start([{ name: "crm", url: receiver.url, secret: SECRET, batch: 40, linger: 0.3 }]);
  bed.accept(1, 40);
  await until(
    () => bed.ask("XLEN", "dead:send_webhook"),
    (count) => count === "4",
  );
  await until(() => pending("crm") === 0);
  assert.deepEqual(
    [...receiver.accepted].sort((a, b) => a - b),
    range(1, 40).filter((n) => n % 10 !== 3),
  );
  const letters = bed.ask("XRANGE", "dead:send_webhook", "-", "+");
  assert.match(letters, /crm: it answered 422 Unprocessable Entity: no threes, please/);
  assert.match(letters, /send_webhook\.crm/);
  assert.equal((await run.check()).status, "ok");
});

test("an event that is larger than a request may be becomes a dead letter; requests stay within their bound", async () => {
  const receiver = await bed.receiver();
  await bed.start([{ name: "crm", url: receiver.url, secret: SECRET, linger: 0.3, max_bytes: 5000 }]);
  bed.accept(1, 1, { pad: "é".repeat(3000) });
  bed.accept(2, 6, { pad: "x".repeat(1500) });
  await until(() => receiver.accepted.length === 5);
  assert.match(bed.ask("XRANGE", "dead:send_webhook", "-", "+"), /the request would have \d+ bytes, and max_bytes of crm is 5000; raise max_bytes/);
  assert.ok(receiver.got.every(({ body }) => Buffer.byteLength(body) <= 5000));
  assert.ok(receiver.got.some(({ events }) => events.length > 1));
});

test("while one destination is down, the dead letters of another are replayed as often as one asks", async () => {
  const [well, down] = [await bed.receiver(), await bed.receiver()];
  down.answer = () => ({ status: 503 });
  const run = await bed.start([
    { name: "well", url: well.url, secret: SECRET, linger: 0 },
    { name: "down", url: down.url, secret: SECRET, linger: 0 },
  ]);
  const bury = (n: number, name: string) =>
    bed.ask(
      "XADD",
      "dead:send_webhook",
      "*",
      "event",
      JSON.stringify({ key: "in.gen.track.page", data: { n } }),
      "reason",
      "x",
      "group",
      `send_webhook.${name}`,
    );
  const replay = () =>
    bed.ask("PUBLISH", "send_webhook", JSON.stringify({ jsonrpc: "2.0", method: "send_webhook:replay_dead_letters:lab", params: {}, id: "1" }));
  bury(1, "down");
  bury(2, "well");
  replay();
  await until(() => well.accepted.length === 1 && down.got.length > 0);
  await until(() => bed.ask("EXISTS", "dead:send_webhook:replay:well") === "0");
  bury(3, "well");
  replay();
  await until(() => well.accepted.length === 2);
  assert.match((await run.check()).reason, /down is unavailable/);
  assert.equal(bed.ask("XLEN", "dead:send_webhook"), "1");
  down.answer = () => ({ status: 200 });
  await until(() => bed.ask("XLEN", "dead:send_webhook") === "0");
  assert.deepEqual([well.accepted, down.accepted], [[2, 3], [1]]);
});

test("stored events are sent again to the destination that is named, and to no other", async () => {
  const [crm, lake] = [await bed.receiver(), await bed.receiver()];
  await bed.start([
    { name: "crm", url: crm.url, secret: SECRET, linger: 0 },
    { name: "lake", url: lake.url, secret: SECRET, linger: 0 },
  ]);
  bed.accept(1, 3);
  await until(() => crm.accepted.length === 3 && lake.accepted.length === 3);
  await until(() => bed.ask("XPENDING", "events", "send_webhook.crm").startsWith("0"));
  const params = { start: "beginning", group: "crm" };
  bed.ask("PUBLISH", "send_webhook", JSON.stringify({ jsonrpc: "2.0", method: "send_webhook:replay_events:lab", params, id: "1" }));
  await until(() => crm.accepted.length === 6);
  await until(() => bed.ask("HGET", "events:listener:send_webhook.crm", "replay").includes('"state":"done"'));
  assert.deepEqual(
    [crm.accepted, lake.accepted],
    [
      [1, 2, 3, 1, 2, 3],
      [1, 2, 3],
    ],
  );
});

test("redirects are not followed; a destination that refuses requests waits, and is told", async () => {
  const [receiver, other] = [await bed.receiver(), await bed.receiver()];
  receiver.answer = () => ({ status: 307, headers: { location: other.url } });
  const run = await bed.start([{ name: "crm", url: receiver.url, secret: SECRET, linger: 0 }], { REFUSED_RETRY: "0.2" });
  bed.accept(1, 1);
  const check = await until(
    () => run.check(),
    ({ status }) => status === "failing",
  );
  assert.match(check.reason, /^crm does not accept requests \(it answered 307 Temporary Redirect\)/);
  receiver.answer = () => ({ status: 200 });
  await until(() => receiver.accepted.length === 1);
  assert.equal(other.got.length, 0);
  await until(
    () => run.check(),
    ({ status }) => status === "ok",
  );
});

test("410 ends it until the next start; its events are kept", async () => {
  const receiver = await bed.receiver();
  receiver.answer = () => ({ status: 410 });
  const destinations = [{ name: "crm", url: receiver.url, secret: SECRET, linger: 0 }];
  const run = await bed.start(destinations, { REFUSED_RETRY: "0.05" });
  bed.accept(1, 1);
  const check = await until(
    () => run.check(),
    ({ status }) => status === "failing",
  );
  assert.match(check.reason, /^crm wants no more requests \(it answered 410 Gone\); its events wait/);
  await new Promise((done) => setTimeout(done, 500));
  assert.equal(receiver.got.length, 1);
  await run.signal("SIGKILL");
  receiver.answer = () => ({ status: 200 });
  await bed.start(destinations);
  await until(() => receiver.accepted.length === 1);
});

test("a receiver that refuses everything gets few events buried, not all of them", async () => {
  const receiver = await bed.receiver();
  receiver.answer = () => ({ status: 400 });
  const run = await bed.start([{ name: "crm", url: receiver.url, secret: SECRET, linger: 0.1, batch: 100 }]);
  bed.accept(1, 60);
  const check = await until(
    () => run.check(),
    ({ status }) => status === "failing",
  );
  assert.match(check.reason, /^crm refuses every event \(it answered 400 Bad Request\)/);
  assert.equal(bed.ask("XLEN", "dead:send_webhook"), "20");
});

test("a name that leads to a private address is refused when it is connected to, and nothing arrives there", async () => {
  const receiver = await bed.receiver();
  const run = await bed.start([{ name: "crm", url: `http://localhost:${receiver.port}/`, secret: SECRET, linger: 0 }], { WEBHOOK_ALLOW: "" });
  bed.accept(1, 1);
  const check = await until(
    () => run.check(),
    ({ status }) => status === "failing",
  );
  assert.match(check.reason, /localhost \((127\.0\.0\.1|::1)\) is not a public address; WEBHOOK_ALLOW names private networks/);
  assert.equal(receiver.got.length, 0);
});

test("settings that cannot work are all told at once, and no secret is in the text", async () => {
  const run = await bed.launch(
    [
      { name: "one", url: "http://169.254.169.254/latest", secret: SECRET },
      { name: "two", url: "https://user:canary-4711@example.com/", secret: SECRET },
      { name: "three", url: "https://example.com/canary-4711", secret: "whsec_canary-4711" },
      { name: "B", url: "https://example.com/", secret: SECRET },
    ],
    { WEBHOOK_ALLOW: "10.0.0.0/33" },
  );
  assert.equal(await run.ended, 1);
  for (const part of [
    'WEBHOOK_ALLOW: "10.0.0.0/33"',
    "destination one: 169.254.169.254 is not a public address",
    "destination two: its url has a user or password in it",
    "destination three: the secret is not base64",
    "destination 4: its name must be",
  ]) {
    assert.ok(run.output.includes(part), run.output);
  }
  assert.doesNotMatch(run.output, /canary-4711|MfKQ9r8/);
});

test("secrets are shown nowhere, and neither is what a URL has behind its host", async () => {
  const receiver = await bed.receiver();
  receiver.answer = ({ headers }) => ({ status: 400, body: `bad signature ${headers["webhook-signature"]}` });
  const run = await bed.start([{ name: "crm", url: `${receiver.url}/canary-4711?token=canary-4711`, secret: SECRET, linger: 0 }], { LOG_LEVEL: "trace" });
  bed.accept(1, 3);
  await until(
    () => bed.ask("XLEN", "dead:send_webhook"),
    (count) => count === "3",
  );
  const seen = [run.output, ...(await Promise.all(["/health", "/metrics", "/stats", "/openapi.json", "/"].map((path) => run.read(path))))].join("\n");
  await run.signal("SIGTERM");
  assert.match(seen, /"destination":"crm","host":"127\.0\.0\.1:\d+"/);
  assert.doesNotMatch(seen + run.output, /canary-4711|MfKQ9r8/);
});

test("one destination without a list; a group that a removed one left behind is told", async () => {
  const receiver = await bed.receiver();
  bed.accept(1, 2);
  bed.ask("XGROUP", "CREATE", "events", "send_webhook.old", "0");
  const run = await bed.start(null, { WEBHOOK_URL: receiver.url, WEBHOOK_SECRET: `${SECRET} ${OTHER_SECRET}` });
  await until(() => receiver.accepted.length === 2);
  assert.equal(receiver.got[0].signatures.length, 2);
  const check = await until(
    () => run.check("groups"),
    ({ status }) => status === "degraded",
  );
  assert.match(check.reason, /send_webhook\.old is left of a destination/);
  assert.match(check.hint, /XGROUP DESTROY events send_webhook\.old$/);
});

test("without a destination it says what to do", async () => {
  const run = await bed.start(null);
  assert.match((await run.check()).hint, /WEBHOOK_DESTINATIONS/);
});
