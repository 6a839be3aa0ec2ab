/** The test bench for services, and the public names. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import * as rockme from "../lib/index";
import { type Bench, captureLogs, makeEvent, running } from "../lib/testing";

let bench: Bench;
const seen: string[] = [];

before(async () => {
  bench = await running(() => {
    rockme.expose.enricher({ keys: ["in.gen.track"], props: { ua: "td.ua", url: "data.page.url" } }, ({ ua, url }) => ({
      length: (ua?.length ?? 0) + (url?.length ?? 0),
    }));
    rockme.expose.listener({ batch: 10 }, (events) => {
      seen.push(...events.map((event) => event.id));
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

test("secrets are masked in the log", () => {
  const logs = captureLogs();
  rockme.logger.warn({ api_key: "canary", nested: { url: "https://x/?token=canary" } }, "event_name");
  logs.stop();
  assert.equal(logs.lines.length, process.env.TEST_LOGS ? 1 : logs.lines.length);
  assert.ok(!JSON.stringify(logs.lines).includes("canary"));
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
