/** The tracker: one to a page. It opens when it is configured, and sends when it knows whether it may keep a uid, and which. */

import type { WebEvent } from "@rockstat/rock-me-ts";
import { abilities, askHints, browserData, clock, gpc, loadTimes } from "./browser";
import { isUid, packed, projectIdOf, randomId } from "./ids";
import { baseOf, grants, type Mode, modeOf, type Options, refuses } from "./options";
import { countEvent, sessionData, sessionNumber } from "./session";
import * as storage from "./storage";
import { ask, call, flush, send, wire } from "./transport";
import { type Activity, position, watchActivity, watchClicks, watchForms, watchRoutes } from "./watch";

export const VERSION = "5.0.0";

type Data = Record<string, any>;
type Callback = (...given: any[]) => void;

const MODE_SECONDS = 3600;
const NO_SCROLL = ["session", "page", "page_loaded", "user_params", "identify"];

/** What the page said of itself when it included the SDK. */
export const page = { global: "rstat4", script: "", nonce: "", server: "", prefix: "", snippet: undefined as string | undefined };

const [domain, projectId] = projectIdOf(location.hostname);

const options: Options = {
  server: "",
  pathPrefix: "",
  urlMark: "band",
  projectId,
  key: "",
  sessionTimeout: 1800,
  lastCampaignExpires: 7_776_000,
  cookieDomain: domain,
  cookiePath: "/",
  cookiePrefix: "",
  lcPrefix: "",
  trackActivity: true,
  trackClicks: true,
  trackForms: true,
  trackPages: false,
  trackVitals: false,
  allowSendBeacon: true,
  allowXHR: true,
};

let opened = false;
let ready = false;
let leaving = false;
let silent = false;
let loaded = false;
let logging = false;
let mode: Mode | undefined;
let uid = "";
let asking: Promise<unknown> = Promise.resolve();
let activity: Activity | undefined;
let held: (() => void)[] = [];
let ref = document.referrer;
let viewed = "";
let vitals: Data | undefined;

const callbacks: Record<"ready" | "event" | "internal", Callback[]> = { ready: [], event: [], internal: [] };
const tell = (which: keyof typeof callbacks, ...given: unknown[]): void => {
  for (const callback of callbacks[which]) callback(...given);
};

export const warn = (text: unknown): void => console.warn(`${page.global}: ${text}`);

/** Returns what was said of consent: by the visitor, else by the page. A refusal wins. */
function said(): boolean | undefined {
  const choice = storage.choice();
  const told = options.consent === undefined || modeOf(options.consent) ? undefined : grants(options.consent);
  return choice === "no" || told === false ? false : choice === "yes" ? true : told;
}

/** Whether the visitor's data may be kept in this browser. */
const mayKeep = (): boolean => said() ?? (mode === "off" || (mode === "opt-out" && !gpc()));

/** Returns the visitor's consent: undefined if nobody asked for it. */
const consent = (): boolean | undefined => said() ?? (mode === "opt-in" || (mode === "opt-out" && gpc()) ? false : undefined);

// --- opening

/** Opens the tracker: from here on the options hold. */
export function open(): void {
  if (opened) return;
  opened = true;
  if (options.allowHTTP === false && location.protocol !== "https:") {
    silent = true;
    warn("allowHTTP is false, and this page has no TLS: nothing is sent");
    return;
  }
  place();
  if ((silent = storage.ignored())) return;
  identifyVisitor();
}

function place(): void {
  const old = page.global === "rstat";
  storage.place({
    prefix: options.lcPrefix || (old ? "rst:" : "rst4:"),
    cookiePrefix: options.cookiePrefix || (old ? "rst-" : "rst4-"),
    domain: options.cookieDomain === "auto" ? domain : options.cookieDomain,
    path: options.cookiePath,
  });
  wire.base = baseOf(options.server || page.server, options.pathPrefix || page.prefix, page.script, options.allowHTTP);
  wire.mark = options.urlMark;
  wire.key = options.key;
  wire.projectId = options.projectId;
  wire.beacon = options.allowSendBeacon;
  wire.xhr = options.allowXHR;
}

function identifyVisitor(): void {
  storage.persist(true);
  Object.assign(options, storage.get("slfsh"));
  mode = modeOf(options.consent) ?? storage.get<Mode>("cmode");
  uid = storage.keptUids().find(isUid) ?? "";
  const unsure = !mode && said() === undefined;
  storage.persist(mayKeep());
  if (unsure || (mayKeep() && !uid)) asking = learn(unsure);
  else settle();
}

/** Learns from the server what the page and the browser do not say. */
async function learn(unsure: boolean): Promise<void> {
  try {
    const found = await ask();
    if (unsure) mode = modeOf(found.consent) ?? "off";
    uid ||= isUid(found.uid) ? found.uid : "";
    storage.persist(mayKeep());
    if (unsure && mayKeep()) storage.set("cmode", mode, { expires: MODE_SECONDS });
  } catch {
    // Without an answer nothing is kept; the server's cookie says who the visitor is.
  }
  settle();
}

