/** Messages recorded from the original platform, and what a hostile or broken peer may send. */

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { crc32 } from "node:zlib";
import { response } from "../lib/compat/response";
import { Bed, until } from "./support";

const UA = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36";
const PLACE = { country_en: "United Kingdom", country_ru: "Великобритания", city_ru: "Боxфорд", region_iso: "ENG" };
const bed = new Bed();
before(() => bed.startRedis());
afterEach(() => bed.clear());
after(() => bed.end());

test("the original's front asks an enricher on the fan-out channel, and gets the recorded bytes", async () => {
  const asked: unknown[] = [];
  await bed.service("mmgeo", ({ expose }) =>
    expose.enricher({ keys: ["in.gen.track"], props: { ip: "td.ip" } }, ({ ip }) => {
      asked.push(ip);
      return PLACE;
    }),
  );
  const front = await bed.peer("front");
  const request = `{"jsonrpc":"2.0","from":"front","to":"enrich","id":"ci4","method":"enrich:enrich:front","params":{"key":"in.gen.track.page","ip":"2.125.160.216","ua":"${UA}"}}`;
  assert.equal(
    await front.ask("enrich", request),
    '{"jsonrpc":"2.0","result":{"country_en":"United Kingdom","country_ru":"Великобритания","city_ru":"Боxфорд","region_iso":"ENG"},"id":"ci4","from":"mmgeo","to":"front"}',
  );
  assert.deepEqual(asked, ["2.125.160.216"]);
});

test("the original's director gets the recorded status, with what we add behind it", async () => {
  await bed.service("uaparser", ({ expose }) => expose.enricher({ keys: ["in.gen.track"], props: { ua: "td.ua" }, cache: 300 }, () => ({})));
  const director = await bed.peer("director");
  await director.publish("uaparser", '{"jsonrpc": "2.0", "method": "uaparser:__status:director", "params": {}, "id": "41"}');
  const raw = await until(
    () => director.messages.find((one) => one.includes('"id":"41"')),
    (found) => found !== undefined,
  );
  assert.ok(raw?.startsWith('{"jsonrpc":"2.0","result":{"type__":"data","statusCode":200,"data":{"name":"uaparser","app_started":'));
  assert.ok(raw?.endsWith(',"id":"41","from":"uaparser","to":"director"}'));
  const data = JSON.parse(raw as string).result.data;
  assert.deepEqual(Object.keys(data).slice(0, 5), ["name", "app_started", "app_uptime", "app_state", "register"]);
  const row = { method: "enrich", role: "enricher", options: { keys: ["in.gen.track"], props: { ua: "td.ua" }, cache: { props: ["ua"], ttl: 300 } } };
  assert.deepEqual(data.register, [row]);
  assert.equal(data.health.status, "ok");
  const beat = await until(() => director.messages.find((one) => one.includes("__iamalive")));
  assert.deepEqual(JSON.parse(beat as string), {
    jsonrpc: "2.0",
    method: "director:__iamalive:uaparser",
    params: { name: "uaparser" },
    from: "uaparser",
    to: "director",
  });
});

test("typed responses have the original's texts, and an object for no data", () => {
  assert.equal(response.error({ statusCode: 418 }).errorMessage, "I'm a teapot");
  assert.equal(response.error({}).errorMessage, "Internal Error");
  assert.equal(response.error({ statusCode: 404 }).errorMessage, "Not Found");
  assert.deepEqual(
    [undefined, null, 0, ""].map((data) => response.data({ data }).data),
    [{}, {}, 0, ""],
  );
});

test("handlers answer with each type of response, as originals in TypeScript do", async () => {
  await bed.service("labsvc", ({ expose }) => {
    expose.handler("*", { alias: "wild", timeout: 500 }, (event) => ({ wild: event.name, key: event.key }));
    expose(
      "typed",
      ({ which }) =>
        [response.data({ data: { a: 1 }, statusCode: 201 }), response.error({ statusCode: 404 }), response.redirect({ location: "/x" }), response.pixel()][
          which
        ],
    );
    expose("values", ({ value }) => value);
  });
  const lab = await bed.peer("lab");
  assert.deepEqual((await lab.call("labsvc", "*", { name: "x", key: "k" })).result, { wild: "x", key: "k" });
  assert.deepEqual((await lab.call("labsvc", "typed", { which: 0 })).result, { type__: "data", headers: [], statusCode: 201, data: { a: 1 } });
  assert.deepEqual((await lab.call("labsvc", "typed", { which: 1 })).result, { type__: "error", headers: [], statusCode: 404, errorMessage: "Not Found" });
  assert.deepEqual((await lab.call("labsvc", "typed", { which: 2 })).result, { type__: "redirect", headers: [], location: "/x", statusCode: 302 });
  assert.deepEqual((await lab.call("labsvc", "typed", { which: 3 })).result, { type__: "pixel", headers: [], statusCode: 200, type: "pixel" });
  for (const value of [0, false, "", null, [1], { a: 1 }, 1.5]) assert.deepEqual((await lab.call("labsvc", "values", { value })).result, value);
  assert.equal((await lab.call("labsvc", "values")).result, null);
});

