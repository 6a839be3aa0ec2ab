// PostHog's library in a page: every call once, or many calls in some seconds. It fails unless flags are answered and all events are taken.
import { inTime, load, until } from "/page.mjs";

let taken = 0;
let refused = "";

/** Count the requests with events that front has taken: the library says nothing of them. */
const fetched = window.fetch;
window.fetch = async (url, request) => {
  const response = await fetched(url, request);
  if (String(url).includes("/e/")) {
    if (response.ok) taken += 1;
    else if (response.status < 500 && response.status !== 429) refused = `status ${response.status}`;
  }
  return response;
};

export default async function (front, many) {
  await load("/node_modules/posthog-js/dist/array.js");
  const { posthog } = window;
  await new Promise((loaded) => {
    posthog.init("any", {
      api_host: front, loaded, autocapture: false, capture_pageview: false, capture_pageleave: false, disable_session_recording: true,
      opt_out_useragent_filter: true, request_batching: false, rate_limiting: { events_per_second: 1000, events_burst_limit: 1000 },
    });
  });
  if (many) {
    await inTime(Number(many), (n) => posthog.capture("many", { n }));
    await until(() => taken >= Number(many) || refused, "sending");
    return;
  }
  await new Promise((resolve) => posthog.onFeatureFlags(resolve));
  if (posthog.isFeatureEnabled("any-flag", { send_event: false })) throw new Error("a flag is on");
  posthog.identify("u-1", { plan: "pro" });
  posthog.capture("$pageview");
  posthog.capture("Order Completed", { total: 12.5 });
  posthog.group("company", "g-1", { seats: 3 });
  posthog.alias("a-1");
  await until(() => taken >= 5 || refused, "sending");
  if (refused) throw new Error(refused);
}
