import pino from "pino";
import { levelName } from "../service/logs";
import type { LogFn, LoggerConfig, LoggerType, PinoConfig } from "./types";

type PinoLogger = pino.Logger;

/** pino with the original's signatures: `(text, …args)` or `(object, text?, …args)`; an Error among the arguments is kept under `err`. */
export class Logger implements LoggerType {
  readonly logger: any;
  readonly trace: LogFn;
  readonly debug: LogFn;
  readonly info: LogFn;
  readonly warn: LogFn;
  readonly error: LogFn;
  readonly fatal: LogFn;

  constructor(config: LoggerConfig = {}, logger?: any) {
    this.logger = logger ?? makePino(config?.pino ?? {});
    const bind = (level: "trace" | "debug" | "info" | "warn" | "error" | "fatal"): LogFn => {
      const write = (this.logger as PinoLogger)[level].bind(this.logger) as (...args: any[]) => void;
      return (first, ...rest) => {
        const error = typeof first === "string" ? rest.findIndex((arg) => arg instanceof Error) : -1;
        if (error < 0 || first.includes("%s") || first.includes("%o")) write(first, ...rest);
        else write({ err: rest[error] }, first, ...rest.filter((_, index) => index !== error));
      };
    };
    this.trace = bind("trace");
    this.debug = bind("debug");
    this.info = bind("info");
    this.warn = bind("warn");
    this.error = bind("error");
    this.fatal = bind("fatal");
  }

  /** Returns a logger that names the class of `owner` in each line. */
  for(owner: any): Logger {
    return new Logger({}, this.logger.child({ name: owner?.constructor?.name ?? String(owner) }));
  }

  child(options: LoggerConfig): Logger {
    const { level, name } = options.pino ?? {};
    return new Logger({}, this.logger.child(name ? { name } : {}, level ? { level: levelName(String(level)) } : {}));
  }
}

function makePino({ prettyPrint, safe: _safe, level, ...options }: PinoConfig): PinoLogger {
  const given = { ...options, level: levelName(String(level || "info")) } as pino.LoggerOptions;
  if (prettyPrint && process.stdout.isTTY) {
    try {
      require.resolve("pino-pretty");
      return pino({ ...given, transport: { target: "pino-pretty", options: typeof prettyPrint === "object" ? prettyPrint : {} } });
    } catch {
      // pino-pretty is not installed: lines of JSON
    }
  }
  return pino(given);
}

const nothing: LogFn = () => {};

/** Says nothing. */
export class StubLogger implements LoggerType {
  readonly logger: any = null;
  readonly trace = nothing;
  readonly debug = nothing;
  readonly info = nothing;
  readonly warn = nothing;
  readonly error = nothing;
  readonly fatal = nothing;

  for(_owner: any): StubLogger {
    return this;
  }

  child(_options: LoggerConfig): StubLogger {
    return this;
  }
}
