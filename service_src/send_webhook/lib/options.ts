/** What an operator sets: destinations, their secrets and filters. Read once at the start; no secret is in an error. */

import { type BandEvent, SettingsError } from "@rockstat/rock-me-ts";
import { AddressPolicy, readNetwork } from "./addresses";
import { readSecret } from "./signature";

type Given = Record<string, unknown>;

/** One destination: its URL, the keys that requests are signed with, which events it gets and in what portions. */
export interface Destination {
  name: string;
  url: URL;
  keys: readonly Buffer[];
  wants(event: BandEvent): boolean;
  /** Events of visitors who object to being tracked are not for it. */
  withholdsObjected: boolean;
  /** Events of one request at most. */
  batch: number;
  /** Seconds that a request waits for more events. */
  linger: number;
  /** Bytes of one request's body at most. */
  maxBytes: number;
  /** Seconds for one request. */
  timeout: number;
}

export interface Options {
  destinations: Destination[];
  policy: AddressPolicy;
  /** Seconds before the first repetition, and at most. */
  backoffFirst: number;
  backoffMost: number;
  /** Seconds between two attempts where somebody has to change something first. */
  refusedRetry: number;
}

const NAME = /^[a-z0-9][a-z0-9_-]{0,39}$/;
const KNOWN = ["name", "url", "secret", "secret_env", "keys", "events", "objected", "batch", "linger", "max_bytes", "timeout"];
/** The name of what WEBHOOK_URL and WEBHOOK_SECRET say. */
const DEFAULT = "default";

/** Returns the options in `settings`. Throws SettingsError with all that cannot work. */
export function readOptions(settings: Given, env: Record<string, string | undefined>): Options {
  const problems: string[] = [];
  const networks = words(settings.allow);
  for (const text of networks) if (!readNetwork(text)) problems.push(`WEBHOOK_ALLOW: "${text}" is not an address or a network; write 10.1.0.0/16`);
  const policy = new AddressPolicy(networks);
  const destinations: Destination[] = [];
  for (const [index, given] of readList(settings, problems).entries()) {
    const place = typeof given.name === "string" && NAME.test(given.name) ? `destination ${given.name}` : `destination ${index + 1}`;
    try {
      destinations.push(readDestination(given, env, policy));
    } catch (error) {
      problems.push(`${place}: ${(error as Error).message}`);
    }
  }
  const names = destinations.map(({ name }) => name);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice) problems.push(`two destinations are called ${twice}; give each its own name`);
  const seconds = (key: string, fallback: number) => attempt(() => number(settings, key, fallback, 0.001, 86_400), problems) ?? fallback;
  const options = {
    destinations,
    policy,
    backoffFirst: seconds("backoff_first", 1),
    backoffMost: seconds("backoff_most", 60),
    refusedRetry: seconds("refused_retry", 60),
  };
  if (problems.length) throw new SettingsError(problems.join("\n"));
  return options;
}

/** A list in YAML, or the same as JSON in a variable; and the one of WEBHOOK_URL. */
function readList(settings: Given, problems: string[]): Given[] {
  const found: Given[] = [];
  if (settings.url || settings.secret) found.push({ name: DEFAULT, url: settings.url, secret: settings.secret });
  let list: unknown = settings.destinations;
  if (typeof list === "string" && list.trim()) {
    try {
      list = JSON.parse(list);
    } catch {
      // The text holds secrets: the parser's own message, which quotes it, stays out of ours.
      problems.push('WEBHOOK_DESTINATIONS is not JSON; write [{"name": "crm", "url": "https://…", "secret": "whsec_…"}]');
      return found;
    }
  }
  if (!list) return found;
  if (!Array.isArray(list) || !list.every(isMapping)) {
    problems.push("destinations must be a list of mappings, each with name, url and secret");
    return found;
  }
  return [...found, ...(list as Given[])];
}

function readDestination(given: Given, env: Record<string, string | undefined>, policy: AddressPolicy): Destination {
  const unknown = Object.keys(given).filter((key) => !KNOWN.includes(key));
  // Somebody may have put a secret in the place of a key: what does not look like one is not shown.
  if (unknown.length)
    throw new Error(`it has ${unknown.map((key) => (/^[a-z_]{1,20}$/.test(key) ? key : "…")).join(", ")}; known keys are ${KNOWN.join(", ")}`);
  const name = given.name;
  if (typeof name !== "string" || !NAME.test(name))
    throw new Error("its name must be 1 to 40 lower-case letters, digits, _ or -; it is part of a consumer group's");
  const objected = given.objected ?? "withhold";
  if (objected !== "withhold" && objected !== "send") throw new Error("objected may be withhold or send");
  return {
    name,
    url: readUrl(given.url, policy),
    keys: readSecrets(given, env),
    wants: filter(words(given.keys ?? "*"), words(given.events)),
    withholdsObjected: objected === "withhold",
    batch: Math.floor(number(given, "batch", 100, 1, 1000)),
    linger: number(given, "linger", 1, 0, 60),
    maxBytes: Math.floor(number(given, "max_bytes", 1_000_000, 1000, 10_000_000)),
    timeout: number(given, "timeout", 15, 0.1, 300),
  };
}

function readUrl(given: unknown, policy: AddressPolicy): URL {
  let url: URL;
  try {
    url = new URL(String(given));
  } catch {
    throw new Error("its url is not a full URL; write https://…"); // not quoted: there may be a token in it
  }
  if (url.protocol !== "https:" && url.protocol !== "http:") throw new Error("its url must begin with https:// (or http:// in a network of your own)");
  if (url.username || url.password) throw new Error("its url has a user or password in it; requests are signed with the secret instead");
  url.hash = "";
  policy.check(url.hostname);
  return url;
}

function readSecrets(given: Given, env: Record<string, string | undefined>): Buffer[] {
  const named = words(given.secret_env);
  for (const key of named) if (!env[key]) throw new Error(`secret_env names ${/^[A-Z][A-Z0-9_]*$/.test(key) ? key : "a variable"}, which is not set`);
  const found = [...words(given.secret), ...named.flatMap((key) => words(env[key]))];
  if (!found.length) throw new Error("it has no secret; write secret: whsec_…, or secret_env: NAME_OF_A_VARIABLE");
  return found.map(readSecret);
}

function filter(keys: readonly string[], names: readonly string[]): (event: BandEvent) => boolean {
  const all = keys.includes("*");
  return ({ key, name }) =>
    (all || keys.some((prefix) => key === prefix || String(key).startsWith(`${prefix}.`))) && (!names.length || names.includes(String(name)));
}

function number(given: Given, key: string, fallback: number, least: number, most: number): number {
  const value = given[key];
  if (value === undefined || value === null || value === "") return fallback;
  const found = Number(value);
  if (!(found >= least && found <= most)) throw new Error(`${key} must be a number from ${least} to ${most}`);
  return found;
}

function words(given: unknown): string[] {
  return (Array.isArray(given) ? given.map(String) : String(given ?? "").split(/[\s,]+/)).filter(Boolean);
}

function isMapping(value: unknown): value is Given {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function attempt<T>(read: () => T, problems: string[]): T | null {
  try {
    return read();
  } catch (error) {
    problems.push((error as Error).message);
    return null;
  }
}
