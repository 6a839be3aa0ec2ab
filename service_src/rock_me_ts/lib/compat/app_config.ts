import { type EnvName, environmentName, readEnvironment, readFiles } from "../service/settings";
import type { AbstractConfig, AppConfigOptions, ImplicitConfig, LoggerConfig, MeterConfig, RedisConfig, RPCConfig } from "./types";

/** The settings of the working directory: config/**\/*.yml through EJS, with the section of the environment on top. */
export class AppConfig<T = {}> {
  readonly config: AbstractConfig<ImplicitConfig & T>;
  readonly env: EnvName;

  constructor(options: AppConfigOptions = {}) {
    const environment = readEnvironment(process.cwd());
    this.env = environmentName(environment);
    for (const [name, value] of Object.entries(environment)) process.env[name] ??= value; // the original's dotenv: services read them there
    this.config = readFiles(process.cwd(), environment, options.vars, options.dir ?? "config") as AbstractConfig<ImplicitConfig & T>;
  }

  static get env(): EnvName {
    return environmentName(readEnvironment(process.cwd()));
  }

  get(section: string): any {
    return (this.config as Record<string, any>)[section];
  }

  get rpc(): RPCConfig {
    return this.get("rpc");
  }

  get redis(): RedisConfig {
    return this.get("redis");
  }

  get log(): LoggerConfig {
    return this.get("log");
  }

  get http(): any {
    return this.get("http");
  }

  get ws(): any {
    return this.get("websocket");
  }

  get static(): any {
    return this.get("static");
  }

  get client(): any {
    return this.get("client");
  }

  get identify(): any {
    return this.get("identify");
  }

  get meter(): MeterConfig {
    return this.get("metrics");
  }

  isDev(): boolean {
    return this.env === "dev";
  }

  isProd(): boolean {
    return this.env === "production";
  }
}
