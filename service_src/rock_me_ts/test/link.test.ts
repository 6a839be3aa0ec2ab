/** The connection to a real Redis, as everything else uses it. */

import assert from "node:assert/strict";
import { type AddressInfo, createServer } from "node:net";
import { after, before, test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { RedisClient } from "../lib/compat/redis_client";
import { parseAddress } from "../lib/redis/address";
import { RedisLink } from "../lib/redis/link";
import { Bed, until } from "./support";

const bed = new Bed();
before(() => bed.startRedis());
after(() => bed.end());

test("a reply is kept by whoever asked for it, and by nobody else", async () => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc");
  const link = new RedisLink("test");
  link.start(parseAddress(bed.dsn));
  await link.ready(5000);
  await link.command(["SET", "large", "x".repeat(500_000)]);
  for (let index = 0; index < 100; index += 1) assert.equal((await link.command(["GET", "large"], { raw: true })).length, 500_000);
  // What is collected is freed by another thread, in its own time.
  const kept = () => {
    collect();
    return process.memoryUsage().arrayBuffers;
  };
  await until(kept, (bytes) => bytes < 5_000_000).finally(() => link.close());
});

test("the original's class tries to connect at least once a second, however long Redis is away", async () => {
  const attempts: number[] = [];
  const away = createServer((socket) => {
    attempts.push(Date.now());
    socket.destroy();
  });
  await new Promise<void>((resolve) => away.listen(0, "127.0.0.1", resolve));
  const { client } = new RedisClient({ dsn: `redis://127.0.0.1:${(away.address() as AddressInfo).port}` });
  // A pause that grew on would be 1.6 s at least before the seventh.
  await until(() => attempts.length >= 7).finally(() => {
    client.end();
    away.close();
  });
  const pauses = attempts.slice(1).map((at, index) => at - attempts[index]);
  assert.ok(Math.max(...pauses) < 1400, String(pauses));
});