test("ids of every kind are echoed, and missing params are an empty object", async () => {
  await bed.service("echo", ({ expose }) => expose("m", (params) => Object.keys(params).length));
  const front = await bed.peer("front");
  for (const id of ["ci4", "7", 7, 99999, null]) {
    const reply = await front.ask("echo", { jsonrpc: "2.0", from: "front", to: "echo", id, method: "echo:m:front" });
    assert.equal(reply, `{"jsonrpc":"2.0","result":0,"id":${JSON.stringify(id)},"from":"echo","to":"front"}`);
  }
  assert.equal(JSON.parse(await front.ask("echo", { jsonrpc: "2.0", from: "front", to: "echo", id: 1, method: "m", params: null })).result, 0);
});

test("names of a prototype are no methods, and errors have our codes and no stack", async () => {
  await bed.service("strict", ({ expose }) => {
    expose("fails", () => {
      throw new TypeError("no such place");
    });
    expose("rejects", async () => Promise.reject(null));
    expose("circle", () => {
      const circle: any = {};
      circle.self = circle;
      return circle;
    });
  });
  const lab = await bed.peer("lab");
  for (const name of ["constructor", "toString", "hasOwnProperty", "__proto__", "nothing"]) assert.equal((await lab.call("strict", name)).error.code, -32601);
  assert.deepEqual((await lab.call("strict", "fails")).error, { code: -32000, message: "Server error", data: { message: "TypeError: no such place" } });
  assert.equal((await lab.call("strict", "rejects")).error.code, -32000);
  assert.equal((await lab.call("strict", "circle")).error.code, -32000);
  assert.equal((await lab.call("strict", "fails", [1])).error.code, -32602);
  assert.equal((await lab.call("strict", "fails", "text")).error.code, -32602);
  const old = JSON.parse(await lab.ask("strict", { jsonrpc: "1.0", method: "strict:fails:lab", params: {}, id: 1 }));
  assert.deepEqual([old.error.code, old.id], [-32600, null]);
});

test("malformed messages harm no other", async () => {
  const service = await bed.service("deaf", ({ expose }) => expose("m", () => 1));
  const lab = await bed.peer("lab");
  for (const bad of ["{", "[1", "null", "7", "[null, 3]", '{"jsonrpc":"2.0","id":1}', "\u0000"]) await lab.publish("deaf", bad);
  const batch = ['{"jsonrpc":"2.0","method":"deaf:m:lab","params":{},"id":"a"}', "7", '{"jsonrpc":"2.0","method":"deaf:m:lab","params":{"n":NaN},"id":"b"}'];
  await lab.publish("deaf", `[${batch.join(",")}]`);
  assert.deepEqual([JSON.parse(await lab.next()).id, JSON.parse(await lab.next()).id], ["a", "b"]);
  assert.ok(service.malformed >= 6);
});

test("a call goes to one of the replicas, the one that Python's would choose", async () => {
  const got: string[] = [];
  const services = await Promise.all([1, 2, 3].map(() => bed.service("twin", (one) => one.expose("who", () => one.presence.instance))));
  await until(() => services.every((one) => one.presence.replicas().length === 3));
  const ids = services.map((one) => one.presence.instance).sort();
  const lab = await bed.peer("lab");
  for (let id = 0; id < 20; id += 1) {
    const reply = JSON.parse(await lab.ask("twin", { jsonrpc: "2.0", method: "twin:who:lab", params: {}, id }));
    assert.equal(reply.result, ids[crc32(`${id}Nonetwin:who:lab`) % 3]);
    got.push(reply.result);
  }
  assert.ok(new Set(got).size > 1);
  assert.equal(lab.messages.length, 0);
});

