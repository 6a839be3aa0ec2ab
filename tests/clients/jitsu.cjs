// Jitsu's library in Node: every call once. It fails if any call reports an error.
"use strict";
const { jitsuAnalytics } = require("@jitsu/js");

const user = { userId: "u-1" };

(async () => {
  for (const s2s of [true, false]) {
    const analytics = jitsuAnalytics({ host: process.argv[2], writeKey: "any:key", s2s, fetch, errorPolicy: "rethrow" });
    await analytics.track("Order Completed", { total: 12.5 }, user);
    await analytics.identify("u-1", { plan: "pro" });
    await analytics.page({ name: "Home", url: "https://shop.example/?a=1", title: "Shop" });
    await analytics.group("g-1", { seats: 3 });
  }
  process.exit(0);
})();
