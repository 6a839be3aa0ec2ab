/** The original's types, under the names that services import. They name no type of another package. */

export type Envs = "dev" | "production" | "stage";
export type AnyConfig = Record<string, any>;
export type AbstractConfig<T = AnyConfig> = T & { [section: string]: any };
export interface AppConfigOptions {
  vars?: Record<string, any>;
  dir?: string;
}
export interface RPCConfig {
  name: string;
  listen_all?: boolean;
  listen_direct?: boolean;
  listen_enrich?: boolean;
  channels?: string[];
  service_group?: string;
  /** Has `register('broadcast', fn)` consume the durable stream, not the channel. */
  durable?: boolean;
  /** Rows to announce for a service that registers none itself. */
  register?: MethodRegistration[];
  [option: string]: any;
}
export interface RedisConfig {
  dsn: string;
  [option: string]: any;
}
export interface PinoConfig {
  level?: string;
  name?: string;
  safe?: boolean;
  prettyPrint?: boolean | Record<string, any>;
  [option: string]: any;
}
export interface LoggerConfig {
  pino?: PinoConfig;
  [option: string]: any;
}
export interface StatsDUDPConfig {
  host: string;
  port?: number | string;
  prefix?: string;
  [option: string]: any;
}
export type StatsDClientConfig = StatsDUDPConfig;
export interface MeterConfig {
  statsd?: StatsDUDPConfig;
  [option: string]: any;
}
export interface ImplicitConfig {
  rpc: RPCConfig;
  redis: RedisConfig;
  log: LoggerConfig;
  metrics: MeterConfig;
  [section: string]: any;
}
export type ConfigRoot = ImplicitConfig;

export type LogLevel = "trace" | "debug" | "info" | "warn" | "error" | "fatal";
export type LogLevels = LogLevel;
export type LogFn = (first: any, ...rest: any[]) => void;
export type LoggerMethods = Record<LogLevel, LogFn>;
export interface LoggerType extends LoggerMethods {
  for(owner: any): LoggerType;
  child(options: LoggerConfig): LoggerType;
  logger: any;
}

export type MetricTags = Record<string, string | number>;
export interface MetricsCollector {
  tick(metric: string, tags?: MetricTags): void;
  time(metric: string, ms: number, tags?: MetricTags): void;
  timenote(metric: string, tags?: MetricTags): () => number;
  gauge(metric: string, value: number, tags?: MetricTags): void;
}
export type MeterFacade = MetricsCollector;

export type RedisMessageHandler = (message: any[]) => void;
export type RedusListenerFn = (...args: any[]) => void;
export interface RedisClientOptions {
  dsn: string;
  log?: LoggerType;
  meter?: MeterFacade;
  [option: string]: any;
}
export interface RedisClientType {
  client: any;
  get(key: string): Promise<any>;
  set(key: string, value: string | number): Promise<any>;
  hgetall(key: string): Promise<any[]>;
  hmset(key: string, ...pairs: any[]): Promise<any>;
  expire(key: string, seconds: number): Promise<any>;
  publish(channel: string, text: string): void;
  subscribe(channel: string, fn: RedisMessageHandler): void;
  subscribes(channels: string[], fn: RedisMessageHandler): void;
  on(event: string, fn: RedusListenerFn): void;
}
export interface RedisFactoryType {
  create(): RedisClientType;
}

export interface MethodRegistrationOptions {
  alias?: string;
  timeout?: number;
  keys?: string[];
  props?: Record<string, string>;
  section?: string;
  [option: string]: any;
}
export interface MethodRegistration {
  service?: string;
  method: string;
  role: string;
  options?: MethodRegistrationOptions;
}
export interface MethodRegRequest {
  /** As the original types it; rows without options come too. */
  register?: Array<MethodRegistration & { service: string; options: MethodRegistrationOptions }>;
  methods?: Array<[string, string, string]>;
  /** A number on the wire, a text in the original's types. */
  state_hash?: any;
  [field: string]: any;
}
export type EnrichersRequirements = Array<[string, string]>;
export interface RPCAppStatus {
  name?: string;
  app_state: string;
  app_started: number;
  app_uptime: number;
  methods?: any[];
  register?: MethodRegistration[];
  [fact: string]: any;
}
export type RPCRegisterStruct = MethodRegRequest;
export type RPCRegisterHandler = (data: MethodRegRequest) => any;

export type RPCRequestParams = any;
export interface RPCRequestOptions {
  timeout?: number;
  services?: string[];
}
export interface RPCBase {
  jsonrpc: "2.0";
  from: string;
  to: string;
  id?: string | number | null;
}
export interface RPCRequest extends RPCBase {
  method: string;
  params?: RPCRequestParams;
}
export interface RPCResponse extends RPCBase {
  result: any;
}
export interface RPCErrorDetails {
  code: number;
  message: string;
  data?: any;
}
export interface RPCResponseError extends RPCBase {
  error: RPCErrorDetails;
}
export type RPCRequestHandler<T = any> = (data: T) => any;
export type RequestHandler<T = any> = RPCRequestHandler<T>;
export type RpcMethods = Record<string, RPCRequestHandler>;
export interface RPCWaitingCall {
  resolve: (value: any) => void;
  reject: (error: any) => void;
  [field: string]: any;
}
export type RPCWaitingCalls = Record<string, RPCWaitingCall>;
export interface RPCAdapter {
  send(to: string, message: any): void;
  on(event: string, fn: (...args: any[]) => void): any;
  [field: string]: any;
}
export interface AgnosticRPCOptions {
  name: string;
  channels: string[];
  redisFactory: RedisFactoryType;
  log?: LoggerType;
  meter?: MeterFacade;
  listen_all?: boolean;
  listen_direct?: boolean;
  listen_enrich?: boolean;
  service_group?: string;
  durable?: boolean;
  register?: MethodRegistration[];
  [option: string]: any;
}

export type HTTPHeader = [string, number | string | string[]];
export type HTTPHeaders = HTTPHeader[];
export type HTTPCodes = number;
export interface BandResponseBase {
  type__: string;
  headers: HTTPHeaders;
  statusCode: number;
  [field: string]: any;
}
export type BandResponseDataType = any;
export interface BandResponseData extends BandResponseBase {
  type__: "data";
  data: BandResponseDataType;
  contentType?: string;
}
export interface BandResponseError extends BandResponseBase {
  type__: "error";
  errorMessage: string;
}
export interface BandResponseRedirect extends BandResponseBase {
  type__: "redirect";
  location: string;
}
export interface BandResponsePixel extends BandResponseBase {
  type__: "pixel";
}
export type BandResponse = BandResponseData | BandResponseError | BandResponseRedirect | BandResponsePixel;
export type UnknownResponse = any;
export type BandDataResponseBuilder = (options: { data?: any; statusCode?: number; headers?: HTTPHeaders; contentType?: string }) => BandResponseData;
export type BandDataResponsdeBuilder = BandDataResponseBuilder;
export type BandErrorResponseBuilder = (options: { errorMessage?: string; statusCode?: number; headers?: HTTPHeaders }) => BandResponseError;
export type BandRedirectResponseBuilder = (options: { location: string; statusCode?: number; headers?: HTTPHeaders }) => BandResponseRedirect;
export type BandPixelResponseBuilder = (options?: { statusCode?: number; headers?: HTTPHeaders }) => BandResponsePixel;