test("a batch calls a method for each item, and one bad item harms no other", async () => {
  await bed.service("many", ({ expose }) =>
    expose("twice", async ({ n }) => {
      if (typeof n !== "number") throw new Error("no number");
      return n * 2;
    }),
  );
  const lab = await bed.peer("lab#1");
  const request = { jsonrpc: "2.0", method: "many:__batch:lab#1", params: { method: "twice", items: [{ n: 1 }, {}, { n: 3 }] }, id: "9" };
  const { result } = JSON.parse(await lab.ask("many", request));
  assert.deepEqual(result, { results: [2, null, 6], errors: { "1": { code: -32000, message: "Server error", data: { message: "Error: no number" } } } });
  const refused = JSON.parse(await lab.ask("many", { ...request, params: { method: "__status", items: [] } }));
  assert.equal(refused.error.code, -32602);
});

test("of a batch, what cannot be written, throws or rejects is an error, and the others have the bytes of single answers", async () => {
  const circle: any = {};
  circle.self = circle;
  const thrower = () => {
    throw new Error("no then");
  };
  const values: Record<string, () => unknown> = {
    text: () => "Боxфорд",
    nothing: () => undefined,
    late: async () => ({ a: [1, null] }),
    circle: () => circle,
    lateCircle: async () => circle,
    big: () => 1n,
    rejects: async () => Promise.reject(new TypeError("no")),
    thenable: () => ({
      then: (done: (value: unknown) => void) => {
        done(1);
        done(2);
      },
    }),
    badThen: () => ({ then: thrower }),
    getter: () => Object.defineProperty({}, "then", { get: thrower }),
    later: () => new Promise((resolve) => setTimeout(resolve, 20, "last")),
  };
  await bed.service("mixed", ({ expose }) => expose("value", ({ of }: { of: string }) => values[of]()));
  const lab = await bed.peer("lab#2");
  const items = Object.keys(values).map((of) => ({ of }));
  const request = { jsonrpc: "2.0", method: "mixed:__batch:lab#2", params: { method: "value", items }, id: "1" };
  const raw = await lab.ask("mixed", request);
  const begin = '{"jsonrpc":"2.0","result":{"results":["Боxфорд",null,{"a":[1,null]},null,null,null,null,1,null,null,"last"],"errors":{"3":{"code":-32000,';
  assert.equal(raw.slice(0, begin.length), begin);
  assert.ok(raw.endsWith('}},"id":"1","from":"mixed","to":"lab#2"}'));
  const { errors } = JSON.parse(raw).result;
  assert.deepEqual(
    Object.entries(errors).map(([index, error]: [string, any]) => [index, error.data.message.split(":")[0]]),
    [
      ["3", "TypeError"],
      ["4", "TypeError"],
      ["5", "TypeError"],
      ["6", "TypeError"],
      ["8", "Error"],
      ["9", "Error"],
    ],
  );
});

test("answers to several peers, with ids of every kind, each name their own", async () => {
  await bed.service("post", ({ expose }) => expose("m", () => 1));
  const lab = await bed.peer("a", "b");
  const ids = ["7", 'a"b', "Ж", 1.5, "", null];
  const asked = ids.flatMap((id) => ["a", "b"].map((from) => ({ jsonrpc: "2.0", method: `post:m:${from}`, params: {}, id, from: "else", to: "else" })));
  await lab.publish("post", asked);
  for (const { id, method } of asked) {
    assert.equal(await lab.next(), `{"jsonrpc":"2.0","result":1,"id":${JSON.stringify(id)},"from":"post","to":"${method.split(":")[2]}"}`);
  }
});

test("messages that are longer than one read are whole, however many come at once", async () => {
  await bed.service("long", ({ expose }) => expose("echo", (params) => params));
  const lab = await bed.peer("lab");
  const texts = Array.from({ length: 12 }, (_, n) => `${n}Боxфорд€`.repeat(4000 * (n % 4) + n + 1));
  await Promise.all(texts.map((text, id) => lab.publish("long", { jsonrpc: "2.0", method: "long:echo:lab", params: { text }, id })));
  for (const [id, text] of texts.entries()) {
    const reply = JSON.parse(await lab.next());
    assert.equal(reply.id, id);
    assert.ok(reply.result.text === text, `text ${id}`);
  }
});

test("what waits for a Redis that reads slowly is not written over", async () => {
  const service = await bed.service("slow");
  const lab = await bed.peer("heard");
  await bed.signalRedis("SIGSTOP");
  const texts = Array.from({ length: 40 }, (_, n) => `${n % 2 ? n : "ж"}-`.repeat(100_000 + n));
  for (const [id, text] of texts.entries()) {
    service.link.publish("heard", JSON.stringify({ id, text }));
    if (id % 3 === 2) await new Promise((resolve) => setImmediate(resolve));
  }
  await bed.signalRedis("SIGCONT");
  for (const [id, text] of texts.entries()) assert.ok((await lab.next()) === JSON.stringify({ id, text }), `text ${id}`);
});
