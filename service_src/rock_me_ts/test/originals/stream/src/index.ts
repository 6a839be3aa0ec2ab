import { Producer } from "@app/producer";
import {
  type AgnosticRPCOptions,
  AppConfig,
  BROADCAST,
  Logger,
  Meter,
  RedisFactory,
  type RPCAdapter,
  RPCAdapterRedis,
  RPCAgnostic,
  TheIds,
} from "@rockstat/rock-me-ts";

interface StreamConfig {
  clientId: string;
  brokers: string[];
  mapping: { [prefix: string]: [string, string] };
}

export class Deps {
  log: Logger;
  id: TheIds;
  config: AppConfig<{ stream: StreamConfig }>;
  meter: Meter;
  constructor(obj: { [k: string]: any } = {}) {
    Object.assign(this, obj);
  }
}

export class Writer {
  log: Logger;
  meter: Meter;
  options: StreamConfig;
  producer: Producer;

  constructor({ log, meter, config }: Deps) {
    this.log = log.for(this);
    this.meter = meter;
    this.options = config.get("stream");
  }

  async init(): Promise<void> {
    const { clientId, brokers } = this.options;
    this.producer = new Producer({ clientId, brokers });
    await this.producer.connect();
    this.log.info("connected");
  }

  write = async (msg: { [k: string]: any }): Promise<{}> => {
    this.meter.tick("ch.write.called");
    for (const [prefix, [topic, key]] of Object.entries(this.options.mapping)) {
      if (msg.key.startsWith(prefix)) await this.producer.send({ topic, key: msg[key], value: JSON.stringify(msg) });
    }
    this.meter.tick("ch.kafkastream.success");
    return {};
  };
}

/** It has neither a status nor a heartbeat, and listens only when its broker is connected. */
export class AppServer {
  log: Logger;
  rpc: RPCAgnostic;
  writer: Writer;

  constructor() {
    const config = new AppConfig<{ stream: StreamConfig }>();
    const log = new Logger(config.log);
    const meter = new Meter(config.meter);
    this.log = log.for(this);
    const redisFactory = new RedisFactory({ log, meter, ...config.redis });
    const rpcOptions: AgnosticRPCOptions = { channels: [config.rpc.name, BROADCAST], redisFactory, log, meter, ...config.rpc };
    const adaptor: RPCAdapter = new RPCAdapterRedis(rpcOptions);
    this.rpc = new RPCAgnostic(rpcOptions);
    this.rpc.setup(adaptor);
    this.writer = new Writer(new Deps({ id: new TheIds(), log, config, meter }));
    this.setup().catch((exc) => {
      this.log.error(exc);
      process.exit(0);
    });
  }

  async setup(): Promise<void> {
    await this.writer.init();
    this.rpc.register(BROADCAST, this.writer.write);
  }
}

export const appServer = new AppServer();
