/** Structured logs: one event name and its values a line, JSON when JSON_LOGS says so, secrets masked. */

import { dirname, sep } from "node:path";
import pino from "pino";

const MASK = "***";
const SECRET_NAME = /token|secret|passw|api_?key|licen[cs]e_?key|authorization|credential|cookie/i;
const SECRET_IN_URL = /(?<=:\/\/)([^/@\s:]*):([^@\s]+)@/g;
const SECRET_IN_QUERY = /([?&](?:[\w.-]*(?:token|secret|passw|api_?key|licen[cs]e_?key|signature)[\w.-]*)=)[^&\s"'#]+/gi;
const BOT_TOKEN = /(?<=bot)\d{6,}:[\w-]{30,}/g;
const SHORTEST_SECRET = 8;
/** In frames of Node's own code, of installed packages, and of this one, also where it is linked. */
const NOT_THE_AUTHORS = ["node:", "node_modules", dirname(__dirname) + sep];
const YES = new Set(["1", "true", "yes", "on"]);
let known: RegExp | null = null;

/**
 * Masks, from now on and everywhere, the values of those variables whose names say that they are secret, and of those that
 * BAND_MASKED names: the ones which `secrets:` of the image's band.yml declares.
 */
export function knowSecrets(env: Record<string, string | undefined>): void {
  const declared = new Set(env.BAND_MASKED?.split(","));
  const values = Object.entries(env)
    .filter(([name, value]) => value && (SECRET_NAME.test(name) || declared.has(name)) && !value.startsWith("/"))
    // Each line of a longer one (a PEM key) too: in JSON its line ends look different.
    .flatMap(([, value]) => [value as string, ...(value as string).split(/[\r\n]|\\r|\\n/).map((line) => line.trim())])
    .filter((value) => value.length >= SHORTEST_SECRET)
    .flatMap((value) => [value, JSON.stringify(value).slice(1, -1)]) // where it has quotes or backslashes
    .map((value) => value.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"))
    .sort((a, b) => b.length - a.length);
  known = values.length ? new RegExp(values.join("|"), "g") : null;
}

/** Returns a text with passwords and tokens of the URLs in it masked, and every known secret's value. */
export function maskText(text: string): string {
  let masked = text;
  if (masked.includes("@")) masked = masked.replace(SECRET_IN_URL, `$1:${MASK}@`);
  if (masked.includes("=")) masked = masked.replace(SECRET_IN_QUERY, `$1${MASK}`);
  if (masked.includes("bot")) masked = masked.replace(BOT_TOKEN, MASK);
  return known ? masked.replace(known, MASK) : masked;
}

/** Returns a copy of a value in which secrets are masked, by the names of keys and inside texts. */
export function mask(value: unknown, name = "", depth = 0): unknown {
  if (name && value && SECRET_NAME.test(name)) return MASK;
  if (typeof value === "string") return maskText(value);
  if (value === null || typeof value !== "object" || depth > 8) return value;
  if (Array.isArray(value)) return value.map((item) => mask(item, "", depth + 1));
  if (Object.getPrototypeOf(value) !== Object.prototype) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, mask(item, key, depth + 1)]));
}

/** Returns an error in words for the other side: its type and text, secrets masked, never a stack. */
export function describe(error: unknown): string {
  if (!(error instanceof Error)) return maskText(String(error)).slice(0, 500);
  const text = maskText(error.message).slice(0, 500);
  return text ? `${error.name}: ${text}` : error.name;
}

/** Returns an error's description with the place in the service's own code where it was thrown. */
export function describeThrown(error: unknown): string {
  const frames = error instanceof Error ? (error.stack ?? "").split("\n").slice(1) : [];
  const own = frames.find((frame) => !NOT_THE_AUTHORS.some((part) => frame.includes(part)));
  const place = own?.match(/([^/\\(]+:\d+):\d+\)?$/)?.[1];
  return place ? `${describe(error)} (${place})` : describe(error);
}

const listeners = new Set<(line: Record<string, unknown>) => void>();
let plain = !YES.has((process.env.JSON_LOGS ?? "").trim().toLowerCase());

/** @internal Tells `listener` of every line; returns a function that ends it. */
export function hearLogs(listener: (line: Record<string, unknown>) => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

const LEVELS: Record<string, string> = {
  trace: "trace",
  debug: "debug",
  info: "info",
  warning: "warn",
  warn: "warn",
  error: "error",
  critical: "fatal",
  fatal: "fatal",
};

/** Returns pino's name of a level; `info` for one that nobody knows. */
export function levelName(level: string): string {
  return LEVELS[level.trim().toLowerCase()] ?? "info";
}

const destination = {
  write(text: string): void {
    if (listeners.size) {
      const line = JSON.parse(text);
      for (const listener of listeners) listener(line);
      return;
    }
    process.stdout.write(plain ? forPeople(text) : text);
  },
};

function forPeople(text: string): string {
  const { time, level, msg, err, ...values } = JSON.parse(text);
  const pairs = Object.entries(values).map(([key, value]) => `${key}=${typeof value === "string" ? value : JSON.stringify(value)}`);
  const stack = err?.stack ? `\n${err.stack}` : err ? ` err=${JSON.stringify(err)}` : "";
  return `${[time, `[${level}]`, msg, ...pairs].filter((part) => part !== undefined).join(" ")}${stack}\n`;
}

/** pino as this package uses it; every line is masked. */
export const logger: pino.Logger = pino(
  {
    level: levelName(process.env.LOG_LEVEL || "info"),
    base: undefined,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }), log: (line) => mask(line) as Record<string, unknown> },
    serializers: {
      err: (error: any) => {
        const found = pino.stdSerializers.err(error);
        return found && typeof found === "object" ? mask({ ...found, stack: maskText(found.stack ?? "") }) : found;
      },
    },
  },
  destination,
);

/** Sets the level and the form of all lines from now on. */
export function configureLogs(level: string, asJson: boolean): void {
  logger.level = levelName(level);
  plain = !asJson;
}
