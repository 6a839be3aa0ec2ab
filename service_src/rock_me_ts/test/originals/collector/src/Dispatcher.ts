import { ENRICH, ENRICH_TIMEOUT, IN_GENERIC } from "@app/constants";
import type { CollectorConfig, IncomingMessage } from "@app/types";
import {
  type AgnosticRPCOptions,
  AppConfig,
  AppStatus,
  type BandResponse,
  BROADCAST,
  type EnrichersRequirements,
  isBandResponse,
  Logger,
  METHOD_IAMALIVE,
  METHOD_STATUS,
  Meter,
  type MethodRegistrationOptions,
  type MethodRegRequest,
  type RedisClient,
  RedisFactory,
  RPCAdapterRedis,
  RPCAgnostic,
  response,
  SERVICE_DIRECTOR,
  STATUS_INT_ERROR,
  STATUS_NOT_FOUND,
  TheIds,
  type UnknownResponse,
} from "@rockstat/rock-me-ts";
import { Container, Inject, Service } from "typedi";

interface Target {
  service: string;
  method: string;
  options: MethodRegistrationOptions;
}

@Service()
export class Dispatcher {
  @Inject()
  private readonly meter: Meter;
  private readonly log: Logger = Container.get(Logger).for(this);
  private readonly ids: TheIds = Container.get(TheIds);
  private readonly config = Container.get<AppConfig<CollectorConfig>>(AppConfig);
  private readonly status = new AppStatus();
  private rpc: RPCAgnostic;
  private redis: RedisClient;
  private handlers: { [key: string]: Target } = {};
  private enrichers: Target[] = [];
  private requirements: EnrichersRequirements = [];

  setup(): void {
    const redisFactory = Container.get(RedisFactory);
    const { meter, log, config } = this;
    const options: AgnosticRPCOptions = { channels: [config.rpc.name], redisFactory, log, meter, ...config.rpc };
    this.rpc = new RPCAgnostic(options);
    this.rpc.setup(new RPCAdapterRedis(options));
    this.redis = redisFactory.create();
    this.redis.on("ready", () => log.info("users' store is connected"));
    this.rpc.register<MethodRegRequest>(METHOD_STATUS, async (data) => {
      if (data.register) this.learn(data.register);
      return { ...this.status.get({}), state_hash: data.state_hash };
    });
  }

  start(): void {
    const alive = () => this.rpc.notify(SERVICE_DIRECTOR, METHOD_IAMALIVE, { name: this.config.rpc.name });
    setInterval(alive, 500);
  }

  private learn(rows: NonNullable<MethodRegRequest["register"]>): void {
    this.handlers = {};
    this.enrichers = [];
    this.requirements = [];
    for (const { service, method, role, options = {} } of rows) {
      const target: Target = { service, method, options };
      if (role === "handler") this.handlers[[IN_GENERIC, options.alias || service, method].join(".")] = target;
      if (role === "enricher" && Array.isArray(options.keys)) {
        this.enrichers.push(target);
        for (const [name, path] of Object.entries(options.props || {})) this.requirements.push([name, path]);
      }
    }
  }

  async dispatch(msg: IncomingMessage): Promise<BandResponse> {
    const note = this.meter.timenote("dispatch", { channel: msg.channel });
    msg.uid = msg.uid || this.ids.flake();
    msg.id = this.ids.flake();
    msg.time = Date.now();
    msg.data.fpid = this.ids.xxhash(`${msg.td.ip}:${msg.td.ua}`);
    msg.data.user = this.pairs(await this.redis.hgetall(`s:${msg.uid}`));
    Object.assign(msg.data, await this.enrich(msg));
    this.rpc.notify(BROADCAST, BROADCAST, msg);
    const answer = await this.handle(msg);
    this.meter.tick("http.request");
    this.log.debug({ took: note() }, "dispatched");
    return isBandResponse(answer) ? answer : response.data({ data: answer });
  }

  private async enrich(msg: IncomingMessage): Promise<{ [service: string]: any }> {
    const wanted = this.enrichers.filter(({ options }) => (options.keys || []).some((key) => msg.key.startsWith(key)));
    const params: { [name: string]: any } = { key: msg.key };
    for (const [name, path] of this.requirements) params[name] = path.split(".").reduce((inner: any, part) => inner?.[part], msg);
    const services = wanted.map(({ service }) => service);
    return (await this.rpc.request(ENRICH, ENRICH, params, { services, timeout: ENRICH_TIMEOUT })) || {};
  }

  private async handle(msg: IncomingMessage): Promise<UnknownResponse> {
    const location = this.config.config.http.redirects[msg.name];
    if (msg.service === "redir") return location ? response.redirect({ location }) : response.error({ statusCode: STATUS_NOT_FOUND });
    if (msg.service === "pixel") return response.pixel({ headers: [["X-Id", msg.id]] });
    const target = this.handlers[msg.key];
    if (!target) return { key: msg.key, id: msg.id, uid: msg.uid };
    try {
      return await this.rpc.request<BandResponse>(target.service, target.method, msg, { timeout: target.options.timeout });
    } catch (error) {
      this.log.error(error);
      return response.error({ errorMessage: error.message, statusCode: STATUS_INT_ERROR });
    }
  }

  private pairs(flat: string[]): { [key: string]: any } {
    const found: { [key: string]: any } = {};
    for (let at = 0; at < flat.length; at += 2) found[flat[at]] = JSON.parse(flat[at + 1]);
    return found;
  }
}
