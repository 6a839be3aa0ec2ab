/** The service's own port. */

import assert from "node:assert/strict";
import { request } from "node:http";
import { connect } from "node:net";
import { after, afterEach, before, test } from "node:test";
import * as v from "valibot";
import { z } from "zod";
import { response } from "../lib/compat/response";
import { Bed } from "./support";

const bed = new Bed();
const OFFERED = ["dead_letters", "replay_dead_letters", "delete_dead_letters", "replay_events"];
before(() => bed.startRedis());
afterEach(() => bed.clear());
after(() => bed.end());

function get(
  port: number,
  path: string,
  headers: Record<string, string> = {},
  method = "GET",
  body = "",
): Promise<{ status: number; headers: Record<string, any>; text: string }> {
  return new Promise((resolve, reject) => {
    const sent = request({ host: "127.0.0.1", port, path, method, headers }, (answer) => {
      let text = "";
      answer.setEncoding("utf8").on("data", (chunk) => {
        text += chunk;
      });
      answer.on("end", () => resolve({ status: answer.statusCode ?? 0, headers: answer.headers, text }));
    });
    sent.on("error", reject);
    sent.end(body);
  });
}

test("functions, health and metrics are there, and typed responses are HTTP's own", async () => {
  const { port } = await bed.service("web", ({ expose, registry }) => {
    expose("add", { params: v.object({ a: v.pipe(v.any(), v.transform(Number)), b: v.number() }) }, ({ a, b }) => a + b);
    expose("away", () => response.redirect({ location: "https://a.b/\r\nX: y" }));
    expose("dot", { path: "/dot.gif" }, () => response.pixel());
    expose("lost", () => response.error({ statusCode: 404, errorMessage: "not here" }));
    expose("hidden", { http: false }, () => 1);
    expose("fails", () => {
      throw new Error("redis://u:canary@h");
    });
    registry.healthChecks.push({ name: "queue", func: () => ({ status: "degraded", waiting: 3 }) });
  });
  const json = { "Content-Type": "application/json" };
  assert.deepEqual(await get(port, "/add?a=1", json, "POST", '{"b": 2}').then(({ status, text }) => [status, text]), [200, "3"]);
  const bad = await get(port, "/add?a=1");
  assert.deepEqual([bad.status, /b: /.test(bad.text), JSON.parse(bad.text).path], [422, true, "$.b"]);
  assert.equal((await get(port, "/add", json, "POST", "[1]")).status, 400);
  assert.equal((await get(port, "/add", json, "POST", "{")).status, 400);
  const away = await get(port, "/away");
  assert.deepEqual([away.status, away.headers.location], [302, "https://a.b/%0D%0AX: y"]);
  assert.equal((await get(port, "/dot.gif")).headers["content-type"], "image/gif");
  assert.deepEqual(JSON.parse((await get(port, "/lost")).text), { message: "not here", data: {} });
  assert.equal((await get(port, "/hidden")).status, 404);
  const failed = await get(port, "/fails");
  assert.deepEqual([failed.status, failed.text.includes("canary")], [500, false]);
  const health = JSON.parse((await get(port, "/health")).text);
  assert.deepEqual([health.status, health.checks.redis.status, health.checks.queue.waiting], ["degraded", "ok", 3]);
  const metrics = (await get(port, "/metrics")).text;
  assert.match(metrics, /band_calls_total\{method="add",outcome="ok"\} 1\n/);
  assert.match(metrics, /band_redis_connected 1\n/);
  assert.match(metrics, /# TYPE band_redis_reconnects_total counter\nband_redis_reconnects_total 0\n/);
  assert.equal(JSON.parse((await get(port, "/__status")).text).name, "web");
});

test("a page is only read, and a second Host is no name of ours", async () => {
  const { port } = await bed.service("web", ({ expose }) => expose("go", () => 1));
  for (const path of ["/health", "/metrics", "/openapi.json", "/go"]) {
    const refused = await get(port, path, {}, "DELETE");
    assert.deepEqual([refused.status, refused.headers.allow], [405, path === "/go" ? "GET,POST" : "GET,HEAD"]);
  }
  assert.equal((await get(port, "/metrics", {}, "POST")).status, 405);
  const socket = connect(port, "127.0.0.1");
  socket.end("GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
  assert.match(String(await socket.setEncoding("latin1").toArray()), /^HTTP\/1.1 40[03] /);
  assert.equal((await get(port, "/health", {}, "HEAD")).status, 200);
});

test("requests of other sites' pages are refused, whatever their method", async () => {
  const { port } = await bed.service("web", ({ expose }) => expose("go", () => 1), { allowed_origins: "https://app.example" });
  const refused: Record<string, string>[] = [
    { Host: "evil.example" },
    { Origin: "https://evil.example" },
    { "Sec-Fetch-Site": "cross-site" },
    { Referer: "http://evil.example/x" },
    { "Sec-Purpose": "prefetch" },
    { "User-Agent": "Mozilla/5.0" },
  ];
  for (const headers of refused) assert.equal((await get(port, "/go", headers)).status, 403, JSON.stringify(headers));
  for (const headers of [{}, { Host: "band-web" }, { "Sec-Fetch-Site": "same-origin" }]) assert.equal((await get(port, "/go", headers as any)).status, 200);
  const allowed = await get(port, "/go", { Origin: "https://app.example" });
  assert.deepEqual([allowed.status, allowed.headers["access-control-allow-origin"]], [200, "https://app.example"]);
});

test("the schemas of parameters are in __status and in the OpenAPI document", async () => {
  interface Tree {
    name: string;
    children: Tree[];
  }
  const Tree: z.ZodType<Tree> = z.lazy(() => z.object({ name: z.string(), children: z.array(Tree) }));
  const { port } = await bed.service("web", ({ expose }) => {
    expose(
      "top",
      { description: "The busiest visitors.", params: z.object({ limit: z.coerce.number().int().min(1).max(100).default(10) }) },
      ({ limit }) => limit,
    );
    expose("grow", { params: z.object({ tree: Tree, self: z.optional(z.string()) }) }, ({ tree }) => tree.name);
    expose("plain", (params) => params);
    expose("odd", { params: z.object({ at: z.date() }) }, () => 1);
    expose("other", { params: v.object({ a: v.number() }) }, ({ a }) => a);
    expose("hidden", { http: false }, () => 1);
    expose.enricher({ keys: ["*"] }, () => ({}));
    expose.listener({ name: "sink", data: z.object({ price: z.number(), tree: Tree }), description: "Stores sales." }, () => {});
  });
  const { schemas } = JSON.parse((await get(port, "/__status")).text);
  assert.deepEqual(Object.keys(schemas.methods), ["top", "grow", "plain", "odd", "other", "hidden", "enrich", "sink"].concat(OFFERED));
  const { params, description } = schemas.methods.top;
  assert.deepEqual([description, params.properties.limit.maximum, params.properties.limit.default], ["The busiest visitors.", 100, 10]);
  for (const name of ["plain", "odd", "other"]) assert.equal(schemas.methods[name].params, undefined, name);
  const reference = schemas.methods.grow.params.properties.tree.$ref;
  assert.equal(schemas.components[reference.replace("#/components/schemas/", "")].properties.children.items.$ref, reference);
  const { event, role } = schemas.methods.sink;
  assert.deepEqual([role, event.required, event.properties.data.properties.price.type], ["listener", ["key", "id", "time", "data"], "number"]);
  assert.ok(schemas.components[event.properties.data.properties.tree.$ref.replace("#/components/schemas/", "")]);
  const document = JSON.parse((await get(port, "/openapi.json")).text);
  assert.deepEqual(Object.keys(document.paths), ["/top", "/grow", "/plain", "/odd", "/other", "/enrich", "/sink", "/health"]);
  assert.deepEqual(
    document.paths["/top"].get.parameters.map((one: any) => [one.name, one.required]),
    [["limit", false]],
  );
  assert.deepEqual(Object.keys(document.paths["/grow"]), ["post"]);
  assert.equal(document.paths["/enrich"].post.tags[0], "enricher");
  assert.equal((await get(port, "/top?limit=3")).text, "3");
  assert.equal((await get(port, "/top?limit=999")).status, 422);
});
