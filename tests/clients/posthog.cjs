// PostHog's library for Node: every call once, or many calls in some seconds. It fails if any call reports an error.
"use strict";
const { PostHog } = require("posthog-node");

const [url, many] = process.argv.slice(2);
const client = new PostHog("any", { host: url, flushAt: 20, flushInterval: 200, fetchRetryCount: 1000, fetchRetryDelay: 200 });
let failed = 0;
client.on("error", (error) => {
  failed += 1;
  console.error(String(error));
});

(async () => {
  if (many) {
    for (let n = 0; n < Number(many); n += 1) {
      client.capture({ distinctId: "u-1", event: "many", properties: { n } });
      if (n % 10 === 9) await new Promise((resolve) => setTimeout(resolve, 50));
    }
  } else {
    const minuteAgo = new Date(Date.now() - 60_000);
    client.capture({ distinctId: "u-1", event: "Order Completed", properties: { total: 12.5 }, timestamp: minuteAgo });
    client.identify({ distinctId: "u-1", properties: { plan: "pro" } });
    client.groupIdentify({ groupType: "company", groupKey: "g-1", properties: { seats: 3 } });
    client.alias({ distinctId: "u-1", alias: "a-1" });
    if ((await client.isFeatureEnabled("any-flag", "u-1", { sendFeatureFlagEvents: false })) === true) failed += 1;
  }
  await client.shutdown(60_000);
  process.exit(failed === 0 ? 0 : 1);
})();
