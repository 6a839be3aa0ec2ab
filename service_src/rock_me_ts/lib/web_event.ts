/** What the browser SDK (`service_src/web_sdk`) sends: the `data` of an event that a browser made. No code, so both packages share it. */

/** How a visitor came to the site. */
export type SourceType = "campaign" | "partner" | "organic" | "social" | "referral" | "internal" | "direct" | "webview";

export interface WebPage {
  title?: string;
  /** The page before this one: the referrer, or the last route of a single-page application. */
  ref?: string;
  url?: string;
  [field: string]: any;
}

export interface WebUser {
  id?: string | number;
  /** Each trait is also a field beside `id`. */
  traits?: Record<string, any>;
  /** The browser's clock, in milliseconds since 1970. */
  ts?: number;
  /** The name of the time zone. */
  tz?: string;
  /** Minutes that the time zone is ahead of UTC, times 1000. */
  tzo?: number;
  [field: string]: any;
}

export interface WebSession {
  num?: number;
  /** Milliseconds since 1970. */
  start?: number;
  type?: SourceType;
  /** The search engine or network, if a rule knows it. */
  engine?: string;
  refhost?: string;
  keyword?: string;
  marks?: Record<string, string | number>;
  hasMarks?: boolean;
  marksHash?: number;
  pageNum?: number;
  eventNum?: number;
  [field: string]: any;
}

/** Pixels; `scroll` and `maxScroll` in percent. */
export interface WebScroll {
  docHeight: number;
  clientHeight: number;
  topOffset: number;
  scroll: number;
  maxScroll: number;
}

export interface WebLibrary {
  id: string;
  /** Version, packed: major · 10^6 + minor · 10^3 + patch. */
  v?: number;
  /** Version of the snippet. */
  sv?: string;
  [field: string]: any;
}

export interface WebEvent {
  service?: string;
  name?: string;
  /** What the page passed. */
  data?: Record<string, any>;
  projectId?: number | string;
  uid?: string;
  /** The same in each attempt to send the event. */
  dedup?: string;
  /** When it happened, by the browser's clock, if it was sent later. */
  ts?: number;
  user?: WebUser;
  page?: WebPage;
  sess?: WebSession;
  /** What the browser can do: localStorage, sendBeacon. */
  char?: { ls?: boolean; sb?: boolean };
  /** Window and screen (`w`, `h`, `tw`, `th` …), client hints (`uad`), connection (`nc`). */
  browser?: Record<string, any>;
  lib?: WebLibrary;
  /** Milliseconds of the page load since the connection began. */
  perf?: Record<string, number>;
  scroll?: WebScroll;
  consent?: boolean;
  cookieless?: boolean;
  gpc?: boolean;
}
