/** Services of Rockstat Band in TypeScript: the new API, and the classes of the original rock-me-ts on the same engine. */

export { RPCAdapterRedis, RPCAgnostic } from "./compat/agnostic";
export { AppConfig } from "./compat/app_config";
export { getAppDeps } from "./compat/deps";
export { IdGenRoundCounter, IdGenShowFlake, TheIds, xxhash } from "./compat/ids";
export { Logger, StubLogger } from "./compat/logger";
export { Meter, StatsdMeter, StubMeter } from "./compat/meter";
export { RedisClient, RedisFactory } from "./compat/redis_client";
export {
  isBandResponse,
  RESP_DATA,
  RESP_ERROR,
  RESP_PIXEL,
  RESP_REDIRECT,
  RESP_TYPE_KEY,
  response,
  STATUS_BAD_REQUEST,
  STATUS_DESCRIPTIONS,
  STATUS_INT_ERROR,
  STATUS_NOT_FOUND,
  STATUS_OK,
  STATUS_OK_NO_CONTENT,
  STATUS_PERSIST_REDIR,
  STATUS_SEE_OTHERS_REDIR,
  STATUS_TEAPOT,
  STATUS_TEMP_REDIR,
  STATUS_UNKNOWN,
} from "./compat/response";
export { AppStatus } from "./compat/status";
export * from "./compat/types";
export { BROADCAST, METHOD_IAMALIVE, METHOD_STATUS, SERVICE_DIRECTOR, SERVICE_KERNEL, SERVICE_TRACK, STATUS_RUNNING } from "./constants";
export {
  BandError,
  InvalidParams,
  RedisError,
  RedisReplyError,
  RedisUnavailable,
  RegistrationError,
  Reject,
  Retry,
  type RetryOptions,
  RpcError,
  RpcRemoteError,
  RpcTimeout,
  RpcUnavailable,
  SettingsError,
} from "./errors";
export { blocking, cleanup, crontab, environment, expose, health, loadSettings, logger, redis, rpc, settings, setup, start, stop, worker } from "./face";
export { ENV_DEV, ENV_PROD, ENV_STAGE } from "./service/settings";
export * from "./types";
export { version } from "./version";
