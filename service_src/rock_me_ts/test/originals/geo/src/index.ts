import { ENRICH } from "@app/constants";
import {
  type AgnosticRPCOptions,
  AppConfig,
  Logger,
  METHOD_IAMALIVE,
  METHOD_STATUS,
  Meter,
  type MeterFacade,
  type MethodRegistration,
  RedisFactory,
  type RPCAdapter,
  RPCAdapterRedis,
  RPCAgnostic,
  type RPCAppStatus,
  SERVICE_DIRECTOR,
} from "@rockstat/rock-me-ts";

type Answer = { [field: string]: any };

/** As the roles of user agents that keep what they answered: the same object is given again. */
const known = new Map<string, Answer>();

function versionOf(parts: { [part: string]: string | null }): string {
  const found: string[] = [];
  for (const part of ["major", "minor", "patch"]) {
    const number = parts[part];
    if (number === null || number === undefined) break;
    found.push(number);
  }
  return found.join(".");
}

/** Answers enrichments by the role that SERVICE_GROUP gives it. */
export class AppServer {
  log: Logger;
  meter: MeterFacade;
  name: string;
  service_group: string;
  rpcAdaptor: RPCAdapter;
  rpc: RPCAgnostic;
  appStarted: Date = new Date();
  enrichers: Array<{ method: string; keys: string[]; props: { [name: string]: string } }> = [];

  constructor() {
    const config = new AppConfig<{}>();
    const log = new Logger(config.log);
    const meter = new Meter(config.meter);
    this.meter = meter;
    this.log = log.for(this);
    this.name = config.rpc.name;
    this.service_group = config.rpc.service_group || "unknown";
    const redisFactory = new RedisFactory({ log, meter, ...config.redis });
    // The channels of the settings win over these.
    const rpcOptions: AgnosticRPCOptions = { channels: ["nobody-calls-here"], redisFactory, log, meter, ...config.rpc };
    this.rpcAdaptor = new RPCAdapterRedis(rpcOptions);
    this.rpc = new RPCAgnostic(rpcOptions);
    this.rpc.setup(this.rpcAdaptor);
    this.setup().then(
      () => this.log.info("Setup completed"),
      (exc) => this.log.error(exc),
    );
  }

  async status(): Promise<RPCAppStatus> {
    const register: MethodRegistration[] = this.enrichers.map(({ method, keys, props }) => ({ method, role: "enricher", options: { keys, props } }));
    const started = Number(this.appStarted);
    return { name: this.name, app_state: "running", app_started: started, app_uptime: Date.now() - started, register };
  }

  async handle({ ip, ua }: { ip: string; ua: string }): Promise<Answer> {
    if (this.service_group === "uap") return { browser_name: /Chrome/.test(ua) ? "Chrome" : "other", worker: this.name };
    if (this.service_group === "uapc") {
      const before = known.get(ua);
      if (before) return before;
      const [, family = "Other", major = null, minor = null] = /(Chrome|Firefox)\/(\d+)(?:\.(\d+))?/.exec(ua) ?? [];
      const answer: Answer = { browser_family: family, browser_version: versionOf({ major, minor }), worker: this.name };
      if (/bot/i.test(ua)) answer.is_bot = true;
      known.set(ua, answer);
      return answer;
    }
    if (this.service_group === "geo") return ip.includes(":") ? {} : { country_en: "United Kingdom", city_ru: "Боxфорд" };
    return {};
  }

  async setup(): Promise<void> {
    this.rpc.register(ENRICH, this.handle.bind(this));
    this.enrichers.push({ method: ENRICH, keys: ["in.gen.track"], props: { ip: "td.ip", ua: "td.ua" } });
    this.rpc.register(METHOD_STATUS, () => this.status());
    const alive = () => {
      this.meter.tick(`band.${this.name}.alive`);
      Promise.all([this.rpc.notify(SERVICE_DIRECTOR, METHOD_IAMALIVE, { name: this.name })]);
    };
    setTimeout(alive, 500);
    setInterval(alive, 9 * 1000);
  }
}

export const appServer = new AppServer();
