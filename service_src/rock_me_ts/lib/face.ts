/** The new API: the functions with which a service is written. Nothing happens at import. */

import { RegistrationError } from "./errors";
import { configureLogs, knowSecrets, logger as pinoLogger } from "./service/logs";
import type { Work } from "./service/registry";
import { service } from "./service/service";
import type { EnvName } from "./service/settings";
import { checkSettings, environmentName, readConfig, readEnvironment, readFiles } from "./service/settings";
import type { Expose, HealthFacts, OutputOf, Rpc, ServiceLogger, ServiceRedis, StandardSchema, WorkContext } from "./types";

export { blocking } from "./service/jobs";

/** Milliseconds after the stop in which the process may exit by itself. */
const EXIT_AFTER = 500;

export const expose: Expose = service.expose;
export const rpc: Rpc = service.rpc;
export const logger: ServiceLogger = pinoLogger as unknown as ServiceLogger;
export const redis: ServiceRedis = {
  command: (...parts) => service.link.command(parts),
  get connected() {
    return service.link.connected;
  },
};

/** Registers a function that completes before the service can be called: load there what its answers depend on. */
export function setup(func: (context: WorkContext) => unknown): void {
  record(service.registry.setups, func);
}

/** Registers a function that runs in the background, until its signal is aborted. */
export function worker(func: (context: WorkContext) => unknown): void {
  record(service.registry.workers, func);
}

/** Registers a function that runs when the service stops. */
export function cleanup(func: (context: WorkContext) => unknown): void {
  record(service.registry.cleanups, func);
}

function record(list: Work[], func: Work): void {
  if (typeof func !== "function") throw new RegistrationError("It cannot be recorded: it is not a function");
  list.push(func);
}

/** Registers a function that runs on a schedule: `crontab("*\/5 * * * *", tidy)`. */
export function crontab(pattern: string, func: (context: WorkContext) => unknown): void {
  if (typeof func !== "function") throw new RegistrationError(`crontab "${pattern}": the last argument is not a function`);
  service.registry.crontabs.push({ pattern, func });
}

/** Registers a health check of one part of the service. */
export function health(name: string, func: () => HealthFacts | Promise<HealthFacts>): void {
  if (typeof func !== "function") throw new RegistrationError(`health "${name}": the last argument is not a function`);
  service.registry.healthChecks.push({ name, func });
}

let read: { env: Record<string, string | undefined>; settings: Record<string, any> } | null = null;

function own(): { env: Record<string, string | undefined>; settings: Record<string, any> } {
  if (!read) {
    const env = readEnvironment(process.cwd());
    read = { env, settings: readFiles(process.cwd(), env) };
  }
  return read;
}

/** Returns the settings of the working directory: config/**\/*.yml and config.yml through EJS, with the section of the environment on top. */
export function settings<T = Record<string, any>>(): T {
  return own().settings as T;
}

/** Returns the settings, validated by a schema. Throws SettingsError with all problems at once. */
export function loadSettings<S extends StandardSchema>(schema: S): OutputOf<S> {
  return checkSettings(schema, own().settings);
}

/** Returns the name of the environment: dev, stage or production. */
export function environment(): EnvName {
  return environmentName(own().env);
}

/**
 * Runs the service until SIGTERM, SIGINT or `stop`: settings, setup, port, Redis, listener, workers. Resolves when it has
 * stopped. If the settings are invalid, it rejects with a SettingsError, whose text says what to do.
 */
export async function start(given: Record<string, unknown> = {}): Promise<void> {
  const { env, settings: found } = own();
  knowSecrets(env);
  const config = readConfig({ ...found, ...given }, env);
  configureLogs(config.logLevel, config.jsonLogs);
  const onSignal = async (signal: string) => {
    await service.stop(signal);
    // A timer or a socket that the service forgot must not keep the process: Docker kills after 10 s.
    setTimeout(() => process.exit(), EXIT_AFTER).unref();
  };
  process.once("SIGTERM", onSignal);
  process.once("SIGINT", onSignal);
  try {
    await service.start(config);
    await service.wait();
  } finally {
    process.removeListener("SIGTERM", onSignal);
    process.removeListener("SIGINT", onSignal);
  }
}

/** Stops the service of this process; resolves when it has stopped. */
export function stop(): Promise<void> {
  return service.stop("asked to");
}
