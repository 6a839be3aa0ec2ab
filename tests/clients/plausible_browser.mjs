// Plausible's library in a page: every call once. It fails unless each response is a success.
import { init, track } from "/node_modules/@plausible-analytics/tracker/plausible.js";

const sent = (name, options = {}) =>
  new Promise((resolve, reject) => {
    const callback = ({ status, error } = {}) => (status === 202 ? resolve() : reject(error || new Error(`status ${status}`)));
    track(name, { ...options, callback });
  });

export default async function (front) {
  init({ domain: "shop.example", endpoint: `${front}/api/event`, captureOnLocalhost: true, autoCapturePageviews: false });
  await sent("pageview");
  await sent("Order Completed", { props: { total: 12.5 }, revenue: { currency: "EUR", amount: 12.5 }, interactive: false });
}
