/** Services as processes: start, stop, kill, a Redis that goes away; and one in the originals' style. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";
import { Bed, freePort, GENEROUS, Running, until } from "./support";

const bed = new Bed();
const running: Running[] = [];
before(() => bed.startRedis());
afterEach(async () => {
  for (const one of running.splice(0)) if (one.alive) await one.end("SIGKILL");
  await bed.clear();
});
after(() => bed.end());

function run(fixture: string, env: Record<string, string> = {}, cwd = bed.folder): Running {
  const given = { HOST: "127.0.0.1", PORT: "0", REDIS_DSN: bed.dsn, LOG_LEVEL: "info", ...env };
  const started = new Running([join(__dirname, "fixtures", `${fixture}.js`)], cwd, given);
  running.push(started);
  return started;
}

async function ready(name: string) {
  const lab = await bed.peer("lab");
  await until(async () => (await lab.link.command(["PUBSUB", "NUMSUB", name]))[1] > 0);
  return lab;
}

test("SIGTERM lets what is in progress end, runs clean-ups, and ends with 0", async () => {
  const echo = run("echo");
  const lab = await ready("echo");
  await lab.publish("echo", { jsonrpc: "2.0", method: "echo:slow:lab", params: { ms: 300 }, id: "1" });
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.equal(await echo.end("SIGTERM"), 0, echo.output);
  assert.equal(JSON.parse(await lab.next()).result, "done");
  assert.match(echo.output, /cleaned/);
  assert.equal((await lab.link.command(["ZRANGE", "band:instances:echo", 0, -1])).length, 0);
});

test("settings that cannot be used end the process with 1 and their reason", async () => {
  const echo = run("echo", { BAND_SERVICE: "other" });
  assert.equal(await new Promise((resolve) => echo.process.once("exit", resolve)), 1);
  assert.match(echo.output, /write name: other/);
});

test("a listener that is killed loses nothing", async () => {
  const sink = join(bed.folder, "sink.txt");
  writeFileSync(sink, "");
  const lab = await bed.peer();
  const add = async (from: number, to: number) => {
    for (let n = from; n < to; n += 1) await lab.link.command(["XADD", "events", "*", "event", JSON.stringify({ id: `e${n}` })]);
  };
  await add(0, 50);
  const read = () => readFileSync(sink, "utf8").trim().split("\n");
  const first = run("echo", { SINK: sink });
  await until(() => read().length >= 10);
  await first.end("SIGKILL");
  await add(50, 100);
  run("echo", { SINK: sink });
  await until(() => new Set(read()).size === 100, Boolean, 2 * GENEROUS);
  assert.ok(read().length <= 105, "only what was in hand at the kill may come twice");
});

test("while Redis is away the process rests, and it comes back by itself", async () => {
  const own = new Bed();
  await own.startRedis();
  const port = await freePort();
  const echo = run("echo", { REDIS_DSN: own.dsn, PORT: String(port) });
  const health = async () => (await fetch(`http://127.0.0.1:${port}/health`)).json().catch(() => null) as Promise<any>;
  const redis = async () => (await health().catch(() => null))?.checks.redis.status;
  await until(redis, (status) => status === "ok");
  await own.signalRedis("SIGKILL");
  await until(redis, (status) => status === "degraded");
  const cpu = () => {
    const fields = readFileSync(`/proc/${echo.process.pid}/stat`, "utf8").split(") ")[1].split(" ");
    return (Number(fields[11]) + Number(fields[12])) / 100;
  };
  const before = cpu();
  await new Promise((resolve) => setTimeout(resolve, 3000));
  assert.ok(cpu() - before < 0.3, `it used ${cpu() - before} s of CPU in 3 s`);
  await own.startRedis();
  await until(redis, (status) => status === "ok");
  const lab = await own.peer("lab");
  await until(async () => (await lab.link.command(["PUBSUB", "NUMSUB", "echo"]))[1] > 0);
  assert.deepEqual((await lab.call("echo", "echo", { a: 1 })).result, { a: 1 });
  await own.end();
});

test("rockme check asks the port, and tells when nobody is there", async () => {
  const port = await freePort();
  run("echo", { PORT: String(port) });
  await ready("echo");
  const check = (at: string) =>
    new Promise<{ code: number; text: string }>((resolve) => {
      const env = { PATH: process.env.PATH, PORT: at, NAME: "nobody", REDIS_DSN: bed.dsn };
      const child = execFile(process.execPath, [join(__dirname, "../lib/cli.js"), "check"], { env, cwd: bed.folder }, (_error, text) =>
        resolve({ code: child.exitCode ?? -1, text }),
      );
    });
  const well = await check(String(port));
  assert.deepEqual([well.code, JSON.parse(well.text).checks.own.status], [0, "ok"]);
  const lost = await check(String(await freePort()));
  assert.equal(lost.code, 1);
  assert.match(lost.text, /no service "nobody"/);
});

function oldFolder(name: string, rpc = ""): string {
  const folder = join(bed.folder, name);
  mkdirSync(join(folder, "config"), { recursive: true });
  const text = `rpc: {name: ${name}, channels: [${name}, enrich, broadcast, everybody]${rpc}}\nredis: {dsn: <%= env.REDIS_DSN %>}\nlog: {pino: {level: <%= env.LOG_LEVEL %>}}\nlimits: {size: 7}\n`;
  writeFileSync(join(folder, "config/10_all.yml"), text);
  return folder;
}

test("a service in the originals' style answers as it did, and is one of our kind", async () => {
  const old = run("old_uap", {}, oldFolder("uap_1", ", service_group: uap"));
  const lab = await ready("uap_1");
  const enriched = JSON.parse(
    await lab.ask("enrich", { jsonrpc: "2.0", from: "lab", to: "enrich", id: "x", method: "enrich:enrich:lab", params: { ua: "abc" } }),
  );
  assert.deepEqual(enriched, { jsonrpc: "2.0", result: { length: 3, size: 7 }, id: "x", from: "uap_1", to: "lab", service_group: "uap" });
  await lab.publish("broadcast", { jsonrpc: "2.0", from: "front", to: "broadcast", method: "broadcast:broadcast:front", params: { id: "e1" } });
  assert.deepEqual(
    await until(
      async () => (await lab.call("uap_1", "heard")).result,
      (heard) => heard.length === 1,
    ),
    ["e1"],
  );
  await lab.publish("everybody", { jsonrpc: "2.0", method: "everybody:unknown:lab", params: {}, id: "1" });
  assert.equal(JSON.parse(await lab.ask("everybody", { jsonrpc: "2.0", method: "everybody:zero:lab", params: {}, id: "2" })).id, "2");
  assert.equal((await lab.call("uap_1", "zero")).result, 0);
  assert.equal((await lab.call("uap_1", "none")).result, null);
  assert.deepEqual((await lab.call("uap_1", "typed")).result, { type__: "data", headers: [], statusCode: 201, data: { a: 1 } });
  assert.deepEqual((await lab.call("uap_1", "fails")).error, { code: -32000, message: "Server error", data: { message: "Error: broken" } });
  assert.equal((await lab.call("uap_1", "nobody")).result, "Request timeout");
  assert.deepEqual((await lab.call("uap_1", "stored", { uid: "9" })).result, ["plan", '"pro"']);
  const status = (await lab.call("uap_1", "__status")).result;
  assert.deepEqual([status.name, status.register[0].method, status.instance.length, status.health.status], ["uap_1", "enrich", 8, "ok"]);
  assert.ok((BigInt((await lab.call("uap_1", "flake")).result) >> 22n) - BigInt(Date.now()) < 1000n);
  const { rpc, presence } = await bed.service("front");
  await until(() => presence.knows("uap_1"));
  const found = await rpc.gather("enrich", "enrich", { ua: "abcd" }, { expect: ["uap_1"] });
  assert.deepEqual(found.results, { uap: { length: 4, size: 7 } });
  const director = await bed.peer("director");
  assert.match(await director.next(), /__iamalive/);
  assert.equal(await old.end("SIGTERM"), 0, old.output);
  assert.match(old.output, /"stack":"Error: only an example/);
});

test("services in the originals' style call each other, one or several", async () => {
  run("old_uap", {}, oldFolder("uap_1"));
  run("old_uap", {}, oldFolder("uap_2"));
  await ready("uap_1");
  const lab = await ready("uap_2");
  assert.deepEqual((await lab.call("uap_1", "relay", { to: "uap_2" })).result, { length: 3, size: 7 });
  const both = (await lab.call("uap_1", "relay", { to: "enrich", services: ["uap_1", "uap_2"] })).result;
  assert.deepEqual(both, { uap_1: { length: 3, size: 7 }, uap_2: { length: 3, size: 7 } });
  assert.equal((await lab.call("uap_1", "relay", { to: "enrich", services: [] })).result, null);
  assert.deepEqual((await lab.call("uap_1", "rejection", { to: "uap_2" })).result, [true, -32000, "Server error", { message: "Error: broken" }]);
});

test("variables of .env are the process's own, and SIGTERM ends a process with two names on the bus", async () => {
  const folder = oldFolder("uap_4");
  writeFileSync(join(folder, ".env"), "FROM_FILE=yes\nREDIS_DSN=redis://nowhere:1\n");
  const old = run("old_uap", { SECOND: "uap_5" }, folder);
  const lab = await ready("uap_4");
  await ready("uap_5");
  assert.equal((await lab.call("uap_4", "from_file")).result, "yes");
  assert.equal(await old.end("SIGTERM"), 0, old.output);
});

test("rpc.durable has an original listener take the durable stream", async () => {
  const lab = await bed.peer("lab");
  run("old_uap", {}, oldFolder("uap_3", ", durable: true"));
  await ready("uap_3");
  await until(async () =>
    ((await lab.link.command(["XINFO", "GROUPS", "events"]).catch(() => [])) as Map<string, any>[]).some((row) => row.get("name") === "uap_3"),
  );
  await lab.link.command(["XADD", "events", "*", "event", '{"id":"d1"}']);
  assert.deepEqual(
    await until(
      async () => (await lab.call("uap_3", "heard")).result,
      (heard) => heard.length === 1,
    ),
    ["d1"],
  );
});
