/** The test bench for services, and the public names. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import * as rockme from "../lib/index";
import { knowSecrets, maskText } from "../lib/service/logs";
import { type Bench, captureLogs, makeEvent, running } from "../lib/testing";

let bench: Bench;
const seen: string[] = [];
const plan: Record<string, string[]> = { 2: ["fail", "fail", "fail"], 4: ["fail", "fail"], 5: ["later"], 6: ["wait"] };

before(async () => {
  bench = await running(() => {
    rockme.expose.enricher({ keys: ["in.gen.track"], props: { ua: "td.ua", url: "data.page.url" } }, ({ ua, url }) => ({
      length: (ua?.length ?? 0) + (url?.length ?? 0),
    }));
    rockme.expose.listener({ timeout: 5, maxAttempts: 3 }, (event) => {
      const says = plan[event.id]?.shift();
      seen.push(event.id);
      if (says === "wait") return new Promise((resolve) => setTimeout(resolve, 100));
      if (says === "fail") throw new Error("not today");
      if (says === "later") throw new rockme.Retry("the warehouse is away", { after: 3600 });
      if (event.data.title === "draft") throw new rockme.Reject("drafts are not counted");
    });
    rockme.expose("ask", async ({ ip }) => rockme.rpc.call("mmgeo", "get", { ip }));
    rockme.setup(() => {
      rockme.logger.info({ password: "canary-1", url: "redis://u:canary-2@h" }, "ready");
    });
  });
});
after(() => bench.stop());

test("an enricher, a listener and a method are tried without Redis", async () => {
  assert.deepEqual(await bench.enrich(makeEvent("in.gen.track.page", { td: { ua: "abc" } })), { length: 3 });
  assert.equal(await bench.enrich(makeEvent("in.gen.other.page")), null);
  await bench.listen(makeEvent(), makeEvent());
  assert.equal(seen.length, 2);
  await bench.peer("mmgeo", { get: ({ ip }) => ({ ip, city: "Boxford" }) });
  assert.deepEqual(await bench.call("ask", { ip: "1.2.3.4" }), { ip: "1.2.3.4", city: "Boxford" });
  await assert.rejects(bench.call("nothing"), rockme.RpcRemoteError);
});

test("the listener consumes a stream in memory: it acknowledges, retries, makes dead letters and replays them", async () => {
  seen.length = 0;
  const ids = await bench.append(
    makeEvent("in.gen.track.page", { id: "1" }),
    makeEvent("in.gen.track.page", { id: "2" }),
    makeEvent("in.gen.track.page", { id: "3", data: { title: "draft" } }),
    makeEvent("in.gen.track.page", { id: "4" }),
  );
  await bench.settled();
  assert.deepEqual(seen, ["1", "2", "2", "2", "3", "4", "4", "4"]);
  const letters = await bench.deadLetters();
  assert.deepEqual(
    letters.map(({ event, event_stream_id }) => [event.id, event_stream_id]),
    [
      ["2", ids[1]],
      ["3", ids[2]],
    ],
  );
  assert.match(letters[0].reason, /^Error: not today \(bench\.test\.js:\d+\)$/);
  assert.equal(letters[1].reason, "drafts are not counted");
  const replay = await bench.replayDeadLetters({ ids: [letters[0].stream_id, letters[1].stream_id] });
  assert.deepEqual([replay.replayed, replay.stopped], [1, "Reject: drafts are not counted"]);
  assert.equal((await bench.deadLetters()).length, 1);
});

test("an hour passes at once where the clock is a test's", async (context) => {
  context.mock.timers.enable({ apis: ["Date"], now: Date.parse("2026-11-27T09:30Z") });
  seen.length = 0;
  await bench.append(makeEvent("in.gen.track.page", { id: "5" }));
  await bench.settled();
  assert.deepEqual(seen, ["5"]);
  context.mock.timers.setTime(Date.parse("2026-11-27T10:29:59Z"));
  await bench.settled();
  assert.deepEqual(seen, ["5"]);
  context.mock.timers.setTime(Date.parse("2026-11-27T10:31Z"));
  await bench.settled();
  assert.deepEqual(seen, ["5", "5"]);
});

test("what is still busy is named", async () => {
  await bench.append(makeEvent("in.gen.track.page", { id: "6" }));
  await assert.rejects(bench.settled(-1), /still busy after -1 ms: subject \(/);
  await bench.settled();
});

test("secrets are masked in the log", () => {
  const logs = captureLogs();
  rockme.logger.warn({ api_key: "canary", nested: { url: "https://x/?token=canary" } }, "event_name");
  logs.stop();
  rockme.logger.warn("not heard");
  assert.deepEqual(
    logs.lines.map(({ msg, level }) => [msg, level]),
    [["event_name", "warn"]],
  );
  assert.ok(!JSON.stringify(logs.lines).includes("canary"));
});

test("declared secrets and each line of a long one are masked", () => {
  const key = "-----BEGIN KEY-----\ncanary-line-one\ncanary-line-two\nQ==\n";
  knowSecrets({ BAND_MASKED: "SETTING,OTHER", SETTING: "canary-setting", PEM_SECRET: key, PLAIN: "readable!" });
  for (const text of ["it is canary-setting", key, JSON.stringify({ key })]) assert.ok(!maskText(text).includes("canary"));
  assert.equal(maskText("readable! Q=="), "readable! Q==");
  knowSecrets({ ODD_TOKEN: 'can"ary\\d\twith more' });
  assert.ok(!maskText(JSON.stringify({ token: 'can"ary\\d\twith more' })).includes("with more"));
  knowSecrets({});
});

test("every public value is listed", () => {
  const wanted = readFileSync(join(__dirname, "../../test/exports.txt"), "utf8").trim().split("\n");
  assert.deepEqual(Object.keys(rockme).sort(), wanted);
});

test("what cannot work is refused where it is written", () => {
  assert.throws(() => rockme.expose.enricher({ keys: [] }, () => 1), rockme.RegistrationError);
  assert.throws(() => rockme.expose.enricher({ keys: ["*"], cache: 5 }, () => 1), /A cache needs props/);
  assert.throws(() => rockme.expose("a:b", () => 1), /colon/);
  assert.throws(() => rockme.expose((() => 1) as any), /needs a name/);
});
