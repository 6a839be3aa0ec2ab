// RudderStack's library for Node: every call once, or many calls in some seconds. It fails unless all are reported as delivered.
"use strict";
const RudderAnalytics = require("@rudderstack/rudder-sdk-node");

const [url, many] = process.argv.slice(2);
const analytics = new RudderAnalytics("any", { dataPlaneUrl: url, flushInterval: 200, retryCount: 1000, axiosRetryConfig: { retryDelay: () => 200 } });
let failed = 0;
let delivered = 0;

const done = (error) => {
  if (error) {
    failed += 1;
    console.error(String(error));
  } else delivered += 1;
};

const user = { userId: "u-1" };

async function everyCall() {
  analytics.identify({ ...user, traits: { plan: "pro" } }, done);
  analytics.track({ ...user, event: "Order Completed", properties: { total: 12.5 }, timestamp: new Date(Date.now() - 60_000) }, done);
  analytics.page({ anonymousId: "a-1", name: "Home", category: "Docs", properties: { url: "https://shop.example/?a=1", title: "Shop" } }, done);
  analytics.screen({ ...user, name: "Settings" }, done);
  analytics.group({ ...user, groupId: "g-1", traits: { seats: 3 } }, done);
  analytics.alias({ ...user, previousId: "a-1" }, done);
  return 6;
}

async function manyCalls(count) {
  for (let n = 0; n < count; n += 1) {
    analytics.track({ ...user, event: "many", properties: { n } }, done);
    if (n % 10 === 9) await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return count;
}

(async () => {
  const expected = await (many ? manyCalls(Number(many)) : everyCall());
  const until = Date.now() + 60_000;
  while (delivered + failed < expected && Date.now() < until) {
    await analytics.flush().catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  console.log(`delivered ${delivered}, failed ${failed}`);
  process.exit(failed === 0 && delivered === expected ? 0 : 1);
})();
