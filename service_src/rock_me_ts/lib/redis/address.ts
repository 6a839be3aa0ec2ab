/** The address of a Redis server: `redis://[user][:password]@host:port/db`, `rediss://` (TLS), `unix://path?db=0`, `memory://name` for tests. */

import { readFileSync } from "node:fs";
import { SettingsError } from "../errors";

export interface RedisAddress {
  host: string;
  port: number;
  db: number;
  username: string;
  password: string;
  tls: boolean;
  path: string;
  memory: string;
}

const DEFAULT_HOST = "127.0.0.1";
const DEFAULT_PORT = 6379;

/** Returns the address written in `dsn`. Throws SettingsError, whose text does not repeat the password. */
export function parseAddress(dsn: string): RedisAddress {
  const found: RedisAddress = { host: DEFAULT_HOST, port: DEFAULT_PORT, db: 0, username: "", password: "", tls: false, path: "", memory: "" };
  let url: URL;
  try {
    url = new URL(dsn);
  } catch {
    throw refuse("it is not a URL");
  }
  const kind = url.protocol.slice(0, -1);
  if (kind === "memory") return { ...found, memory: url.host || "default" };
  if (kind !== "redis" && kind !== "rediss" && kind !== "unix") throw refuse("its scheme is not redis, rediss or unix");
  try {
    found.username = decodeURIComponent(url.username);
    found.password = decodeURIComponent(url.password);
  } catch {
    throw refuse("the user or the password is not percent-encoded correctly");
  }
  const db = kind === "unix" ? (url.searchParams.get("db") ?? "0") : url.pathname.replace(/^\/+|\/+$/g, "") || url.searchParams.get("db") || "0";
  if (!/^[0-9]{1,5}$/.test(db)) throw refuse("the database after the / is not a number");
  found.db = Number(db);
  if (kind === "unix") return { ...found, path: decodeURIComponent(url.pathname) };
  return { ...found, host: url.hostname.replace(/^\[|\]$/g, "") || DEFAULT_HOST, port: Number(url.port || DEFAULT_PORT), tls: kind === "rediss" };
}

function refuse(problem: string): SettingsError {
  return new SettingsError(
    `REDIS_DSN is not an address of Redis: ${problem}; write redis://:PASSWORD@HOST:6379/0, with special characters of the password percent-encoded`,
  );
}

/** Returns an address as text, without user and password. */
export function showAddress(address: RedisAddress): string {
  if (address.memory) return `memory://${address.memory}`;
  if (address.path) return `unix://${address.path}`;
  return `${address.tls ? "rediss" : "redis"}://${address.host}:${address.port}/${address.db}`;
}

/** Returns the DSN that an environment describes: REDIS_DSN or REDIS_URL whole, else REDIS_HOST and its companions. */
export function dsnFromEnv(env: Record<string, string | undefined>): string {
  const whole = env.REDIS_DSN || env.REDIS_URL;
  if (whole) return whole;
  if (!env.REDIS_HOST) return `redis://${DEFAULT_HOST}:${DEFAULT_PORT}`;
  let password = env.REDIS_PASSWORD ?? "";
  const file = env.REDIS_PASSWORD_FILE;
  if (file) {
    try {
      password = readFileSync(file, "utf8").trim();
    } catch (error) {
      throw new SettingsError(`REDIS_PASSWORD_FILE=${file} cannot be read: ${(error as NodeJS.ErrnoException).code}; mount it, or unset it`);
    }
  }
  const user = env.REDIS_USER ?? "";
  const secret = user || password ? `${encodeURIComponent(user)}:${encodeURIComponent(password)}@` : "";
  return `redis://${secret}${env.REDIS_HOST}:${env.REDIS_PORT || DEFAULT_PORT}/${env.REDIS_DB || 0}`;
}
