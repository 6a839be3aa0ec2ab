// Segment's library in a page: every call once, or many calls in some seconds. It fails if any delivery fails.
import { inTime, load, until } from "/page.mjs";

let taken = 0;

/** Count the events that front has taken: the library itself says only what it has given up. */
const fetched = window.fetch;
window.fetch = async (url, request) => {
  const response = await fetched(url, request);
  if (response.ok && request && request.body) taken += (JSON.parse(request.body).batch || [0]).length;
  return response;
};

export default async function (front, strategy, many) {
  await load("/node_modules/@segment/analytics-next/dist/umd/index.js");
  const batching = { strategy: "batching", config: { size: 50, timeout: 200 } };
  const analytics = new window.AnalyticsNext.AnalyticsBrowser();
  const failed = [];
  analytics.on("error", (error) => failed.push(error));
  analytics.load(
    { writeKey: "any", cdnURL: front },
    strategy === "batching" ? { integrations: { "Segment.io": { deliveryStrategy: batching } } } : {},
  );
  if (many) {
    await inTime(Number(many), (n) => analytics.track("many", { n }));
  } else {
    await analytics.identify("u-1", { plan: "pro" });
    await analytics.track("Order Completed", { total: 12.5 }, { timestamp: new Date(Date.now() - 60_000) });
    await analytics.page("Docs", "Home");
    await analytics.screen("Settings");
    await analytics.group("g-1", { seats: 3 });
    await analytics.alias("u-1", "a-1");
  }
  await until(() => taken === Number(many || 6) || failed.length > 0, "sending");
  if (failed.length > 0) throw new Error(String(failed[0].reason || failed[0]));
}
