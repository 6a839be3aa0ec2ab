/** Addresses, signatures, settings and requests, each by itself. */

import assert from "node:assert/strict";
import { type LookupAddress, lookup } from "node:dns";
import { type AddressInfo, createServer } from "node:net";
import { test } from "node:test";
import { AddressPolicy, innermost, readNetwork } from "../lib/addresses";
import { Client, judge, readRetryAfter } from "../lib/client";
import { readOptions } from "../lib/options";
import { bodyOf, itemOf, Requests } from "../lib/requests";
import { Sender } from "../lib/sender";
import { readSecret, signedHeaders } from "../lib/signature";
import { OTHER_SECRET, opensslSignature, Receiver, SECRET } from "./support";

const event = (n: number, more: object = {}): any => ({ key: "in.gen.track.page", name: "page", id: String(n), time: 1795468772451 + n, data: { n }, ...more });
const destination = (more: object = {}) => ({ name: "crm", url: "https://example.com/hook", secret: SECRET, ...more });
const read = (...destinations: object[]) => readOptions({ destinations, allow: "127.0.0.0/8" }, {});

test("private, loopback, link-local and metadata addresses are refused, in every spelling", () => {
  const policy = new AddressPolicy();
  const refused = [
    ..."0.0.0.0 10.1.2.3 100.64.0.1 100.100.100.200 127.0.0.1 127.255.255.255 168.63.129.16 169.254.169.254 172.16.0.1 172.31.255.255".split(" "),
    ..."192.0.0.8 192.168.1.1 198.18.0.1 224.0.0.1 255.255.255.255".split(" "),
    ...":: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:7f00:1 ::FFFF:10.0.0.1 0:0:0:0:0:ffff:c0a8:0101 64:ff9b::10.0.0.1 64:ff9b::a9fe:a9fe ::ffff:0:127.0.0.1".split(
      " ",
    ),
    ..."64:ff9b:1::1 2002:7f00:1:: 2002:a9fe:a9fe::1 fc00::1 fd00:ec2::254 fe80::1 fe80::1%eth0 fec0::1 ff02::1 2001:db8::1 2001::1".split(" "),
    "[::1]",
    "[::ffff:10.0.0.1]",
    "localhost",
    "",
  ];
  assert.deepEqual(
    refused.filter((address) => policy.allows(address)),
    [],
  );
  const public_ = ["1.1.1.1", "172.32.0.1", "100.128.0.1", "193.0.0.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101", "2002:101:101::1"];
  assert.deepEqual(
    public_.filter((address) => !policy.allows(address)),
    [],
  );
});

test("what a setting allows is allowed, also in its mapped form, and nothing beside it", () => {
  const policy = new AddressPolicy(["10.1.0.0/16", "127.0.0.1", "fd00:1::/32"]);
  for (const address of ["10.1.255.1", "::ffff:10.1.0.1", "127.0.0.1", "fd00:1::5"]) assert.ok(policy.allows(address), address);
  for (const address of ["10.2.0.1", "127.0.0.2", "fd00:2::5", "::1"]) assert.ok(!policy.allows(address), address);
  assert.deepEqual(["10.0.0.0/33", "10.0.0.0/", "x", "10.0.0.0/8/8", "::/129", "10.0.0.0/-1", "fe80::1%eth0"].filter(readNetwork), []);
  assert.equal(innermost("64:ff9b::1.2.3.4"), "1.2.3.4");
});

test("addresses in a URL are judged as the URL's parser reads them", () => {
  for (const url of ["http://2130706433/", "http://0x7f.1/", "http://0177.0.0.1/", "http://127.1/", "http://[::ffff:127.0.0.1]/", "http://[::]/"]) {
    assert.throws(() => readOptions({ destinations: [destination({ url })] }, {}), /destination crm: .* is not a public address/, url);
  }
});

test("a name is judged at each connection, on the addresses that are connected to", async () => {
  const answers: LookupAddress[][] = [
    [{ address: "93.184.215.14", family: 4 }],
    [{ address: "10.0.0.1", family: 4 }],
    [
      { address: "::1", family: 6 },
      { address: "1.1.1.1", family: 4 },
    ],
  ];
  const policy = new AddressPolicy([], (_name, _options, callback) => callback(null, answers.shift() ?? []));
  const ask = (all: boolean) => new Promise((resolve) => policy.lookup("rebinding.example", { all }, (error, found) => resolve(error?.message ?? found)));
  assert.equal(await ask(false), "93.184.215.14");
  assert.match(String(await ask(true)), /^rebinding\.example \(10\.0\.0\.1\) is not a public address/);
  assert.deepEqual(await ask(true), [{ address: "1.1.1.1", family: 4 }]);
  assert.match(String(await ask(true)), /is not a public address/);
});

