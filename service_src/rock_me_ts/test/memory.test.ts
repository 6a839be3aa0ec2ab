/** The in-memory Redis against a real one: the same commands in the same order have the same replies. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { parseAddress } from "../lib/redis/address";
import { RedisLink } from "../lib/redis/link";
import { Refused, Store } from "../lib/redis/memory_store";
import { Bed } from "./support";

const bed = new Bed();
before(() => bed.startRedis());
after(() => bed.end());

type Word = string | number;
const LET = "return redis.call('get', KEYS[1]) == ARGV[1] and redis.call('del', KEYS[1]) or 0";
const HOLD = "return redis.call('get', KEYS[1]) == ARGV[1] and redis.call('pexpire', KEYS[1], ARGV[2]) or 0";
const BEGINNING: Word[][] = [
  ...[1, 2, 3, 4, 5, 6].map((n) => ["XADD", "events", `1-${n}`, "event", "{}"]),
  ["XGROUP", "CREATE", "events", "one", "0"],
  ["XREADGROUP", "GROUP", "one", "a", "COUNT", 4, "STREAMS", "events", ">"],
  ["XDEL", "events", "1-2"],
];

/** Returns a function that draws the same numbers in every run. */
function draws(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return (state >> 8) % below;
  };
}

function command(draw: (below: number) => number): Word[] {
  const one = <T>(...options: T[]): T => options[draw(options.length)];
  const key = () => one("events", "events", "events", "events", "events", "other");
  const group = () => one("one", "one", "one", "one", "two");
  const consumer = () => one("a", "b");
  const id = () => `${one(1, 1, 1, 2, 3)}-${draw(7)}`;
  const ids = () => Array.from({ length: 1 + draw(3) }, id);
  const begin = () => one("-", id(), `(${id()}`, String(1 + draw(3)));
  const end = () => one("+", id(), `(${id()}`, String(1 + draw(3)));
  const count = () => 1 + draw(4);
  const fields = () => one(["event", "{}"], ["event", "x".repeat(40), "trace", "{}"]);
  const options: (() => Word[])[] = [
    () => ["XADD", key(), id(), ...fields()],
    () => ["XADD", "events", "MAXLEN", "=", count(), id(), ...fields()],
    () => ["XLEN", key()],
    () => ["XRANGE", key(), begin(), end()],
    () => ["XRANGE", key(), begin(), end(), "COUNT", count()],
    () => ["XREVRANGE", key(), end(), begin(), "COUNT", count()],
    () => ["XDEL", key(), ...ids()],
    () => ["XTRIM", key(), ...one<Word[]>(["MAXLEN", count()], ["MINID", id()])],
    () => ["XGROUP", "CREATE", key(), group(), one("0", "$", "2-1")],
    () => ["XGROUP", "CREATE", key(), group(), id(), "MKSTREAM"],
    () => ["XGROUP", "DESTROY", key(), "two"],
    () => ["XGROUP", "DELCONSUMER", key(), group(), consumer()],
    () => ["XREADGROUP", "GROUP", group(), consumer(), "COUNT", count(), "STREAMS", "events", one(">", ">", id())],
    () => ["XACK", key(), group(), ...ids()],
    () => ["XPENDING", key(), group()],
    () => ["XPENDING", key(), group(), begin(), end(), count(), ...one<Word[]>([], [consumer()])],
    () => ["XCLAIM", key(), group(), consumer(), one(0, 1_800_000), ...ids()],
    () => ["XCLAIM", key(), group(), consumer(), 0, ...ids(), ...one<Word[]>(["JUSTID"], ["IDLE", 3_600_000, "JUSTID"], ["RETRYCOUNT", 0, "JUSTID"])],
    () => ["XAUTOCLAIM", key(), group(), consumer(), one(0, 1_800_000), one("0", id()), "COUNT", count()],
    () => ["XINFO", ...one<Word[]>(["STREAM", key()], ["GROUPS", key()], ["CONSUMERS", key(), group()])],
    () => ["DEL", one("events", "other", "hash", "text")],
    () => ["HSET", one("hash", "events"), one("f", "g"), count()],
    () => ["HSETNX", "hash", one("f", "g"), count()],
    () => ["HMGET", "hash", "f", "g"],
    () => ["HGET", "hash", "f"],
    () => ["HDEL", "hash", "f", ...one<Word[]>([], ["g"])],
    () => ["EXISTS", key(), "hash", "text"],
    () => ["EXPIRE", one("hash", "text"), 1000],
    () => ["SET", "text", one("a", "b"), "NX", "PX", 100_000],
    () => ["GET", one("text", "events")],
    () => ["EVAL", LET, 1, "text", one("a", "b")],
    () => ["EVAL", HOLD, 1, "text", one("a", "b"), 100_000],
  ];
  return one(...options)();
}

const KEPT = new Set(["length", "last-generated-id", "entries-added", "name", "pending", "last-delivered-id"]);
const TIMES = new Set(["XPENDING"]);

/** Returns a reply as it can be compared: no times, and of XINFO only what the package reads. */
function plain(reply: any, words: Word[]): any {
  if (reply instanceof Error) return `error ${reply.message}`;
  if (Buffer.isBuffer(reply)) return reply.toString();
  if (reply instanceof Map) {
    const rows = [...reply].filter(([name]) => words[0] !== "XINFO" || KEPT.has(name));
    return Object.fromEntries(rows.map(([name, value]) => [name, plain(value, words)]));
  }
  if (!Array.isArray(reply)) return reply;
  const items = TIMES.has(String(words[0])) && reply.length === 4 && typeof reply[2] === "number" ? reply.toSpliced(2, 1) : reply;
  return items.map((item) => plain(item, words));
}

test("histories on it and on a real Redis have the same replies", async () => {
  for (let seed = 1; seed <= 60; seed += 1) {
    const draw = draws(seed);
    const store = new Store();
    await bed.ask("FLUSHALL");
    const history = [...BEGINNING, ...Array.from({ length: 60 }, () => command(draw))];
    for (const [place, words] of history.entries()) {
      const real = await bed.ask(...words).catch((error) => error);
      let ours: unknown;
      try {
        ours = store.answer(words);
      } catch (error) {
        assert.ok(error instanceof Refused, String((error as Error).stack));
        ours = error;
      }
      assert.deepEqual(plain(ours, words), plain(real, words), `seed ${seed}, command ${place}: ${words.join(" ")}`);
    }
  }
});

test("what it does not know is refused, and a reader waits for what comes", async () => {
  const [one, other] = [new RedisLink("one"), new RedisLink("other")];
  for (const link of [one, other]) link.start(parseAddress("memory://waits"));
  await Promise.all([one.ready(1000), other.ready(1000)]);
  await assert.rejects(one.command(["LPUSH", "a", "b"]), /a test of this needs a real Redis/);
  await one.command(["XGROUP", "CREATE", "events", "g", "$", "MKSTREAM"]);
  const read = (ms: number) => one.command(["XREADGROUP", "GROUP", "g", "c", "COUNT", 9, "BLOCK", ms, "STREAMS", "events", ">"]);
  assert.equal(await read(20), null);
  const waiting = read(5000);
  await other.command(["XADD", "events", "*", "event", "{}"]);
  assert.equal((await waiting).get("events").length, 1);
  const lost = read(5000);
  await one.close();
  await assert.rejects(lost, /connection to Redis was lost/);
  await other.close();
});
