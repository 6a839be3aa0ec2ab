/**
 * Settings of a service: config/**\/*.yml, then config.yml and config.yaml, each through EJS, merged in the order of their names,
 * and over all of it the section named after the environment. Variables come from the environment over .env.local over .env.
 */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { hostname } from "node:os";
import { join, relative } from "node:path";
import { parseEnv } from "node:util";
import { SettingsError } from "../errors";
import { dsnFromEnv, parseAddress } from "../redis/address";
import type { OutputOf, ServiceConfig, StandardSchema } from "../types";
import { describeIssues } from "./registry";
import { hostOf, isOrigin } from "./site_policy";

export const ENV_DEV = "dev";
export const ENV_PROD = "production";
export const ENV_STAGE = "stage";
export type EnvName = typeof ENV_DEV | typeof ENV_PROD | typeof ENV_STAGE;

type Environment = Record<string, string | undefined>;
type Mapping = Record<string, any>;

const SECTIONS: Record<EnvName, string[]> = { [ENV_DEV]: ["dev", "development"], [ENV_PROD]: ["prod", "production"], [ENV_STAGE]: ["stage", "staging"] };

/** Returns the environment of this process over the .env.local and .env of `folder`. */
export function readEnvironment(folder: string): Environment {
  const files = [".env", ".env.local"].map((name) => join(folder, name)).filter((path) => existsSync(path));
  const given = files.map((path) => parseEnv(readFileSync(path, "utf8")) as Environment);
  return Object.assign({}, ...given, process.env);
}

/** Returns the environment that NODE_ENV (or ENV) names. */
export function environmentName(env: Environment): EnvName {
  const name = env.NODE_ENV || env.ENV || "";
  if (name === "production" || name === "prod") return ENV_PROD;
  return name === "stage" || name === "staging" ? ENV_STAGE : ENV_DEV;
}

/** Returns one mapping over another: mappings are merged, all else is replaced, undefined is skipped. */
export function merge(base: Mapping, over: Mapping): Mapping {
  const merged: Mapping = { ...base };
  for (const [key, value] of Object.entries(over)) {
    if (value === undefined || key === "__proto__") continue;
    merged[key] = isMapping(merged[key]) && isMapping(value) ? merge(merged[key], value) : value;
  }
  return merged;
}

function isMapping(value: unknown): value is Mapping {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);
}

/**
 * Returns what the files of a folder say, with the section of the environment on top.
 *
 * @param vars further names for templates beside `env`, `envName`, `consts` and `pkg`
 * @throws SettingsError where a file is no template, no YAML or no mapping; the text names file and line
 */
export function readFiles(folder: string, env: Environment, vars: Mapping = {}, dir = "config"): Mapping {
  const envName = environmentName(env);
  const names = { env, envName, consts: { ENV_DEV, ENV_PROD, ENV_STAGE }, pkg: readPackage(folder), ...vars };
  let merged: Mapping = {};
  for (const path of [...yamlFiles(join(folder, dir)), join(folder, "config.yml"), join(folder, "config.yaml")]) {
    if (existsSync(path)) merged = merge(merged, readFile(path, relative(folder, path), names));
  }
  for (const name of SECTIONS[envName]) if (isMapping(merged[name])) merged = merge(merged, merged[name]);
  return merged;
}

function readPackage(folder: string): Mapping {
  try {
    return JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  } catch {
    return {};
  }
}

/** Returns the files of a folder and all below, in the order of their names. */
function yamlFiles(folder: string): string[] {
  if (!existsSync(folder)) return [];
  const entries = readdirSync(folder, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1));
  const files = entries.filter((entry) => !entry.isDirectory() && /\.ya?ml$/.test(entry.name)).map((entry) => join(folder, entry.name));
  const folders = entries.filter((entry) => entry.isDirectory()).flatMap((entry) => yamlFiles(join(folder, entry.name)));
  return [...files, ...folders];
}

