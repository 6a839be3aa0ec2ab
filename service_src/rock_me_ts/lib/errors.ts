/**
 * Everything that the package throws on purpose.
 *
 *     BandError
 *     ├── SettingsError           a setting is missing, misspelt or of the wrong type
 *     ├── RegistrationError       a function was exposed in a way that cannot work
 *     ├── Retry                   thrown by a listener: deliver it again later
 *     ├── Reject                  thrown by a listener: make it a dead letter at once
 *     ├── RedisError
 *     │   ├── RedisUnavailable    there is no connection to Redis, or it did not answer in time
 *     │   └── RedisReplyError     Redis answered with an error (OOM, WRONGTYPE, NOAUTH …)
 *     └── RpcError
 *         ├── InvalidParams       the call's parameters do not fit the function
 *         ├── RpcTimeout          the peer did not answer before the deadline
 *         ├── RpcUnavailable      nobody listens under that name, or Redis was unavailable until the deadline
 *         └── RpcRemoteError      the peer answered with a JSON-RPC error
 *
 * The message of each says what happened, why, and what to do next.
 */

/** Base class of the package's errors. */
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

/** A day: until then the stream keeps the event and all newer ones. */
export const MAX_RETRY_SECONDS = 86_400;

/** The delay of a `Retry`. */
export interface RetryOptions {
  /** The minimum number of seconds to wait, up to a day. Default: the listener's `backoff`. */
  after?: number;
  cause?: unknown;
}

/**
 * A listener throws it to have the event, or the batch, delivered again later, and others meanwhile. It counts as an attempt
 * (`maxAttempts`); delay and count survive a restart. `throw new Retry({ after: 30 })`, or with a reason before the options: it
 * becomes the dead letter's if the last attempt ends in this way too.
 *
 * @throws RangeError if `after` is negative or more than a day
 */
export class Retry extends BandError {
  readonly after: number | undefined;
  constructor(reason?: string, options?: RetryOptions);
  constructor(options: RetryOptions);
  constructor(given: string | RetryOptions = "", more: RetryOptions = {}) {
    const options = typeof given === "object" ? given : more;
    super((typeof given === "string" && given) || "the listener asked for another delivery", "cause" in options ? { cause: options.cause } : undefined);
    const { after } = options;
    if (after !== undefined && !(after >= 0 && after <= MAX_RETRY_SECONDS)) {
      throw new RangeError(`Retry after ${after} s is invalid; give seconds from 0 to ${MAX_RETRY_SECONDS} (a day)`);
    }
    this.after = after;
  }
}

/** A listener throws it to make the event a dead letter at once, with this reason. Of a batch, only events that are rejected on their own become dead letters. */
export class Reject extends BandError {
  constructor(reason = "", options?: { cause?: unknown }) {
    super(reason || "the listener rejected the event", options);
  }
}

/** Base class of errors between a service and Redis. */
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

/** Base class of errors of a call; `to` and `method` name the call. */
export class RpcError extends BandError {
  readonly to: string;
  readonly method: string;
  constructor(message: string, call: { to?: string; method?: string } = {}) {
    super(message);
    this.to = call.to ?? "";
    this.method = call.method ?? "";
  }
}

/** The call's parameters do not fit the function. Callers get code -32602 with this text, over HTTP 422 if a schema refused one, else 400. */
export class InvalidParams extends RpcError {
  /** The parameter that was refused (`$.limit`), "" if none is named. */
  readonly path: string;
  constructor(message: string, { path = "" }: { path?: string } = {}) {
    super(message);
    this.path = path;
  }
}

/** The peer did not answer before the deadline. */
export class RpcTimeout extends RpcError {}

/** Nobody listens under that name, or Redis was unavailable until the deadline. */
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
