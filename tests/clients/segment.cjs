// Segment's library for Node: every call once, or many calls in some seconds. It fails unless all are reported as delivered.
"use strict";
const { Analytics } = require("@segment/analytics-node");
const { Calls } = require("./calls.cjs");

const [url, many] = process.argv.slice(2);
const analytics = new Analytics({ writeKey: "any", host: url, flushInterval: 200, maxRetries: 1000 });
const calls = new Calls();
analytics.on("error", calls.done);

(async () => {
  await calls.make(analytics, many);
  await analytics.closeAndFlush({ timeout: 60_000 });
  calls.exit();
})();
