/** A bus inside this process, for tests: publish and subscribe, nothing else. */

import { RedisReplyError } from "../errors";
import type { OnReply, Wire } from "./connection";
import type { Part } from "./resp";

const buses = new Map<string, Set<MemoryConnection>>();

export class MemoryConnection implements Wire {
  readonly lost: Promise<string>;
  private readonly channels = new Set<string>();
  private readonly bus: Set<MemoryConnection>;
  private end!: (reason: string) => void;

  constructor(
    private readonly name: string,
    private readonly onPush: (items: any[]) => void,
  ) {
    this.lost = new Promise((resolve) => {
      this.end = resolve;
    });
    this.bus = buses.get(name) ?? new Set();
    this.bus.add(this);
    buses.set(name, this.bus);
  }

  send(parts: readonly Part[], onReply: OnReply | null): void {
    const reply = this.answer(parts);
    if (onReply) setImmediate(() => onReply(reply));
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
    this.bus.delete(this);
    if (!this.bus.size) buses.delete(this.name);
    this.end(reason);
  }

  async close(): Promise<void> {
    this.abort("closed");
  }

  private answer(parts: readonly Part[]): any {
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
      case "EXPIRE":
        return 1;
      case "ZREMRANGEBYSCORE":
      case "XLEN":
        return 0;
      case "ZRANGEBYSCORE":
        return [];
      default:
        return new RedisReplyError(`ERR the in-memory Redis does not support ${parts[0]}: a test of this needs a real Redis`);
    }
  }

  private publish(channel: string, payload: string): number {
    const hearers = [...this.bus].filter((wire) => wire.channels.has(channel));
    for (const wire of hearers) setImmediate(() => wire.onPush(["message", channel, payload]));
    return hearers.length;
  }
}
