/**
 * A Redis inside this process, for tests of services: publish and subscribe, and the commands of `memory_store`: enough for calls
 * between services and for a listener of the stream, which runs the same code as on a real Redis.
 */

import { RedisReplyError, RedisUnavailable } from "../errors";
import type { OnReply, Wire } from "./connection";
import { Refused, Store } from "./memory_store";
import type { Part } from "./resp";

/** All of one name: connections, data, and who waits for an entry of a stream. */
class Bus {
  readonly connections = new Set<MemoryConnection>();
  readonly store = new Store();
  readonly blocked = new Set<BlockedRead>();
}

const buses = new Map<string, Bus>();

/** An XREADGROUP that waits: answered when there is something, when its time is over, or with its connection. */
class BlockedRead {
  private readonly timer: NodeJS.Timeout;

  constructor(
    readonly wire: MemoryConnection,
    private readonly parts: readonly Part[],
    private readonly onReply: OnReply,
    ms: number,
    private readonly bus: Bus,
  ) {
    this.timer = setTimeout(() => this.end(null), ms);
    bus.blocked.add(this);
  }

  look(): void {
    const reply = this.wire.answer(this.parts);
    if (reply !== null) this.end(reply);
  }

  end(reply: unknown): void {
    clearTimeout(this.timer);
    if (this.bus.blocked.delete(this)) setImmediate(() => this.onReply(reply));
  }
}

export class MemoryConnection implements Wire {
  readonly lost: Promise<string>;
  private readonly channels = new Set<string>();
  private readonly bus: Bus;
  private end!: (reason: string) => void;

  constructor(
    private readonly name: string,
    private readonly onPush: (items: any[]) => void,
  ) {
    this.lost = new Promise((resolve) => {
      this.end = resolve;
    });
    this.bus = buses.get(name) ?? new Bus();
    this.bus.connections.add(this);
    buses.set(name, this.bus);
  }

  send(parts: readonly Part[], onReply: OnReply | null, _deadline = 0, raw = false): void {
    if (!this.bus.connections.has(this)) throw new RedisUnavailable("There is no connection to Redis");
    const reply = this.answer(parts);
    const answer: OnReply = (value) => onReply?.(as(raw, value));
    const block = reply === null && parts[0] === "XREADGROUP" ? parts.indexOf("BLOCK") : -1;
    if (block >= 0) new BlockedRead(this, parts, answer, Number(parts[block + 1]), this.bus);
    else setImmediate(() => answer(reply));
    if (["XADD", "XGROUP", "DEL"].includes(String(parts[0]))) for (const read of [...this.bus.blocked]) read.look();
  }

  sendUnanswered(parts: readonly Part[]): void {
    const [command, ...channels] = parts.map(String);
    for (const channel of channels) {
      if (command === "SUBSCRIBE") this.channels.add(channel);
      else this.channels.delete(channel);
      setImmediate(() => this.onPush([command.toLowerCase(), channel, 1]));
    }
  }

  flush(): void {}

  overdue(): boolean {
    return false;
  }

  abort(reason: string): void {
    this.bus.connections.delete(this);
    const error = new RedisUnavailable(`The connection to Redis was lost before the answer came: ${reason}`);
    for (const read of [...this.bus.blocked]) if (read.wire === this) read.end(error);
    if (!this.bus.connections.size) buses.delete(this.name);
    this.end(reason);
  }

  async close(): Promise<void> {
    this.abort("closed");
  }

  /** The reply to a command, an error as a value. */
  answer(parts: readonly Part[]): unknown {
    switch (parts[0]) {
      case "HELLO":
        return new Map();
      case "PING":
        return "PONG";
      case "PUBLISH":
        return this.publish(String(parts[1]), String(parts[2]));
      // Presence: nobody is known, so every peer is spoken to plainly, like one of the original platform.
      case "ZADD":
      case "ZREM":
        return 1;
      case "ZREMRANGEBYSCORE":
        return 0;
      case "ZRANGEBYSCORE":
        return [];
    }
    try {
      return this.bus.store.answer(parts);
    } catch (error) {
      if (error instanceof Refused) return new RedisReplyError(error.message);
      throw error;
    }
  }

  private publish(channel: string, payload: string): number {
    const hearers = [...this.bus.connections].filter((wire) => wire.channels.has(channel));
    for (const wire of hearers) setImmediate(() => wire.onPush(["message", channel, payload]));
    return hearers.length;
  }
}

/** Returns a reply with its texts as Buffers, or as strings. */
function as(raw: boolean, value: any): any {
  if (typeof value === "string") return raw ? Buffer.from(value) : value;
  if (Buffer.isBuffer(value)) return raw ? value : value.toString();
  if (Array.isArray(value)) return value.map((item) => as(raw, item));
  return value instanceof Map ? new Map([...value].map(([key, item]) => [as(raw, key), as(raw, item)])) : value;
}
