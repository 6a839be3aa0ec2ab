import assert from "node:assert/strict";
import { test } from "node:test";
import { RedisReplyError } from "../lib/errors";
import { parseAddress, showAddress } from "../lib/redis/address";
import { Decoder, encode, Push } from "../lib/redis/resp";

const REPLIES = Buffer.from(
  "+OK\r\n:42\r\n$-1\r\n$6\r\nБox\r\n\r\n*2\r\n$1\r\na\r\n*1\r\n:1\r\n%1\r\n$1\r\nk\r\n#t\r\n_\r\n,1.5\r\n>3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\n{}\r\n-ERR no\r\n",
);

function decode(chunks: Buffer[], raw = false): any[] {
  const decoder = new Decoder();
  const found: any[] = [];
  const memory = Buffer.alloc(Math.max(...chunks.map((chunk) => chunk.length))); // as a connection does: one for all reads
  for (const chunk of chunks) {
    memory.fill(0);
    chunk.copy(memory);
    decoder.feed(
      memory.subarray(0, chunk.length),
      () => raw,
      (reply) => found.push(reply),
    );
  }
  memory.fill(0);
  return found;
}

test("replies are read whatever the borders of the chunks", () => {
  for (const size of [1, 2, 3, 7, 64, 1000]) {
    const chunks: Buffer[] = [];
    for (let at = 0; at < REPLIES.length; at += size) chunks.push(REPLIES.subarray(at, at + size));
    const found = decode(chunks);
    assert.deepEqual(found.slice(0, 5), ["OK", 42, null, "Бox\r\n", ["a", [1]]]);
    assert.deepEqual([...found[5]], [["k", true]]);
    assert.deepEqual(found.slice(6, 8), [null, 1.5]);
    assert.ok(found[8] instanceof Push);
    assert.deepEqual(found[8].items, ["message", "c", "{}"]);
    assert.ok(found[9] instanceof RedisReplyError && found[9].code === "ERR");
    assert.equal(found.length, 10);
  }
});

test("long texts are read from many chunks, with what stands before and behind them", () => {
  const texts = [10, 70_000, 3, 200_000, 3_000_000, 65_536, 1].map((size, number) => String(number).repeat(size));
  const bytes = Buffer.from(texts.map((text) => `$${text.length}\r\n${text}\r\n`).join(""));
  for (const size of [1000, 65_536, 1_000_003]) {
    const chunks: Buffer[] = [];
    for (let at = 0; at < bytes.length; at += size) chunks.push(bytes.subarray(at, at + size));
    assert.ok(decode(chunks).every((text, number) => text === texts[number]));
  }
});

test("numbers are read in every form", () => {
  const read = decode([
    Buffer.from(":0\r\n:-7\r\n:+7\r\n:999999999\r\n:1234567890123\r\n,-1.5e3\r\n,inf\r\n,-inf\r\n(12345678901234567890\r\n#f\r\n*0\r\n*-1\r\n"),
  ]);
  assert.deepEqual(read, [0, -7, 7, 999999999, 1234567890123, -1500, Infinity, -Infinity, "12345678901234567890", false, [], null]);
});

test("texts are bytes where they are asked for", () => {
  assert.deepEqual(decode([Buffer.from("*1\r\n$2\r\n\xff\xfe\r\n", "latin1")], true), [[Buffer.from([255, 254])]]);
});

test("maps, attributes and what is empty or nested are read across borders", () => {
  const bytes = Buffer.from("|1\r\n+ttl\r\n:3\r\n*2\r\n%0\r\n~2\r\n*0\r\n=7\r\ntxt:abc\r\n|0\r\n!6\r\nERR no\r\n>0\r\n");
  for (const size of [1, 5, 1000]) {
    const chunks: Buffer[] = [];
    for (let at = 0; at < bytes.length; at += size) chunks.push(bytes.subarray(at, at + size));
    const found = decode(chunks);
    assert.deepEqual(found[0], [new Map(), [[], "abc"]]);
    assert.ok(found[1] instanceof RedisReplyError && found[2] instanceof Push);
    assert.deepEqual(decode(chunks, true)[0][1], [[], Buffer.from("abc")]);
  }
  assert.throws(() => decode([Buffer.from("*1\r\n".repeat(33))]), /too deeply/);
});

test("a long reply leaves no more garbage than its own size", () => {
  const text = `$100000\r\n${"x".repeat(100_000)}\r\n`;
  const reply = Buffer.from(`*100\r\n${text.repeat(100)}`);
  const decoder = new Decoder();
  let found: Buffer[] = [];
  let allocated = 0;
  const { allocUnsafeSlow, from, concat } = Buffer;
  const counted = <T extends (...words: any[]) => Buffer>(make: T) =>
    ((...words: any[]) => {
      const made = make.apply(Buffer, words);
      allocated += made.length;
      return made;
    }) as T;
  Object.assign(Buffer, { allocUnsafeSlow: counted(allocUnsafeSlow), from: counted(from as any), concat: counted(concat) });
  try {
    for (let at = 0; at < reply.length; at += 65_536)
      decoder.feed(
        reply.subarray(at, at + 65_536),
        () => true,
        (whole) => {
          found = whole;
        },
      );
  } finally {
    Object.assign(Buffer, { allocUnsafeSlow, from, concat });
  }
  assert.deepEqual([found.length, found.every((one) => one.length === 100_000)], [100, true]);
  assert.ok(allocated < 1.1 * reply.length, `${allocated} bytes were allocated for a reply of ${reply.length}`);
});

test("what is no RESP is an error", () => {
  assert.throws(() => decode([Buffer.from("HTTP/1.1 400\r\n")]), /byte 72/);
});

test("a command with bytes and one with texts are the same on the wire", () => {
  assert.equal(encode(["SET", "ж", 1]), "*3\r\n$3\r\nSET\r\n$2\r\nж\r\n$1\r\n1\r\n");
  assert.deepEqual(encode(["SET", Buffer.from("ж"), 1]), Buffer.from("*3\r\n$3\r\nSET\r\n$2\r\nж\r\n$1\r\n1\r\n"));
});

test("an address is read in every form, and never shown with its password", () => {
  const whole = parseAddress("rediss://us%40r:p%3Aw@[::1]:7000/3");
  assert.deepEqual([whole.host, whole.port, whole.db, whole.username, whole.password, whole.tls], ["::1", 7000, 3, "us@r", "p:w", true]);
  assert.equal(showAddress(whole), "rediss://::1:7000/3");
  assert.equal(parseAddress("unix:///run/redis.sock?db=2").path, "/run/redis.sock");
  assert.equal(parseAddress("redis://:canary@h").password, "canary");
  for (const wrong of ["http://:canary@h", "redis://:canary@h/x", "canary"]) {
    assert.throws(
      () => parseAddress(wrong),
      (error: Error) => /REDIS_DSN/.test(error.message) && !error.message.includes("canary"),
    );
  }
});