/** Sends what was held back, now that the visitor is known. */
function settle(): void {
  if (mayKeep()) {
    if (uid) storage.keepUid(uid);
  } else uid = "";
  wire.credentials = mode === "cookieless" && !mayKeep() ? "omit" : "include";
  if (document.readyState === "loading" && !leaving) document.addEventListener("DOMContentLoaded", begin);
  else begin();
}

function begin(): void {
  const first = !ready && !loaded;
  ready = true;
  if (first) watch();
  const calls = held;
  held = [];
  for (const each of calls) each();
  flush();
  if (first) tell("ready");
}

const whenReady = (act: () => void): void => {
  if (ready) act();
  else held.push(act);
};

/** Events that no call of the page made: none of a visitor who refuses. */
const observe = (name: string, data?: Data): void => {
  if (consent() !== false) track(name, data);
};

function watch(): void {
  loaded = true;
  askHints();
  const { trackActivity, trackClicks, trackForms, trackPages, trackVitals } = options;
  if (trackActivity) activity = watchActivity(observe, Object(trackActivity));
  if (trackClicks) watchClicks(observe, Object(trackClicks));
  if (trackForms) watchForms(observe);
  if (trackPages) {
    watchRoutes(() => {
      if (routeOf(location.href) !== routeOf(viewed)) commands.page();
    });
  }
  const arrived = (): void => {
    tell("internal", "dom_loaded");
    observe("page_loaded");
    if (trackVitals) loadMore();
  };
  if (document.readyState === "complete") held.push(arrived);
  else addEventListener("load", () => setTimeout(arrived, 0));
}

// A page that is left is hidden or goes into the cache, often without `unload`, whose handlers would keep it out of that cache.
addEventListener("pagehide", () => {
  leaving = wire.gone = true;
  if (opened && !ready) settle();
  tell("internal", "before_unload");
  if (!opened) return;
  activity?.flush();
  observe("page_unload");
});
addEventListener("pageshow", (event) => {
  leaving = wire.gone = false;
  if (event.persisted && options.trackPages) commands.page();
});
document.addEventListener("visibilitychange", () => {
  leaving = document.visibilityState === "hidden";
  if (!leaving) return;
  activity?.flush();
  if (vitals) observe("vitals", vitals);
  vitals = undefined;
});
addEventListener("online", () => whenReady(flush));

// --- events

