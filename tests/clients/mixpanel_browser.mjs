// Mixpanel's library in a page: every call once, or many calls in some seconds. It fails unless its queues are empty at the end.
import mixpanel from "/node_modules/mixpanel-browser/dist/mixpanel.module.js";
import { inTime, until } from "/page.mjs";

const queued = () =>
  ["ev", "pp", "gr"].reduce((count, queue) => count + JSON.parse(localStorage.getItem(`__mpq_any_${queue}`) || "[]").length, 0);

function everyCall() {
  mixpanel.identify("u-1");
  mixpanel.register({ plan: "pro" });
  mixpanel.track("Order Completed", { total: 12.5, items: [{ sku: "A" }], nothing: null });
  mixpanel.track_pageview();
  mixpanel.alias("a-2");
  const { people } = mixpanel;
  people.set({ plan: "pro" });
  people.set_once({ first: "a" });
  people.increment("n", 2);
  people.append("list", "a");
  people.union({ list: ["b"] });
  people.remove("list", "a");
  people.unset("first");
  people.clear_charges();
  const group = mixpanel.get_group("company", "g-1");
  group.set({ seats: 3 });
  group.set_once({ first: "a" });
  group.union("list", ["a"]);
  group.remove("list", "a");
  group.unset("first");
  mixpanel.get_group("company", "g-2").delete();
  people.delete_user();
}

export default async function (front, many) {
  const errors = [];
  mixpanel.init("any", { api_host: front, batch_flush_interval_ms: 100, error_reporter: (error) => errors.push(error) });
  if (many) await inTime(Number(many), (n) => mixpanel.track("many", { n }));
  else everyCall();
  let empty = 0; // a call is not in its queue at once
  await until(() => (empty = queued() === 0 ? empty + 1 : 0) > 15, "sending");
  if (!many && errors.length > 0) throw new Error(String(errors[0]));
  return errors.length;
}
