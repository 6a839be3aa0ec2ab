// Amplitude's library for Node: every call once, or many calls in some seconds. It fails unless all are reported as delivered.
"use strict";
const amplitude = require("@amplitude/analytics-node");

const [url, many] = process.argv.slice(2);
const user = { user_id: "user-1" };

(async () => {
  await amplitude.init("any", { serverUrl: `${url}/2/httpapi`, flushIntervalMillis: 200, flushMaxRetries: 100, logLevel: 0 }).promise;
  const calls = [];
  if (many) {
    for (let n = 0; n < Number(many); n += 1) {
      calls.push(amplitude.track("many", { n }, user).promise);
      if (n % 10 === 9) await new Promise((resolve) => setTimeout(resolve, 50));
    }
  } else {
    calls.push(amplitude.track("Order Completed", { total: 12.5 }, { ...user, time: Date.now() - 60_000 }).promise);
    calls.push(amplitude.identify(new amplitude.Identify().set("plan", "pro"), user).promise);
    calls.push(amplitude.groupIdentify("company", "g-1", new amplitude.Identify().set("seats", 3), user).promise);
    calls.push(amplitude.setGroup("company", "g-1", user).promise);
    calls.push(amplitude.revenue(new amplitude.Revenue().setPrice(3).setProductId("p-1"), user).promise);
  }
  const results = await Promise.all(calls);
  const failed = results.filter((result) => result.code !== 200);
  if (failed.length > 0) console.error(failed[0]);
  process.exit(failed.length === 0 ? 0 : 1);
})();
