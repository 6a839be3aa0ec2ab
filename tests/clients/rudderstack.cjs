// RudderStack's library for Node: every call once, or many calls in some seconds. It fails unless all are reported as delivered.
"use strict";
const RudderAnalytics = require("@rudderstack/rudder-sdk-node");
const { Calls } = require("./calls.cjs");

const [url, many] = process.argv.slice(2);
const analytics = new RudderAnalytics("any", { dataPlaneUrl: url, flushInterval: 200, retryCount: 1000, axiosRetryConfig: { retryDelay: () => 200 } });
const calls = new Calls();

(async () => {
  await calls.make(analytics, many);
  const until = Date.now() + 60_000;
  while (calls.delivered + calls.failed < calls.expected && Date.now() < until) {
    await analytics.flush().catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  calls.exit();
})();
