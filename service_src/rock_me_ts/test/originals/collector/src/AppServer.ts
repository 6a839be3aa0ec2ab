import * as constants from "@app/constants";
import { Dispatcher } from "@app/Dispatcher";
import { HttpServer } from "@app/HttpServer";
import type { CollectorConfig } from "@app/types";
import { AppConfig, ENV_PROD, Logger, Meter, RedisFactory, version as rockmeVersion, TheIds } from "@rockstat/rock-me-ts";
import { Container, Service } from "typedi";

@Service()
export class AppServer {
  log: Logger;
  config: AppConfig<CollectorConfig>;
  dispatcher: Dispatcher;
  http: HttpServer;

  setup(): void {
    this.config = new AppConfig<CollectorConfig>({ vars: constants });
    Container.set(AppConfig, this.config);
    const log = new Logger(this.config.log);
    Container.set(Logger, log);
    this.log = log.for(this);
    const meter = new Meter(this.config.meter);
    Container.set(Meter, meter);
    Container.set(TheIds, new TheIds());
    Container.set(RedisFactory, new RedisFactory({ log, meter, ...this.config.redis }));
    this.log.info({ version: this.config.config.version, rockmeVersion, production: String(AppConfig.env) === ENV_PROD }, "Starting");
    this.dispatcher = Container.get(Dispatcher);
    this.http = Container.get(HttpServer);
    this.dispatcher.setup();
  }

  start(): void {
    for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => this.stop());
    this.dispatcher.start();
    this.http.start();
  }

  private stop(): void {
    this.log.info("Stopping");
    process.exit(0);
  }
}

export const appServer: AppServer = Container.get(AppServer);
