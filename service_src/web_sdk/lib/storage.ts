/** What is kept in the browser: localStorage and one cookie, in the original's format; in memory only until `persist(true)`. */

export interface Keep {
  /** For this session only. */
  session?: boolean;
  /** Seconds until it expires. */
  expires?: number;
}

const PREFIXES = ["rst4:", "rst:"];
const COOKIES = ["rst4-", "rst-"];
const COOKIE_SECONDS = 3 * 365 * 24 * 3600;
/** The id as this SDK's predecessor kept it. */
const OLD_UID = "rstat4_uid";
/** What the visitor said about consent. Kept whatever was said. */
const CHOICE = "rstat4_consent";

let prefix = PREFIXES[0] as string;
let cookiePrefix = COOKIES[0] as string;
let cookieDomain = "";
let cookiePath = "/";
let persistent = false;
let memory: Record<string, string> = {};

/** Says where to keep things; before the first use. */
export function place(options: { prefix: string; cookiePrefix: string; domain: string; path: string }): void {
  ({ prefix, cookiePrefix } = options);
  cookieDomain = options.domain;
  cookiePath = options.path;
}

// A browser may forbid all of it, or be full.
function attempt<T>(act: () => T): T | undefined {
  try {
    return act();
  } catch {
    return undefined;
  }
}

const read = (key: string): string | null => attempt(() => localStorage.getItem(key)) ?? null;
const write = (key: string, value: string): boolean => attempt(() => localStorage.setItem(key, value) ?? true) ?? false;

/** Whether the browser lets a page keep anything. */
export const available = (): boolean => attempt(() => !!localStorage) ?? false;

function put(key: string, value: string): void {
  if (!persistent || !write(key, value)) memory[key] = value;
}

const pick = (key: string): string | null => memory[key] ?? (persistent ? read(key) : null);

function erase(key: string): void {
  delete memory[key];
  attempt(() => localStorage.removeItem(key));
}

const keyOf = (start: string, name: string, keep?: Keep): string => `${start}${keep?.session ? "s:" : ""}${name}`;

export function set(name: string, value: unknown, keep?: Keep): void {
  const expires = keep?.expires ? Math.round(Date.now() / 1000) + keep.expires : "";
  put(keyOf(prefix, name, keep), `${expires}|${JSON.stringify(value)}`);
}

/** Returns what was kept under a name, also by another version of the SDK. */
export function get<T>(name: string, keep?: Keep): T | undefined {
  for (const start of [prefix, ...PREFIXES]) {
    const text = pick(keyOf(start, name, keep));
    const at = text ? text.indexOf("|") : -1;
    if (!text || at < 0) continue;
    const expires = Number(text.slice(0, at));
    if (expires && expires < Date.now() / 1000) continue;
    const value = attempt(() => JSON.parse(text.slice(at + 1)));
    if (value !== undefined) return value;
  }
  return undefined;
}

/** Adds one to a counter, and returns it. */
export function count(name: string, keep?: Keep): number {
  const next = (get<number>(name, keep) ?? 0) + 1;
  set(name, next, keep);
  return next;
}

export const remove = (name: string, keep?: Keep): void => {
  for (const start of [prefix, ...PREFIXES]) erase(keyOf(start, name, keep));
};

/** Keeps things in the browser from now on, or no longer. What is in memory moves there. */
export function persist(on: boolean): void {
  persistent = on;
  if (!on) return;
  const kept = memory;
  memory = {};
  for (const key of Object.keys(kept)) put(key, kept[key] as string);
}

/** Forgets everything but the choice and whether this browser is to be ignored. */
export function forget(): void {
  memory = {};
  const ignored = keyOf(prefix, "ignore");
  for (const key of attempt(() => Object.keys(localStorage)) ?? []) {
    if (key !== ignored && [prefix, ...PREFIXES].some((start) => key.startsWith(start))) erase(key);
  }
  erase(OLD_UID);
  for (const start of [cookiePrefix, ...COOKIES]) {
    if (cookie(`${start}uid`)) writeCookie(`${start}uid`, "", 0);
  }
}

/** Returns the value of a cookie; empty if there is none. */
export function cookie(name: string): string {
  const found = `; ${document.cookie}`.split(`; ${name}=`)[1];
  return found ? (found.split(";")[0] as string) : "";
}

function writeCookie(name: string, value: string, seconds: number): void {
  const rest = `=${value}; path=${cookiePath}; max-age=${seconds}; SameSite=Lax${location.protocol === "https:" ? "; Secure" : ""}`;
  const domain = cookieDomain.includes(".") && !/^[\d.]+$/.test(cookieDomain) ? `; domain=${cookieDomain}` : "";
  document.cookie = name + rest + domain;
  // A browser refuses a domain like co.uk; an older cookie may have none.
  if (domain && (seconds ? cookie(name) !== value : cookie(name))) document.cookie = name + rest;
}

/** Returns the kept uids, the best first, also those that other versions of the SDK kept. */
export function keptUids(): unknown[] {
  return [...[cookiePrefix, ...COOKIES].map((start) => cookie(`${start}uid`)), get("uid"), read(OLD_UID)];
}

export function keepUid(uid: string): void {
  if (!persistent) return;
  set("uid", uid);
  erase(OLD_UID);
  if (cookie(`${cookiePrefix}uid`) !== uid) writeCookie(`${cookiePrefix}uid`, uid, COOKIE_SECONDS);
}

/** Returns what the visitor said about consent: `yes`, `no`, or nothing. */
export const choice = (): string => memory[CHOICE] ?? read(CHOICE) ?? "";

export function keepChoice(value: string): void {
  if (!write(CHOICE, value)) memory[CHOICE] = value;
}

/** Whether this browser's visits are the owner's. */
export const ignored = (): boolean => !!read(keyOf(prefix, "ignore"));

export function keepIgnored(on: boolean): void {
  if (on) write(keyOf(prefix, "ignore"), "|true");
  else remove("ignore");
}
