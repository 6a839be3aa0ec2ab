/**
 * Everything that the package throws on purpose.
 *
 *     BandError
 *     ├── SettingsError           a setting is missing, misspelt or of the wrong type
 *     ├── RegistrationError       a function was exposed in a way that cannot work
 *     ├── RedisError
 *     │   ├── RedisUnavailable    there is no connection to Redis, or it did not answer in time
 *     │   └── RedisReplyError     Redis answered with an error (OOM, WRONGTYPE, NOAUTH …)
 *     └── RpcError
 *         ├── InvalidParams       the call's parameters do not fit the function
 *         ├── RpcTimeout          the peer did not answer before the deadline
 *         ├── RpcUnavailable      nobody listens under that name, or Redis stayed away until the deadline
 *         └── RpcRemoteError      the peer answered with a JSON-RPC error
 *
 * The message of each says what happened, why, and what to do next.
 */

/** Root of the package's errors. */
export class BandError extends Error {
  constructor(message: string, options?: { cause?: unknown }) {
    super(message);
    this.name = new.target.name;
    if (options && "cause" in options) Object.defineProperty(this, "cause", { value: options.cause, configurable: true, writable: true });
  }
}

/** A setting is missing, misspelt or of the wrong type. */
export class SettingsError extends BandError {}

/** A function was exposed in a way that cannot work. */
export class RegistrationError extends BandError {}

/** Root of what goes wrong between a service and Redis. */
export class RedisError extends BandError {}

/** There is no connection to Redis, or it did not answer in time. */
export class RedisUnavailable extends RedisError {}

/** Redis answered with an error; `code` is its first word. */
export class RedisReplyError extends RedisError {
  readonly code: string;
  constructor(message: string) {
    super(message);
    this.code = message.split(" ", 1)[0];
  }
}

/** Root of what goes wrong with a call; `to` and `method` name the call. */
export class RpcError extends BandError {
  readonly to: string;
  readonly method: string;
  constructor(message: string, call: { to?: string; method?: string } = {}) {
    super(message);
    this.to = call.to ?? "";
    this.method = call.method ?? "";
  }
}

/** The call's parameters do not fit the function; callers get code -32602 with this text. */
export class InvalidParams extends RpcError {}

/** The peer did not answer before the deadline. */
export class RpcTimeout extends RpcError {}

/** Nobody listens under that name, or Redis stayed away until the deadline. */
export class RpcUnavailable extends RpcError {}

/** The peer answered with a JSON-RPC error: its `code` and `data`; `remoteMessage` is its text without the detail. */
export class RpcRemoteError extends RpcError {
  readonly code: number;
  readonly remoteMessage: string;
  readonly data: unknown;
  constructor(code: number, message: string, data?: unknown, call: { to?: string; method?: string } = {}) {
    const detail = data !== null && typeof data === "object" ? (data as Record<string, unknown>).message : undefined;
    super(typeof detail === "string" && detail ? `${message}: ${detail}` : message, call);
    this.code = code;
    this.remoteMessage = message;
    this.data = data ?? null;
  }
}
