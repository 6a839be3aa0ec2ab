import { EventEmitter } from "node:events";
import { dsnFromEnv, parseAddress } from "../redis/address";
import { RedisLink } from "../redis/link";
import type { Part } from "../redis/resp";
import type { RedisClientOptions, RedisClientType, RedisFactoryType, RedisMessageHandler, RedusListenerFn } from "./types";

/** Milliseconds that a command waits for a connection. */
const PATIENCE = 30_000;
/** Milliseconds between two attempts to connect, at most: the original's services try each second, and count on it. */
const LONGEST_PAUSE = 1000;

/** A connection of its own to Redis, with the original's methods. */
export class RedisClient implements RedisClientType {
  /** The original's driver, as far as services use it. */
  readonly client: {
    rawCall(args: any[], callback?: (error: Error | null, reply?: any) => void): void;
    rawCallAsync(args: any[]): Promise<any>;
    end(): void;
  };
  private readonly link: any;
  private readonly events: any = new EventEmitter();
  private readonly handlers = new Map<string, RedisMessageHandler[]>();

  constructor(options: RedisClientOptions) {
    this.events.on("error", () => {}); // an emitter without a listener would throw
    const deliver = (channel: string, text: string) => {
      for (const handler of this.handlers.get(channel) ?? []) handler(["message", channel, text]);
    };
    const link = new RedisLink("rock-me-ts", deliver, LONGEST_PAUSE);
    this.link = link;
    let before = false;
    link.onState = (connected, reason) => {
      for (const event of connected ? ["connect", "ready"] : ["disconnect", "reconnecting"]) this.events.emit(event, reason);
      if (!connected && reason) this.events.emit("error", new Error(reason));
      if (connected && before) for (const [channel, handlers] of this.handlers) for (const handler of handlers) handler(["subscribe", channel, 1]);
      before ||= connected;
    };
    link.start(parseAddress(options.dsn || dsnFromEnv(process.env)));
    const call = (args: any[]) => this.call(args);
    this.client = {
      rawCall: (args, callback) => {
        call(args).then(
          (reply) => callback?.(null, reply),
          (error) => callback?.(error),
        );
      },
      rawCallAsync: call,
      end: () => {
        void link.close().then(() => this.events.emit("end"));
      },
    };
  }

  get(key: string): Promise<any> {
    return this.call(["GET", key]);
  }

  set(key: string, value: string | number): Promise<any> {
    return this.call(["SET", key, value]);
  }

  hgetall(key: string): Promise<any[]> {
    return this.call(["HGETALL", key]);
  }

  hmset(key: string, ...pairs: any[]): Promise<any> {
    return this.call(["HSET", key, ...pairs.flat()]);
  }

  expire(key: string, seconds: number): Promise<any> {
    return this.call(["EXPIRE", key, seconds]);
  }

  publish(channel: string, text: string): void {
    this.link.publish(channel, text, null, true);
  }

  subscribe(channel: string, fn: RedisMessageHandler): void {
    const handlers = this.handlers.get(channel) ?? [];
    this.handlers.set(channel, [...handlers, fn]);
    const link: RedisLink = this.link;
    link.subscribe(channel).then(
      () => link.connected && fn(["subscribe", channel, this.handlers.size]),
      () => {}, // a connection to come subscribes
    );
  }

  subscribes(channels: string[], fn: RedisMessageHandler): void {
    for (const channel of channels) this.subscribe(channel, fn);
  }

  on(event: string, fn: RedusListenerFn): void {
    this.events.on(event, fn);
    if (this.link.connected && (event === "connect" || event === "ready")) setImmediate(fn);
  }

  private async call(args: any[]): Promise<any> {
    const link: RedisLink = this.link;
    if (!link.connected) await link.ready(PATIENCE);
    return flat(await link.command(args.map((arg): Part => (typeof arg === "number" || Buffer.isBuffer(arg) ? arg : String(arg)))));
  }
}

/** Returns a reply as RESP2 has it: a map is a flat list. */
function flat(reply: any): any {
  if (reply instanceof Map) return [...reply].flatMap(([key, value]) => [key, flat(value)]);
  return Array.isArray(reply) ? reply.map(flat) : reply;
}

export class RedisFactory implements RedisFactoryType {
  constructor(readonly options: RedisClientOptions) {}

  create(): RedisClient {
    return new RedisClient(this.options);
  }
}
