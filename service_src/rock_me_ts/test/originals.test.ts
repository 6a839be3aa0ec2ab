/**
 * Four services in the style of the original platform's, compiled as they are, through a link and without skipLibCheck, and
 * run together on one Redis: a collector (as front 3.8), an enricher in several roles (mmgeo-typescript), a stream to a
 * broker (kafkastream) and a writer to a database (chwriter).
 */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createSocket, type Socket } from "node:dgram";
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";
import { xxhash } from "../lib/compat/ids";
import { Bed, freePort, GENEROUS, type Peer, Running, until } from "./support";

const ROOT = join(__dirname, "../..");
const NAMES = ["collector", "geo", "stream", "writer"];
/** What the originals' images have beside the package. */
const PACKAGES = ["@types/node", "reflect-metadata", "source-map-support", "tsconfig-paths", "typedi"];
const OPTIONS = {
  target: "esnext",
  module: "commonjs",
  moduleResolution: "node",
  emitDecoratorMetadata: true,
  experimentalDecorators: true,
  strictNullChecks: true,
  noImplicitAny: true,
  allowSyntheticDefaultImports: true,
  forceConsistentCasingInFileNames: true,
  inlineSourceMap: true,
  outDir: "./dist",
  typeRoots: ["node_modules/@types", "node_modules/@rockstat/rock-me-ts/@types", "@types"],
  baseUrl: "./src",
  paths: { "@app/*": ["./*"] },
};

const bed = new Bed();
const running: Running[] = [];
const metrics: string[] = [];
let statsd: Socket;

before(async () => {
  await bed.startRedis();
  statsd = createSocket("udp4").on("message", (line) => metrics.push(String(line)));
  await new Promise<void>((resolve) => statsd.bind(0, "127.0.0.1", resolve));
  for (const name of NAMES) layOut(name);
});
afterEach(async () => {
  for (const one of running.splice(0)) if (one.alive) await one.end("SIGKILL");
  await bed.clear();
});
after(async () => {
  statsd.close();
  await bed.end();
});

const folderOf = (name: string): string => join(bed.folder, name);

/** Lays a service's folder out as its image has it behind `npm install` and `yarn link`. */
function layOut(name: string): void {
  const folder = folderOf(name);
  cpSync(join(ROOT, "test/originals", name), folder, { recursive: true });
  for (const [link, target] of [["@rockstat/rock-me-ts", ROOT], ...PACKAGES.map((one) => [one, join(ROOT, "node_modules", one)])]) {
    mkdirSync(join(folder, "node_modules", link, ".."), { recursive: true });
    symlinkSync(target, join(folder, "node_modules", link));
  }
}

function compile(name: string): Promise<string> {
  writeFileSync(join(folderOf(name), "tsconfig.json"), JSON.stringify({ compilerOptions: OPTIONS, include: ["src/**/*"] }));
  const tsc = join(ROOT, "node_modules", name === "collector" ? "typescript-4.9" : "typescript-5.4", "bin/tsc");
  return new Promise((resolve) => execFile(process.execPath, [tsc, "-p", folderOf(name)], (_error, text) => resolve(text)));
}

function run(name: string, env: Record<string, string> = {}): Running {
  const port = String((statsd.address() as AddressInfo).port);
  const given = { REDIS_DSN: bed.dsn, STATSD_PORT: port, TS_NODE_BASEURL: "./dist", LOG_LEVEL: "info", ...env };
  const started = new Running(["-r", "tsconfig-paths/register", "-r", "source-map-support/register", "dist/index"], folderOf(name), given);
  running.push(started);
  return started;
}

/** Waits until so many listen on a channel. */
async function listening(lab: Peer, channel: string, count = 1): Promise<void> {
  await until(async () => (await lab.link.command(["PUBSUB", "NUMSUB", channel]))[1] >= count);
}

const linesOf = (path: string): any[] =>
  existsSync(path)
    ? readFileSync(path, "utf8")
        .split("\n")
        .filter(Boolean)
        .map((line) => JSON.parse(line))
    : [];