function readFile(path: string, shown: string, names: Mapping): Mapping {
  const text = readFileSync(path, "utf8");
  // Only where Python services have theirs: files of originals in config/ may hold templates of another kind.
  const jinja = text.split("\n").findIndex((line) => !line.trimStart().startsWith("#") && /\{\{|\{%/.test(line));
  if (jinja >= 0 && !shown.includes("/")) {
    throw new SettingsError(`${shown}, line ${jinja + 1}: this is a Jinja template, as in Python services; write <%= env.PORT %> for {{PORT}}`);
  }
  const yaml = loadYaml(render(text, shown, names), shown);
  return yaml.reduce((merged, document) => merge(merged, document), {});
}

function render(text: string, shown: string, names: Mapping): string {
  if (!text.includes("<%")) return text;
  const ejs = require("ejs") as { render(text: string, names: Mapping, options: object): string };
  try {
    // No escaping: the original made entities of the `&` of a password.
    return ejs.render(text, names, { escape: (value: unknown) => (value === undefined || value === null ? "" : String(value)), filename: shown });
  } catch (error) {
    const lines = (error as Error).message.split("\n");
    const line = /:(\d+)$/.exec(lines[0])?.[1];
    throw new SettingsError(`${shown}${line ? `, line ${line}` : ""}: not a valid template: ${lines[lines.length - 1]}`);
  }
}

function loadYaml(text: string, shown: string): Mapping[] {
  const yaml = require("js-yaml");
  let documents: unknown[];
  try {
    // The originals' dialect: YAML 1.2 with merge keys and dates.
    documents = yaml.loadAll(text, { schema: yaml.CORE_SCHEMA.withTags(yaml.mergeTag, yaml.timestampTag) });
  } catch (error) {
    // Only where and what: the whole text quotes the line, which may hold a secret.
    const { reason, mark } = error as { reason?: string; mark?: { line: number } };
    throw new SettingsError(`${shown}${mark ? `, line ${mark.line + 1}` : ""}: ${reason ?? "not valid YAML"}; check the quotes and the indentation there`);
  }
  return documents
    .filter((document) => document !== null && document !== undefined)
    .map((document) => {
      if (!isMapping(document))
        throw new SettingsError(`${shown}: expected \`key: value\` lines, found ${Array.isArray(document) ? "a list" : `a ${typeof document}`}`);
      return document;
    });
}

/** Returns the settings as a schema reads them. Throws SettingsError with all problems. */
export function checkSettings<S extends StandardSchema>(schema: S, settings: Mapping): OutputOf<S> {
  const found = schema["~standard"].validate(settings);
  if (found instanceof Promise) throw new SettingsError("The schema of settings must not be asynchronous");
  if (found.issues) throw new SettingsError(`The settings cannot be used: ${describeIssues(found.issues)}`);
  return found.value as OutputOf<S>;
}

const YES = new Set(["1", "true", "yes", "on"]);
const NO = new Set(["0", "false", "no", "off", ""]);

/** Returns what the framework itself needs to know. Throws SettingsError with all that is wrong, together. */
export function readConfig(settings: Mapping, env: Environment): ServiceConfig {
  const problems: string[] = [];
  const rpc: Mapping = settings.rpc_params ?? settings.rpc ?? {};
  const number = (key: string, value: unknown, fallback: number, most = Number.MAX_SAFE_INTEGER) => {
    const given = first(value);
    if (given === undefined) return fallback;
    const found = Number(given);
    if (!(found >= 0 && found <= most)) problems.push(`${key}=${JSON.stringify(given)} is not a number from 0 to ${most}`);
    return found;
  };
  const bool = (key: string, value: unknown) => {
    const word = String(value ?? "").toLowerCase();
    if (!YES.has(word) && !NO.has(word)) problems.push(`${key}=${word} is neither yes nor no; write true or false`);
    return YES.has(word);
  };
  const words = (value: unknown): string[] => (Array.isArray(value) ? value.map(String) : String(value ?? "").split(/[\s,]+/)).filter(Boolean);
  const name = String(first(settings.name, rpc.name, env.NAME, hostname()));
  const listen = /^(.*?):?([0-9]+)$/.exec(String(settings.listen ?? ""));
  const config: ServiceConfig = {
    name,
    host: listen?.[1] || env.HOST || "0.0.0.0",
    port: number("PORT", listen?.[2] ?? env.PORT, 8080, 65535),
    redisDsn: String(first(settings.redis_dsn, settings.redis?.dsn) ?? readDsn(env, problems)),
    listenAll: bool("rpc.listen_all", rpc.listen_all),
    listenEnrich: bool("rpc.listen_enrich", rpc.listen_enrich),
    logLevel: String(first(env.LOG_LEVEL, settings.log_level, settings.log?.pino?.level, "info")),
    jsonLogs: bool("JSON_LOGS", first(env.JSON_LOGS, settings.json_logs)),
    eventsFrom: String(settings.events_from ?? ""),
    stopTimeout: number("stop_timeout", settings.stop_timeout, 8) * 1000,
    deadLettersMax: number("dead_letters_max", first(env.DEAD_LETTERS_MAX, settings.dead_letters_max), 100_000),
    deadLettersMaxMb: number("dead_letters_max_mb", first(env.DEAD_LETTERS_MAX_MB, settings.dead_letters_max_mb), 64),
    allowedHosts: words(first(env.ALLOWED_HOSTS, settings.allowed_hosts)),
    allowedOrigins: words(first(env.ALLOWED_ORIGINS, settings.allowed_origins)),
    serviceGroup: String(first(env.SERVICE_GROUP, settings.service_group, rpc.service_group) ?? ""),
  };
  if (env.BAND_SERVICE && env.BAND_SERVICE !== name) {
    problems.push(
      `the settings say name: ${name}, but the director runs this folder as "${env.BAND_SERVICE}"; write name: ${env.BAND_SERVICE}, or rename the folder`,
    );
  }
  if (name.includes(":") || !name.trim()) problems.push(`name="${name}" is not a valid service name: it must be a string without ':'`);
  for (const host of config.allowedHosts) if (!hostOf(host)) problems.push(`allowed_hosts has "${host}", which is not a host name`);
  for (const origin of config.allowedOrigins)
    if (!isOrigin(origin)) problems.push(`allowed_origins has "${origin}"; write https://app.example, or * for every site`);
  try {
    parseAddress(config.redisDsn);
  } catch (error) {
    problems.push((error as Error).message);
  }
  if (problems.length) throw new SettingsError(problems.join("\n"));
  return config;
}

function readDsn(env: Environment, problems: string[]): string {
  try {
    return dsnFromEnv(env);
  } catch (error) {
    problems.push((error as Error).message);
    return "redis://127.0.0.1:6379";
  }
}

/** Returns the first value that is neither missing nor an empty text. */
function first(...values: unknown[]): unknown {
  return values.find((value) => value !== undefined && value !== null && value !== "");
}