test("a request goes to what the lookup let through, and to nothing else", async () => {
  const receiver = await new Receiver().open();
  try {
    const [found] = readOptions({ destinations: [destination({ url: `http://rebinding.example:${receiver.port}/` })] }, {}).destinations;
    let address = "127.0.0.1";
    const resolve = (_name: string, _options: object, callback: any) => callback(null, [{ address, family: 4 }]);
    const post = async (policy: AddressPolicy) => {
      const client = new Client(found, policy);
      const verdict = await client.post('{"data":[]}', {});
      client.close();
      return verdict;
    };
    assert.equal((await post(new AddressPolicy(["127.0.0.1"], resolve))).meaning, "taken");
    assert.equal((await post(new AddressPolicy([], resolve))).meaning, "setup");
    address = "::ffff:127.0.0.1";
    assert.equal((await post(new AddressPolicy([], resolve))).meaning, "setup");
    // A lookup that is fooled: the address of the open connection is looked at as well.
    const fooled = new AddressPolicy([], lookup as any);
    Object.assign(fooled, {
      lookup: (_name: string, options: any, callback: any) =>
        options.all ? callback(null, [{ address: "127.0.0.1", family: 4 }]) : callback(null, "127.0.0.1", 4),
    });
    assert.match((await post(fooled)).reason, /^127\.0\.0\.1 is not a public address/);
    assert.equal(receiver.got.length, 1);
  } finally {
    receiver.close();
  }
});

