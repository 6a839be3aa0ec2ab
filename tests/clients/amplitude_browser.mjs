// Amplitude's library in a page: every call once, or many calls in some seconds. It fails unless all are reported as delivered.
import { inTime, load } from "/page.mjs";

export default async function (front, many) {
  await load("/node_modules/@amplitude/analytics-browser/lib/scripts/amplitude-min.js");
  const { amplitude } = window;
  const options = { serverUrl: `${front}/2/httpapi`, flushIntervalMillis: 200, flushMaxRetries: 100, logLevel: 0 };
  await amplitude.init("any", "user-1", { ...options, autocapture: { pageViews: !many, attribution: false, sessions: false, formInteractions: false, fileDownloads: false }, fetchRemoteConfig: false }).promise;
  const calls = [];
  if (many) {
    await inTime(Number(many), (n) => calls.push(amplitude.track("many", { n }).promise));
  } else {
    calls.push(amplitude.track("Order Completed", { total: 12.5 }, { time: Date.now() - 60_000 }).promise);
    calls.push(amplitude.identify(new amplitude.Identify().set("plan", "pro")).promise);
    calls.push(amplitude.groupIdentify("company", "g-1", new amplitude.Identify().set("seats", 3)).promise);
    calls.push(amplitude.setGroup("company", "g-1").promise);
    calls.push(amplitude.revenue(new amplitude.Revenue().setPrice(3).setProductId("p-1")).promise);
  }
  const failed = (await Promise.all(calls)).filter((result) => result.code !== 200);
  if (failed.length > 0) throw new Error(JSON.stringify(failed[0]));
}
