// How services of the original use the package; compiled with TypeScript 4.9 and 5.x, each with strict checks of libraries.
import {
  type AgnosticRPCOptions,
  AppConfig,
  AppStatus,
  type BandResponse,
  BROADCAST,
  ENV_PROD,
  type EnrichersRequirements,
  type Envs,
  getAppDeps,
  type HTTPHeaders,
  isBandResponse,
  Logger,
  type LoggerType,
  METHOD_STATUS,
  Meter,
  type MeterFacade,
  type MethodRegistration,
  type MethodRegistrationOptions,
  type MethodRegRequest,
  RESP_DATA,
  RESP_ERROR,
  RESP_PIXEL,
  RESP_REDIRECT,
  type RedisClient,
  RedisFactory,
  RPCAdapterRedis,
  RPCAgnostic,
  type RPCAppStatus,
  type RPCConfig,
  response,
  SERVICE_DIRECTOR,
  STATUS_BAD_REQUEST,
  STATUS_INT_ERROR,
  STATUS_NOT_FOUND,
  STATUS_OK,
  STATUS_TEAPOT,
  TheIds,
  type UnknownResponse,
  version,
} from "@rockstat/rock-me-ts";

interface Mine {
  kafka: { brokers: string[] };
}

class Server {
  log: Logger;
  status = new AppStatus();
  rpc: RPCAgnostic;
  meter: Meter;
  redis: RedisClient;
  hash = "";
  routes: { [key: string]: [string, string, MethodRegistrationOptions] } = {};

  constructor() {
    const config = new AppConfig<Mine>({ vars: { a: 1 } });
    this.log = new Logger(config.log);
    this.meter = new Meter(config.meter);
    const redisFactory = new RedisFactory({ log: this.log, meter: this.meter, ...config.redis });
    const rpcConfig: RPCConfig = config.rpc;
    const options: AgnosticRPCOptions = { channels: [rpcConfig.name, BROADCAST], redisFactory, log: this.log, meter: this.meter, ...config.rpc };
    this.rpc = new RPCAgnostic(options);
    this.rpc.setup(new RPCAdapterRedis(options));
    this.redis = redisFactory.create();
    const brokers: string[] = config.config.kafka.brokers;
    const env: Envs = config.env;
    this.log.info({ brokers, prod: env === ENV_PROD, url: config.rpc.name }, "text %s", version);
    getAppDeps().setDep("ids", new TheIds());
  }

  start(): void {
    this.rpc.register<{ ip: string }>("enrich", async ({ ip }) => ({ ip }));
    this.rpc.register(METHOD_STATUS, this.status.get);
    this.rpc.register<MethodRegRequest>("table", ({ register = [], state_hash }) => {
      this.hash = state_hash;
      for (const { service, method, options } of register) this.routes[method] = [service, method, options];
      const rows: Array<[string, string]> = register.map(({ service, method }) => [service, method]);
      const needs: EnrichersRequirements = rows;
      return needs;
    });
    this.rpc.notify(SERVICE_DIRECTOR, "__iamalive", { name: "x" });
    const note = this.meter.timenote("a", { b: "c" });
    this.rpc.request<BandResponse>("a", "b", { c: 1 }, { timeout: 5 }).then((found) => this.answer(found));
    this.rpc.request("enrich", "enrich", {}, { services: ["a"] });
    this.redis.hgetall("s:1").then((flat) => flat.length + note());
    const log: LoggerType = this.log.for(this);
    const meter: MeterFacade = this.meter;
    log.debug("x", meter);
  }

  answer(found: UnknownResponse): BandResponse {
    const headers: HTTPHeaders = [
      ["X-A", "b"],
      ["X-Response-Time", 7],
      ["Set-Cookie", ["uid=1", "a=b"]],
    ];
    if (!isBandResponse(found)) return response.data({ data: found, headers, statusCode: STATUS_OK });
    switch (found.type__) {
      case RESP_DATA:
        return response.data({ data: found.data });
      case RESP_ERROR:
        return response.error({ errorMessage: found.errorMessage, statusCode: STATUS_TEAPOT });
      case RESP_REDIRECT:
        return response.redirect({ location: found.location });
      case RESP_PIXEL:
        return response.pixel({});
    }
    return response.error({ statusCode: [STATUS_BAD_REQUEST, STATUS_NOT_FOUND, STATUS_INT_ERROR][0] });
  }
}

const rows: MethodRegistration[] = [{ method: "enrich", role: "enricher", options: { keys: ["*"], props: { ip: "td.ip" } } }];
export const status: RPCAppStatus = { name: "x", app_state: "running", app_started: 1, app_uptime: 1, register: rows };
export const server = new Server();