test("a request ends whatever is answered, and what is told of it does not hold the URL's path", async () => {
  const answers = [
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "HTTP/1.1 400 Bad /hooks/T0KEN?k=1\r\nConnection: close\r\n\r\nCannot POST /hooks/T0KEN?k=1, nor /hooks/T0KEN",
    `HTTP/1.1 400 Bad\r\nConnection: close\r\n\r\n${"x".repeat(190)}/hooks/T0KEN?k=1`,
  ];
  const server = createServer((socket) => void socket.on("error", () => {}).once("data", () => socket.end(answers.shift() ?? "")));
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/hooks/T0KEN?k=1`;
  const options = read(destination({ url, timeout: 1 }));
  const client = new Client(options.destinations[0], options.policy);
  try {
    const late = new Promise<null>((done) => setTimeout(done, 5000, null).unref());
    const verdict = await Promise.race([client.post("{}", {}), late]);
    assert.deepEqual([verdict?.meaning, verdict?.reason], ["setup", "it answered 101 Switching Protocols"]);
    const { reason, said } = await client.post("{}", {});
    assert.deepEqual([reason, said], ["it answered 400 Bad /…", "Cannot POST /…, nor /…"]);
    assert.equal((await client.post("{}", {})).said, `${"x".repeat(190)}/…`); // it ends where the text shown does not reach
  } finally {
    client.close();
    server.close();
  }
});

test("signatures are those of Standard Webhooks, one for each secret", () => {
  const [id, timestamp, body] = ["msg_p5jXN8AQM9LWM0D4loKWxlek", 1614265330, '{"test": 2432232314}'];
  const headers = signedHeaders([readSecret(SECRET), readSecret(OTHER_SECRET)], id, timestamp, body);
  assert.deepEqual(headers, {
    "webhook-id": id,
    "webhook-timestamp": "1614265330",
    "webhook-signature": [SECRET, OTHER_SECRET].map((secret) => opensslSignature(secret, id, String(timestamp), body)).join(" "),
  });
  // As Python's hmac makes it.
  assert.equal(headers["webhook-signature"].split(" ")[0], "v1,BWy17FPvrvgB9B8Tq0JOg4pHYngeNOMHSr/OYzFsrg0=");
  assert.deepEqual(readSecret(SECRET.slice("whsec_".length)), readSecret(` ${SECRET} `));
  for (const wrong of ["whsec_", "whsec_%%%", `whsec_${Buffer.alloc(23).toString("base64")}`, `whsec_${Buffer.alloc(65).toString("base64")}`]) {
    assert.throws(
      () => readSecret(wrong),
      (error: Error) => /^the secret /.test(error.message) && !error.message.includes(wrong.slice(6) || "%"),
    );
  }
});

test("settings: defaults, filters, and what cannot work", () => {
  const [{ batch, linger, maxBytes, timeout, withholdsObjected, wants }] = read(destination()).destinations;
  assert.deepEqual([batch, linger, maxBytes, timeout, withholdsObjected, wants(event(1))], [100, 1, 1_000_000, 15, true, true]);
  const [picky] = read(destination({ keys: "in.gen.track, in.gen.hook", events: ["order"] })).destinations;
  const keys = ["in.gen.track.order", "in.gen.hook", "in.gen.tracker.order", "in.gen"];
  assert.deepEqual(
    keys.map((key) => picky.wants(event(1, { key, name: "order" }))),
    [true, true, false, false],
  );
  assert.ok(!picky.wants(event(1, { key: "in.gen.track.page" })));
  const wrong: [object, RegExp][] = [
    [{ secret: undefined }, /it has no secret/],
    [{ secret: undefined, secret_env: "NOT_THERE" }, /secret_env names NOT_THERE, which is not set/],
    [{ url: "ftp://example.com" }, /must begin with https/],
    [{ url: "example.com" }, /is not a full URL/],
    [{ batch: 0 }, /batch must be a number from 1 to 1000/],
    [{ objected: "no" }, /withhold or send/],
    [{ urll: "x" }, /it has urll; known keys are/],
    [{ [SECRET]: "x" }, /it has …; known keys are/],
  ];
  for (const [more, words] of wrong) assert.throws(() => read(destination(more)), words);
  assert.throws(() => read(destination(), destination()), /two destinations are called crm/);
  assert.throws(
    () => readOptions({ destinations: `[{"secret": "${SECRET}"` }, {}),
    (error: Error) => /is not JSON/.test(error.message) && !error.message.includes("MfKQ"),
  );
  assert.throws(() => readOptions({ destinations: "{}" }, {}), /must be a list/);
});

test("statuses and Retry-After mean what they should", () => {
  const table = {
    taken: [200, 202, 204],
    refused: [400, 409, 413, 422],
    later: [408, 425, 429, 500, 502, 503, 504],
    gone: [410],
    setup: [301, 302, 307, 401, 403, 404, 405, 415],
  };
  for (const [meaning, statuses] of Object.entries(table))
    assert.deepEqual(
      statuses.filter((status) => judge(status) !== meaning),
      [],
    );
  const now = Date.UTC(2026, 10, 27, 12, 0, 0);
  assert.deepEqual(
    [undefined, "", "x", "7", "999999", "-1", "Fri, 27 Nov 2026 12:00:30 GMT", "Fri, 27 Nov 2026 11:00:00 GMT"].map((text) => readRetryAfter(text, now)),
    [undefined, undefined, undefined, 7, 86_400, 0, 30, 0],
  );
});

test("requests are composed again as they were, and the rest by number and bytes", async () => {
  const kept = new Map<string, string>();
  const store = {
    command: async (name: string, _key: string | number, ...rest: (string | number)[]) => {
      if (name === "HGETALL") return new Map(kept);
      if (name === "HSET") kept.set(String(rest[0]), String(rest[1]));
      if (name === "HDEL") for (const id of rest) kept.delete(String(id));
    },
  } as any;
  const requests = new Requests(store, "key", "crm", 4, 1_000_000, "group", () => true);
  const items = [1, 2, 3, 4, 5, 6].map((n) => itemOf(event(n)));
  const numbers = (found: { items: { event: any }[] }[]) => found.map(({ items: some }) => some.map(({ event: { data } }) => data.n));
  const first = await requests.compose(items);
  assert.deepEqual(numbers(first), [
    [1, 2, 3, 4],
    [5, 6],
  ]);
  assert.deepEqual(
    (await requests.compose(items)).map(({ id }) => id),
    first.map(({ id }) => id),
  );
  const [two] = await requests.compose(items.slice(1, 3));
  await requests.remember(two);
  assert.deepEqual(numbers(await requests.compose(items)), [
    [2, 3],
    [1, 4, 5, 6],
  ]);
  assert.equal((await requests.compose(items))[0].id, two.id);
  assert.deepEqual(numbers(await requests.compose(items.slice(2))), [[3, 4, 5, 6]]); // one of it is done with: it is another request
  kept.set("odd", "not json");
  await requests.compose(items);
  assert.deepEqual([...kept.keys()], [two.id]);
  await requests.forget([two.id]);
  assert.equal(kept.size, 0);
  const small = new Requests(store, "key", "crm", 100, Buffer.byteLength(bodyOf(items.slice(0, 2))) + 1, "group", () => true);
  assert.deepEqual(numbers(await small.compose(items)), [
    [1, 2],
    [3, 4],
    [5, 6],
  ]);
  assert.notEqual((await new Requests(store, "key", "lake", 4, 1_000_000, "group", () => true).compose(items))[0].id, first[0].id);
});

test("wherever lives end and batches are cut, no event is taken under two ids, and none is lost", async () => {
  for (let seed = 1; seed <= 100; seed += 1) {
    const { taken, buried } = await lives(seed);
    for (const n of Array.from({ length: 30 }, (_, index) => index + 1)) {
      assert.deepEqual([taken.get(n)?.size ?? 0, buried.has(n)], n % 9 ? [1, false] : [0, true], `event ${n} of seed ${seed}: ${[...(taken.get(n) ?? [])]}`);
    }
  }
});

/** Lives of a destination, each killed after some requests, before or after the receiver took the last one; what it took, by id. */
async function lives(seed: number): Promise<{ taken: Map<number, Set<string>>; buried: Set<number> }> {
  let state = seed;
  const random = (most: number) => {
    state = (state * 48271) % 2147483647;
    return state % most;
  };
  const hash = new Map<string, string>();
  const pending = new Map(Array.from({ length: 30 }, (_, index) => [`${index + 1}-0`, event(index + 1)]));
  const taken = new Map<number, Set<string>>();
  const buried = new Set<number>();
  const killed = new Error("killed");
  for (let life = 0; pending.size; life += 1) {
    assert.ok(life < 500);
    let left = life < 400 ? 1 + random(6) : Number.POSITIVE_INFINITY;
    /** Each step outwards may be the last one. */
    const step = () => {
      left -= 1 / 3;
      if (left <= 0) throw killed;
    };
    const store = {
      command: async (name: string, _key: string | number, ...rest: (string | number)[]): Promise<any> => {
        step();
        if (name === "HGETALL") return new Map(hash);
        if (name === "HSET") hash.set(String(rest[0]), String(rest[1]));
        if (name === "HDEL") for (const id of rest) hash.delete(String(id));
        if (name === "XPENDING") return rest[1] === "-" ? [...pending.keys()].map((id) => [id]) : [];
        if (name === "XRANGE") return pending.has(String(rest[0])) ? [[rest[0], ["event", JSON.stringify(pending.get(String(rest[0])))]]] : [];
      },
    };
    const post = async (body: string, headers: Record<string, string>) => {
      step();
      const numbers: number[] = JSON.parse(body).data.map(({ data }: any) => data.n);
      if (numbers.some((n) => n % 9 === 0)) return { meaning: "refused", reason: "no nines" } as const;
      for (const n of numbers) taken.set(n, new Set([...(taken.get(n) ?? []), headers["webhook-id"]]));
      step();
      return { meaning: "taken", reason: "" } as const;
    };
    const [found] = read(destination()).destinations;
    const most = 1 + random(6);
    const sender = new Sender(found, { post }, new Requests(store, "key", "crm", most, 1_000_000, "group", () => true), {
      backoffFirst: 0,
      backoffMost: 0,
      refusedRetry: 0,
    });
    /** As the framework does: a batch that is rejected is halved. */
    const work = async (ids: string[]): Promise<void> => {
      try {
        await sender.take(
          ids.map((id) => pending.get(id)),
          new AbortController().signal,
        );
        if (left <= 0) throw killed;
      } catch (error) {
        if (error === killed || left <= 0) throw killed;
        if (ids.length > 1) {
          await work(ids.slice(0, ids.length >> 1));
          return work(ids.slice(ids.length >> 1));
        }
        buried.add(pending.get(ids[0]).data.n);
      }
      for (const id of ids) pending.delete(id);
    };
    try {
      while (pending.size) await work([...pending.keys()].slice(0, 1 + random(12)));
    } catch (error) {
      if (error !== killed) throw error;
    }
  }
  return { taken, buried };
}
