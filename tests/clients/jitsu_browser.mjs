// Jitsu's library in a page: every call once. It fails if any call reports an error.
import { jitsuAnalytics } from "/node_modules/@jitsu/js/dist/jitsu.es.js";

export default async function (front) {
  const analytics = jitsuAnalytics({ host: front, writeKey: "any:key", errorPolicy: "rethrow" });
  await analytics.identify("u-1", { plan: "pro" });
  await analytics.page({ name: "Home" });
  await analytics.track("Order Completed", { total: 12.5 });
  await analytics.group("g-1", { seats: 3 });
}