/** Returns the part of a URL that makes a page of its own: a hash only if it is a path. */
const routeOf = (url: string): string => url.replace(/#(?![/!]).*$/, "");

function track(name: string, data?: Data, given?: Data): unknown {
  if (silent) return undefined;
  // An event may bring the visitor's refusal: it holds for the page.
  if (refuses(data?.["consent"])) commands.configure({ consent: false });
  const here = { url: location.href, ref };
  if (name === "page") {
    if (viewed && routeOf(here.url) !== routeOf(viewed)) ref = here.ref = viewed;
    viewed = here.url;
  }
  const user = clock();
  let result: unknown;
  whenReady(() => {
    result = emit(name, data ?? {}, { ...here, title: document.title }, user, given);
  });
  return result;
}

function emit(name: string, data: Data, here: Required<Pick<NonNullable<WebEvent["page"]>, "url" | "ref" | "title">>, user: Data, given?: Data): unknown {
  if (name === "page") activity?.clear();
  const make = (what: string, more: Data): WebEvent => {
    const event: WebEvent = {
      service: "track",
      name: what,
      data: more,
      projectId: options.projectId,
      dedup: randomId(),
      user: { ...person(), ...user },
      page: { title: here.title, ref: here.ref, url: here.url },
      sess: mayKeep() ? sessionData() : { ...sessionData(), num: undefined },
      char: abilities(),
      browser: browserData(),
      lib: commands.getLibInfo(),
      ...marks(),
    };
    if (what === "page" || what === "page_loaded") event.perf = loadTimes();
    if (activity && !NO_SCROLL.includes(what)) event.scroll = position();
    return event;
  };
  if (name !== "session") {
    countEvent(name, here, options.sessionTimeout, options.lastCampaignExpires, () => consent() === false || deliver(make("session", {})));
  }
  const event = make(name, data);
  return given?.request ? call(event) : deliver(event);
}

/** Returns the parts of a message that say who sends it, and whether they agree. */
function marks(): Partial<WebEvent> {
  const found: Partial<WebEvent> = {};
  const given = consent();
  if (uid && mayKeep()) found.uid = uid;
  if (given !== undefined) found.consent = given;
  if (wire.credentials === "omit") found.cookieless = true;
  if (gpc()) found.gpc = true;
  return found;
}

function deliver(event: WebEvent): void {
  if (logging) console.debug(page.global, event.name, event);
  send(event, leaving);
  tell("event", event.name, event.data);
}

/** Returns what is known about the person, if that may be known. */
function person(): Data {
  if (!mayKeep()) return {};
  const id = storage.get("userid");
  const traits = storage.get<Data>("usertr");
  const analytics = /^GA\d\.\d\.(.+)/.exec(storage.cookie("_ga"))?.[1];
  return {
    ...storage.get<Data>("userpr"),
    ...traits,
    ga4ClientId: analytics,
    ymId: storage.cookie("_ym_uid") || undefined,
    id,
    traits,
  };
}

// --- consent

function choose(given: boolean): void {
  if (!opened) place();
  storage.keepChoice(given ? "yes" : "no");
  if (options.consent !== undefined && !modeOf(options.consent)) options.consent = given;
  if (!given) {
    uid = "";
    storage.forget();
    storage.persist(false);
    // The server's own cookie is out of a script's reach: this request, which is no event, ends it.
    asking = asking.then(() => ask(true)).catch(() => {});
  } else if (opened && !uid && !silent) {
    ready = false;
    asking = asking.then(() => learn(false));
  }
}

// --- the part that is loaded later

interface More {
  measure(report: (name: string, value: number) => void): void;
}

function loadMore(): void {
  (window as any)._rstatMore = (more: More): void => more.measure((name, value) => void ((vitals ??= {})[name] = value));
  const script = document.createElement("script");
  script.async = true;
  script.nonce = page.nonce;
  script.src = `${wire.base}/lib.js?part=more&v=${VERSION}`;
  document.head.append(script);
}

// --- the calls

const message = (service: unknown, name: unknown, data: unknown): WebEvent => {
  if (typeof data !== "object" || !data) throw new Error('"data" must be an object');
  return { service: String(service), name: String(name), data: data as Data, projectId: options.projectId, ...marks() };
};

export const commands = {
  configure(given?: Partial<Options> & { loctorPrefix?: string; consentRequired?: boolean }): void {
    const { loctorPrefix, consentRequired, ...rest } = given ?? {};
    Object.assign(options, rest);
    if (loctorPrefix) options.lcPrefix = loctorPrefix;
    if (consentRequired) options.consent ??= "opt-in";
    if (opened) storage.persist(mayKeep());
  },
  page(data?: Data, given?: Data): unknown {
    return track("page", data, given);
  },
  event(name?: string, data?: Data, given?: Data): unknown {
    return name ? track(String(name), data, given) : undefined;
  },
  identify(id?: string | number | Data, traits?: Data): void {
    const [userId, facts] = typeof id === "object" ? [undefined, id] : [id, traits];
    whenReady(() => {
      if (userId !== undefined) storage.set("userid", userId);
      if (facts) storage.set("usertr", { ...storage.get<Data>("usertr"), ...facts });
    });
  },
  /** Resolves with the handler's result. */
  request(service: string, name: string, data: Data = {}): Promise<unknown> {
    return new Promise((resolve, reject) => whenReady(() => (silent ? resolve(undefined) : call(message(service, name, data)).then(resolve, reject))));
  },
  notify(service: string, name: string, data: Data = {}): void {
    whenReady(() => silent || send(message(service, name, data), leaving));
  },
  consent(given?: unknown): void {
    if (given === undefined) warn("consent needs true or false");
    else choose(grants(given));
  },
  optin: (): void => choose(true),
  optout: (): void => choose(false),
  /** Leaves this browser's visits out, until `false`. */
  ignore(on: unknown = true): void {
    if (!opened) place();
    silent = !!on;
    storage.keepIgnored(silent);
    if (!silent && opened && !ready) identifyVisitor();
  },
  getUid: (): string => uid,
  getSessNum: (): number => sessionNumber(),
  getLibInfo: (): NonNullable<WebEvent["lib"]> => ({ id: "web-sdk", v: packed(VERSION), sv: page.snippet }),
  buildProjectId: (host?: string): [string, number] => projectIdOf(host || location.hostname),
  onReady(callback?: Callback): void {
    if (ready) callback?.();
    else if (callback) callbacks.ready.push(callback);
  },
  onEvent: (callback: Callback): void => void callbacks.event.push(callback),
  onInternalEvent: (callback: Callback): void => void callbacks.internal.push(callback),
  /** The server sends no messages. */
  onServerMessage(): void {},
  sessionEvent: (): unknown => track("session"),
  setCustomConfig: (given: Data): void => whenReady(() => storage.set("slfsh", given)),
  enableLogger(): void {
    logging = true;
  },
  warn,
  logOnServer: (text: unknown): void => whenReady(() => silent || send({ service: "log", name: "log", data: {}, msg: text } as WebEvent, leaving)),
};
