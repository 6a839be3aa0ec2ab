/** What the browser says about itself and the page. */

import type { WebEvent, WebUser } from "@rockstat/rock-me-ts";
import { available } from "./storage";

const nav = navigator as Navigator & { connection?: { effectiveType?: string }; userAgentData?: any; globalPrivacyControl?: boolean };
const hints: Record<string, unknown> = {};

const HIGH_ENTROPY = ["architecture", "bitness", "model", "platformVersion", "fullVersionList", "wow64"];

/** Asks for client hints; later events have them. */
export function askHints(): void {
  const data = nav.userAgentData;
  if (!data) return;
  Object.assign(hints, data.toJSON?.());
  data.getHighEntropyValues?.(HIGH_ENTROPY).then(
    (found: object) => Object.assign(hints, found),
    () => {},
  );
}

export const gpc = (): boolean => nav.globalPrivacyControl === true;

export function clock(): WebUser {
  const now = new Date();
  return { ts: now.getTime(), tz: /\((.*)\)/.exec(now.toString())?.[1] ?? "", tzo: -now.getTimezoneOffset() * 1000 };
}

function framed(): number {
  try {
    return window === window.top ? 0 : 1;
  } catch {
    return 1;
  }
}

export function browserData(): Record<string, unknown> {
  const { screen } = window;
  return {
    if1: framed(),
    uad: hints,
    nc: nav.connection?.effectiveType,
    w: window.innerWidth,
    h: window.innerHeight,
    tw: screen.width,
    th: screen.height,
    aw: screen.availWidth,
    ah: screen.availHeight,
    sopr: Math.round((window.devicePixelRatio || 1) * 1000),
    soa: screen.orientation?.angle,
    sot: screen.orientation?.type,
    plt: nav.platform,
    prd: nav.product,
  };
}

export const abilities = (): WebEvent["char"] => ({ ls: available(), sb: "sendBeacon" in nav });

const TIMES: Record<string, keyof PerformanceTiming> = {
  ce: "connectEnd",
  scs: "secureConnectionStart",
  rqs: "requestStart",
  rss: "responseStart",
  rse: "responseEnd",
  dl: "domLoading",
  di: "domInteractive",
  dc: "domComplete",
};

/** Returns when the page's load passed each point, in milliseconds since the connection began; -1 for what has not happened. */
export function loadTimes(): Record<string, number> | undefined {
  const { timing } = performance;
  if (!timing) return undefined;
  const found: Record<string, number> = { cs: 0 };
  for (const [name, point] of Object.entries(TIMES)) {
    const at = timing[point] as number;
    found[name] = at ? at - timing.connectStart : -1;
  }
  return found;
}