/** Stands in for ClickHouse; keeps what it is asked. */
async function clickhouse(): Promise<{ asked: string[]; dsn: string; server: Server }> {
  const asked: string[] = [];
  const server = createServer(async (request, answer) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    asked.push(body);
    answer.end('{"data":[]}');
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { asked, dsn: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, server };
}

test("the originals' services compile as they are: the collector with TypeScript 4.9, the others with 5.4", async () => {
  for (const [first, second] of [NAMES.slice(0, 2), NAMES.slice(2)]) assert.deepEqual(await Promise.all([compile(first), compile(second)]), ["", ""]);
});

test("they work together on one Redis, and with a director, a handler and the wire of the original", async (context) => {
  const sink = join(bed.folder, "broker.jsonl");
  const database = await clickhouse();
  context.after(() => {
    database.server.close();
    database.server.closeAllConnections();
  });
  const port = await freePort();
  const secret = "a&b<c>";
  const director = await bed.peer("director");
  await bed.service("shop", ({ expose }) => {
    expose.handler("buy", async ({ data }) => ({ type__: "data", statusCode: 201, headers: [["X-Shop", "1"]], data: { sku: data.sku, seen: data.uap } }));
    expose.handler("slow", () => new Promise(() => {}));
    expose.handler("broken", () => {
      throw new Error("no stock");
    });
  });
  const services = [
    run("geo", { SERVICE_GROUP: "uap" }),
    run("geo", { SERVICE_GROUP: "geo", WORKER_ID: "2" }),
    run("geo", { SERVICE_GROUP: "uapc" }),
    run("stream", { SINK: sink, KAFKA_BROKERS: "a:9092, b:9092" }),
    run("writer", { CH_DSN: database.dsn, NODE_ENV: "production" }),
    run("collector", { PORT: String(port), NODE_ENV: "production", COOKIE_SECRET: secret }),
  ];
  // Each tells the director that it is alive: kafkastream, which never did, by the package.
  const heard = (): any[] => director.messages.map((one) => JSON.parse(one));
  const names = ["uap_1", "geo_2", "uapc_1", "kafkastream", "chwriter", "front"];
  const silent = () => names.filter((name) => !heard().some(({ method, params }) => method?.includes("__iamalive") && params.name === name));
  await until(silent, (left) => !left.length);
  const statusOf = async (name: string, params: object = {}): Promise<any> => {
    const id = `s-${name}-${Math.random()}`;
    await director.publish(name, { jsonrpc: "2.0", method: `${name}:__status:director`, params, id });
    const found = await until(() => heard().find((one) => one.id === id));
    return found.result.data ?? found.result;
  };
  const row = { method: "enrich", role: "enricher", options: { keys: ["in.gen.track"], props: { ip: "td.ip", ua: "td.ua" } } };
  assert.deepEqual((await statusOf("uap_1")).register, [row]);
  for (const name of ["kafkastream", "chwriter"]) {
    const { app_state, name: told, health } = await statusOf(name);
    assert.deepEqual([told, app_state, health.status], [name, "running", "ok"]);
  }
  const handler = (method: string, timeout?: number) => ({ service: "shop", method, role: "handler", options: { timeout } });
  const register = [
    { ...row, service: "uap_1" },
    { ...row, service: "geo_2" },
    { ...row, service: "uapc_1" },
    handler("buy"),
    handler("slow", 50),
    handler("broken"),
  ];
  assert.equal((await statusOf("front", { register, state_hash: "9007199254740993" })).state_hash, "9007199254740993");

  await listening(director, "enrich", 3);
  await listening(director, "broadcast", 2);
  await until(() => database.asked.some((text) => text.startsWith("CREATE TABLE IF NOT EXISTS webhooks")));
  await until(() => services[3].output.includes("connected"));
  await director.link.command(["HSET", "s:77", "plan", '"pro"', "since", "5"]);
  const ask = async (path: string) => {
    const found = await fetch(`http://127.0.0.1:${port}/${path}`, { headers: { "user-agent": "Chrome/120" }, redirect: "manual" });
    return { status: found.status, header: (name: string) => found.headers.get(name), body: await found.text() };
  };
  await until(async () => (await ask("version/x")).status === 200, Boolean, GENEROUS);

  const tracked = JSON.parse((await ask("track/page?uid=77&url=x")).body);
  assert.equal(tracked.key, "in.gen.track.page");
  assert.ok((BigInt(tracked.id) >> 22n) - BigInt(Date.now()) < 1000n);
  const [event] = await until(
    () => linesOf(sink),
    (lines) => lines.length,
  );
  assert.deepEqual(event.brokers, ["a:9092", "b:9092"]);
  assert.deepEqual([event.clientId, event.topic, event.key, event.value.id], ["stream-3.8.3", "tracks", "77", tracked.id]);
  // An enrichment is kept under the replicas' group, a visitor's record comes out of a flat list, the hash is the original's.
  assert.deepEqual(event.value.data, {
    url: "x",
    fpid: xxhash("2.125.160.216:Chrome/120"),
    user: { plan: "pro", since: 5 },
    uap: { browser_name: "Chrome", worker: "uap_1" },
    geo: { country_en: "United Kingdom", city_ru: "Боxфорд" },
    uapc: { browser_family: "Chrome", browser_version: "120", worker: "uapc_1" },
  });
  const inserted = await until(() => database.asked.find((text) => text.startsWith("INSERT") && text.includes(tracked.id)));
  assert.match(String(inserted), /^INSERT INTO events FORMAT JSONEachRow\n/);

  const bought = await ask("shop/buy?sku=7");
  assert.deepEqual([bought.status, bought.header("x-shop"), JSON.parse(bought.body)], [201, "1", { sku: "7" }]);
  assert.deepEqual(await ask("shop/slow").then(({ status, body }) => [status, body]), [500, "Request timeout"]);
  assert.deepEqual(await ask("shop/broken").then(({ status, body }) => [status, body]), [500, "Server error"]);
  const away = await ask("redir/docs");
  assert.deepEqual([away.status, away.header("location"), away.header("x-expires")], [302, "https://docs.example/?a=1&b=2", "365"]);
  assert.deepEqual(await ask("pixel/x").then(({ status, body }) => [status, body]), [200, "pixel"]);
  assert.equal((await ask("redir/nowhere")).status, 404);

  await until(() => metrics.some((line) => /^krn\.dispatch:\d+\|ms\|#channel:http$/.test(line)));
  for (const line of ["krn.http.request:1|c", "krn.band.uap_1.alive:1|c", "krn.ch.kafkastream.success:1|c", "krn.ch.upload.ok:1|c"]) {
    await until(() => metrics.includes(line));
  }
  for (const one of services) {
    assert.equal(await one.end("SIGTERM"), 0, one.output);
    assert.doesNotMatch(one.output, new RegExp(secret));
  }
});

test("replicas of an enricher answer each event once; one that is killed is missed by nobody, and comes back", async () => {
  const front = await bed.peer("front");
  const replica = () => run("geo", { SERVICE_GROUP: "uap" });
  const [first] = [replica(), replica(), replica()];
  await listening(front, "uap_1", 3);
  const instances = async (): Promise<number> => (await front.link.command(["ZRANGEBYSCORE", "band:instances:uap_1", Date.now() / 1000, "+inf"])).length;
  await until(instances, (count) => count === 3);
  await new Promise((resolve) => setTimeout(resolve, 500)); // each has heard of the others
  const ask = (id: string) =>
    front.publish("enrich", { jsonrpc: "2.0", from: "front", to: "enrich", id, method: "enrich:enrich:front", params: { ua: "Chrome/120" } });
  const answers = (prefix: string) => front.messages.map((one) => JSON.parse(one)).filter(({ id }) => id?.startsWith?.(prefix));
  for (let n = 0; n < 60; n += 1) await ask(`a${n}`);
  await until(() => answers("a").length >= 60);
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert.equal(new Set(answers("a").map(({ id }) => id)).size, 60);
  assert.equal(answers("a").length, 60);
  assert.ok(answers("a").every(({ result, from, service_group }) => result.browser_name === "Chrome" && from === "uap_1" && service_group === "uap"));
  await first.end("SIGKILL");
  await until(instances, (count) => count === 2, 2 * GENEROUS); // its share is theirs when it is not heard of for 10 s
  await new Promise((resolve) => setTimeout(resolve, 3500));
  for (let n = 0; n < 60; n += 1) await ask(`b${n}`);
  await until(() => answers("b").length >= 60);
  replica();
  await until(instances, (count) => count === 3);
  await new Promise((resolve) => setTimeout(resolve, 500));
  for (let n = 0; n < 60; n += 1) await ask(`c${n}`);
  await until(() => answers("c").length >= 60);
  assert.equal(answers("b").length + answers("c").length, 120);
});

test("a listener that registers late takes the durable stream, and loses nothing when it is killed", async () => {
  const sink = join(bed.folder, "durable.jsonl");
  mkdirSync(join(folderOf("stream"), "config/custom"));
  writeFileSync(join(folderOf("stream"), "config/custom/50_durable.yml"), "rpc: {durable: true}\n");
  const lab = await bed.peer("lab");
  const add = async (from: number, to: number) => {
    for (let n = from; n < to; n += 1)
      await lab.link.command(["XADD", "events", "*", "event", JSON.stringify({ key: "in.gen.track.x", uid: "1", id: `d${n}` })]);
  };
  const got = () => linesOf(sink).map((line) => line.value.id);
  await lab.link.command(["XGROUP", "CREATE", "events", "kafkastream", "0", "MKSTREAM"]);
  await add(0, 100);
  const first = run("stream", { SINK: sink });
  await until(() => got().length >= 20);
  await first.end("SIGKILL");
  await add(100, 200);
  run("stream", { SINK: sink });
  await until(() => new Set(got()).size === 200, Boolean, 2 * GENEROUS);
  assert.ok(got().length <= 201, "only what was in hand at the kill may come twice");
  assert.deepEqual((await lab.call("kafkastream", "__status")).result.data.register, [{ method: "broadcast", role: "listener", options: {} }]);
  rmSync(join(folderOf("stream"), "config/custom"), { recursive: true });
});
