// Mixpanel's library for Node: every call once, or many calls in some seconds. It fails unless all are reported as delivered.
// The library reports each request that failed, and does not send it again: of many calls this program does.
"use strict";
const Mixpanel = require("mixpanel");

const [url, many] = process.argv.slice(2);
const { hostname: host, port } = new URL(url);
const client = Mixpanel.init("any", { host, port, protocol: "http", key: "any", verbose: true });
const user = { distinct_id: "u-1" };
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const delivered = (object, method, ...words) =>
  new Promise((resolve, reject) => {
    object[method](...words, (error) => {
      const first = Array.isArray(error) ? error.find(Boolean) : error;
      if (first) reject(first);
      else resolve();
    });
  });

async function everyCall() {
  const minuteAgo = new Date(Date.now() - 60_000);
  const { people, groups } = client;
  await delivered(client, "track", "Order Completed", { ...user, total: 12.5, time: minuteAgo, $insert_id: "i-1" });
  await delivered(client, "track_batch", [{ event: "Batch 1", properties: user }, { event: "Batch 2", properties: user }]);
  await delivered(client, "import", "Imported", minuteAgo, { ...user });
  await delivered(client, "import_batch", [{ event: "Imported in a batch", properties: { ...user, time: minuteAgo } }]);
  await delivered(client, "alias", "u-1", "a-1");
  await delivered(people, "set", "u-1", { plan: "pro" });
  await delivered(people, "set_once", "u-1", { first: "a" });
  await delivered(people, "increment", "u-1", { n: 2 });
  await delivered(people, "append", "u-1", { list: "a" });
  await delivered(people, "union", "u-1", { list: ["b"] });
  await delivered(people, "remove", "u-1", { list: "a" });
  await delivered(people, "unset", "u-1", "first");
  await delivered(people, "track_charge", "u-1", 3);
  await delivered(people, "clear_charges", "u-1");
  await delivered(people, "delete_user", "u-2");
  await delivered(groups, "set", "company", "g-1", { seats: 3 });
  await delivered(groups, "set_once", "company", "g-1", { first: "a" });
  await delivered(groups, "union", "company", "g-1", { list: ["a"] });
  await delivered(groups, "remove", "company", "g-1", { list: "a" });
  await delivered(groups, "unset", "company", "g-1", "first");
  await delivered(groups, "delete_group", "company", "g-2");
}

async function untilDelivered(n) {
  for (;;) {
    try {
      return await delivered(client, "track", "many", { ...user, n, $insert_id: `i-${n}` });
    } catch {
      await wait(200);
    }
  }
}

async function manyCalls(count) {
  const calls = [];
  for (let n = 0; n < count; n += 1) {
    calls.push(untilDelivered(n));
    if (n % 10 === 9) await wait(50);
  }
  await Promise.all(calls);
}

(many ? manyCalls(Number(many)) : everyCall()).then(
  () => process.exit(0),
  (error) => {
    console.error(String(error));
    process.exit(1);
  },
);
