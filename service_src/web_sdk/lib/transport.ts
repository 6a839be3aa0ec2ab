/** Sends events, and keeps those that could not be sent. */

import type { WebEvent } from "@rockstat/rock-me-ts";
import { randomId } from "./ids";
import type { Mode } from "./options";
import * as storage from "./storage";

const QUEUE = "queue";
/** Kept while a page sends what waits. */
const LEASE = "flush";
const LEASE_SECONDS = 10;
const MAX_EVENTS = 100;
const MAX_BATCH = 20;
const MAX_CHARS = 200_000;
const MAX_AGE_MS = 24 * 3600 * 1000;
/** Bytes; a browser refuses larger requests that may outlive their page. */
const MAX_KEEPALIVE = 60_000;
const ASK_MS = 3_000;
const FIRST_PAUSE_MS = 2_000;
const MAX_PAUSE_MS = 300_000;

export const wire = {
  base: "",
  mark: "band",
  key: "",
  projectId: "" as number | string,
  gone: false,
  beacon: true,
  xhr: true,
  credentials: "include" as RequestCredentials,
};

let pause = FIRST_PAUSE_MS;
let timer: ReturnType<typeof setTimeout> | undefined;
let outbox: WebEvent[] = [];
let busy = false;

const keyed = (url: string): string => (wire.key ? `${url}${/\?$/.test(url) ? "" : "&"}writeKey=${encodeURIComponent(wire.key)}` : url);

const endpoint = (service: string): string => keyed(`${wire.base}/${wire.mark}/${service === "track" ? "t4k" : service}.json?`);

// A body of type text/plain needs no preflight.
const post = (url: string, text: string): Promise<Response> =>
  fetch(url, { method: "POST", body: text, credentials: wire.credentials, keepalive: new Blob([text]).size < MAX_KEEPALIVE });

const textOf = (events: WebEvent[]): string => JSON.stringify(events.length === 1 ? events[0] : events);

/** Posts events in one request; returns those that are to be sent again. */
async function posted(events: WebEvent[]): Promise<WebEvent[]> {
  try {
    const response = await post(endpoint("track"), textOf(events));
    // A response that nobody reads counts as under way, and there is a limit to what may outlive a page.
    await response.text();
    const { status } = response;
    if (status > 499 || status === 429) return events;
    if (status < 400 || status === 403 || events.length < 2) return [];
    // One of them is at fault, and front takes all or none: each goes alone.
    const again: WebEvent[] = [];
    for (const event of events) again.push(...(await posted([event])));
    return again;
  } catch {
    return events;
  }
}

const waiting = (): WebEvent[] => (storage.get<WebEvent[]>(QUEUE) ?? []).filter((event) => Date.now() - (event.ts ?? 0) < MAX_AGE_MS);

function keep(events: WebEvent[]): void {
  while (events.length > MAX_EVENTS || textOf(events).length > MAX_CHARS) events.shift();
  if (events.length) storage.set(QUEUE, events);
  else storage.remove(QUEUE);
}

function enqueue(events: WebEvent[]): void {
  for (const event of events) {
    event.ts ??= event.user?.ts ?? Date.now();
    event.dedup ??= randomId();
  }
  keep([...waiting(), ...events]);
  retryLater();
}

function retryLater(): void {
  if (timer) return;
  timer = setTimeout(flush, pause);
  pause = Math.min(pause * 2, MAX_PAUSE_MS);
}

/** Sends what waits. Only one page of a site does so at a time; what it sends waits until front has it. */
export async function flush(): Promise<void> {
  clearTimeout(timer);
  timer = undefined;
  if (!waiting().length) return;
  if (!storage.get(LEASE)) {
    let done = navigator.onLine;
    for (let events = waiting(); done && events.length; events = waiting()) {
      const batch = events.slice(0, MAX_BATCH);
      storage.set(LEASE, 1, { expires: LEASE_SECONDS });
      const again = await posted(batch);
      const ids = batch.filter((event) => !again.includes(event)).map((event) => event.dedup);
      keep(waiting().filter((event) => !ids.includes(event.dedup)));
      done = !again.length;
    }
    storage.remove(LEASE);
    if (done) {
      pause = FIRST_PAUSE_MS;
      return;
    }
  }
  retryLater();
}

/** Sends an event, after those before it and together with those that are made meanwhile; `leaving` if its page is about to go. */
export function send(event: WebEvent, leaving: boolean): void {
  outbox.push(event);
  if (leaving) pump(true);
  else Promise.resolve().then(() => pump(false));
}

function pump(leaving: boolean): void {
  if (!outbox.length || (busy && !leaving)) return;
  const events = outbox;
  outbox = [];
  if (!navigator.onLine) {
    enqueue(events);
    return;
  }
  const beacon = wire.beacon && wire.credentials === "include" && "sendBeacon" in navigator;
  if (beacon && (leaving || !wire.xhr) && navigator.sendBeacon(endpoint("track"), textOf(events))) return;
  busy = true;
  posted(events).then((again) => {
    busy = false;
    // The page that is left breaks off what it waits for; the request itself goes on.
    if (again.length && !wire.gone) enqueue(again);
    pump(false);
  });
}

/** Calls a handler; resolves with its result. */
export async function call(event: WebEvent): Promise<unknown> {
  const response = await post(endpoint(event.service ?? ""), JSON.stringify(event));
  const found = await response.json();
  if (!response.ok || found.type__ === "error") {
    const error = new Error(found.errorMessage ?? found.message ?? `status ${response.status}`);
    throw Object.assign(error, { statusCode: response.status, data: found.data });
  }
  return found.type__ === "data" ? found.data : found;
}

/** Asks the server for the visitor's uid and the project's consent mode; with `refuse`, to end its cookie. */
export async function ask(refuse?: boolean): Promise<{ uid?: string; consent?: Mode }> {
  const abort = new AbortController();
  const limit = setTimeout(() => abort.abort(), ASK_MS);
  try {
    const url = keyed(`${wire.base}/lib.js?part=uid&projectId=${encodeURIComponent(wire.projectId)}${refuse ? "&consent=no" : ""}`);
    const response = await fetch(url, { credentials: "include", signal: abort.signal, keepalive: !!refuse });
    if (!response.ok) throw new Error(`status ${response.status}`);
    return await response.json();
  } finally {
    clearTimeout(limit);
  }
}
