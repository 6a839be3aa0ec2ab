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

test("numbers are read in every form", () => {
  const read = decode([
    Buffer.from(":0\r\n:-7\r\n:+7\r\n:999999999\r\n:1234567890123\r\n,-1.5e3\r\n,inf\r\n,-inf\r\n(12345678901234567890\r\n#f\r\n*0\r\n*-1\r\n"),
  ]);
  assert.deepEqual(read, [0, -7, 7, 999999999, 1234567890123, -1500, Infinity, -Infinity, "12345678901234567890", false, [], null]);
});

test("texts are bytes where they are asked for", () => {
  assert.deepEqual(decode([Buffer.from("*1\r\n$2\r\n\xff\xfe\r\n", "latin1")], true), [[Buffer.from([255, 254])]]);
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
