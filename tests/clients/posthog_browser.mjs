// PostHog's library in a page: every call once. It fails unless flags are answered and all events are sent.
import { load, pause } from "/page.mjs";

export default async function (front) {
  await load("/node_modules/posthog-js/dist/array.js");
  const { posthog } = window;
  await new Promise((loaded) => {
    posthog.init("any", { api_host: front, capture_pageview: false, autocapture: false, disable_session_recording: true, opt_out_useragent_filter: true, request_batching: false, loaded });
  });
  await new Promise((resolve) => posthog.onFeatureFlags(resolve));
  if (posthog.isFeatureEnabled("any-flag", { send_event: false })) throw new Error("a flag is on");
  posthog.identify("u-1", { plan: "pro" });
  posthog.capture("$pageview");
  posthog.capture("Order Completed", { total: 12.5 });
  posthog.group("company", "g-1", { seats: 3 });
  posthog.alias("a-1");
  await pause(1000);
}
