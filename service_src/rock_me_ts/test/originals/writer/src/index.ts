import { ClickHouse } from "@app/clickhouse";
import {
  type AgnosticRPCOptions,
  AppConfig,
  AppStatus,
  BROADCAST,
  Logger,
  METHOD_IAMALIVE,
  METHOD_STATUS,
  Meter,
  RedisFactory,
  RPCAdapterRedis,
  RPCAgnostic,
  SERVICE_DIRECTOR,
} from "@rockstat/rock-me-ts";

export interface ClickHouseConfig {
  dsn: string;
  uploadInterval: number;
  tables: { [table: string]: { [column: string]: string } };
}

export class AppServer {
  log: Logger;
  meter: Meter;
  rpc: RPCAgnostic;
  clickhouse: ClickHouse;
  status = new AppStatus();

  constructor() {
    const config = new AppConfig<{ clickhouse: ClickHouseConfig }>();
    const log = new Logger(config.log);
    this.log = log.for(this);
    this.meter = new Meter(config.meter);
    const redisFactory = new RedisFactory({ log, meter: this.meter, ...config.redis });
    const options: AgnosticRPCOptions = { channels: [config.rpc.name, BROADCAST], redisFactory, log, meter: this.meter, ...config.rpc };
    this.rpc = new RPCAgnostic(options);
    this.rpc.setup(new RPCAdapterRedis(options));
    this.clickhouse = new ClickHouse(config.config.clickhouse, log, this.meter);
    this.setup(config.rpc.name).catch((exc) => {
      this.log.error("setup failed", exc);
      process.exit(1);
    });
  }

  async setup(name: string): Promise<void> {
    await this.clickhouse.init();
    this.rpc.register(METHOD_STATUS, this.status.get);
    this.rpc.register(BROADCAST, (event: { [field: string]: any }) => this.clickhouse.write("events", event));
    const alive = () => {
      this.meter.tick("band.chwriter.alive");
      this.rpc.notify(SERVICE_DIRECTOR, METHOD_IAMALIVE, { name });
    };
    setTimeout(alive, 500);
    setInterval(alive, 5000);
  }
}

export const appServer = new AppServer();
