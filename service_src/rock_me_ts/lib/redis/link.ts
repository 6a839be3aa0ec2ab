/**
 * A connection to Redis that keeps itself alive: connect, sign in, subscribe again, watch, back off, begin anew. There is
 * no other loop, so nothing can spin while Redis is away.
 */

import { Backoff } from "../backoff";
import { RedisReplyError, RedisUnavailable } from "../errors";
import { logger } from "../service/logs";
import { type RedisAddress, showAddress } from "./address";
import { Connection, type OnReply, type Wire } from "./connection";
import { MemoryConnection } from "./memory";
import type { Part } from "./resp";

export type OnMessage = (channel: string, data: string) => void;

const CONNECT_TIMEOUT = 3000;
export const COMMAND_TIMEOUT = 5000;
const WATCH_INTERVAL = 1000;
/** Milliseconds after which a connection counts as stable, and the backoff is reset. */
const STEADY_AFTER = 5000;
const OUTBOX_TIME = 30_000;
const OUTBOX_MESSAGES = 20_000;

interface Kept {
  expires: number;
  parts: Part[];
  onReply: OnReply | null;
}

export class RedisLink {
  reconnects = 0;
  dropped = 0;
  lastError = "the service has not started";
  address: RedisAddress | null = null;
  /** Told of each connection that was made or lost. */
  onState: (connected: boolean, reason: string) => void = () => {};
  private wire: Wire | null = null;
  private supervision: Promise<void> | null = null;
  private readonly channels = new Map<string, (() => void) | null>();
  private readonly outbox: Kept[] = [];
  private readyWaiters: (() => void)[] = [];
  private closing = false;
  private wasConnected = false;
  private wake: () => void = () => {};

  constructor(
    public name = "band",
    private readonly onMessage: OnMessage | null = null,
    /** Milliseconds between two attempts to connect, at most. */
    private readonly longestPause?: number,
  ) {}

  // --- life cycle

  /** Begins to connect; returns at once. */
  start(address: RedisAddress): void {
    this.address = address;
    this.closing = false;
    this.lastError = "not connected yet";
    this.supervision = this.supervise();
  }

  /** Writes what waits and disconnects. */
  async close(): Promise<void> {
    this.closing = true;
    const wire = this.wire;
    this.wire = null;
    if (wire) await wire.close();
    this.wake();
    await this.supervision;
    this.supervision = null;
  }

  get connected(): boolean {
    return this.wire !== null;
  }

  /** Waits until there is a connection. Throws RedisUnavailable when there is none after `timeout` milliseconds. */
  async ready(timeout: number): Promise<void> {
    if (this.wire) return;
    let timer: NodeJS.Timeout | undefined;
    let waiter: () => void = () => {};
    await new Promise<void>((resolve) => {
      waiter = resolve;
      this.readyWaiters.push(resolve);
      timer = setTimeout(resolve, timeout);
    });
    clearTimeout(timer);
    this.readyWaiters = this.readyWaiters.filter((one) => one !== waiter);
    if (!this.wire) throw this.unavailable();
  }

  // --- commands

  /** Sends one command and resolves with its reply; with `raw`, texts of the reply are Buffers. */
  command(parts: Part[], options: { timeout?: number; raw?: boolean } = {}): Promise<any> {
    return new Promise((resolve, reject) => {
      if (!this.wire) throw this.unavailable();
      this.wire.send(
        parts,
        (reply) => (reply instanceof Error ? reject(reply) : resolve(reply)),
        Date.now() + (options.timeout ?? COMMAND_TIMEOUT),
        options.raw,
      );
    });
  }

  /**
   * Publishes a message; `onReply` gets the number of receivers, or an error as a value. With `keep`, a message that cannot
   * leave now waits for the connection at most 30 s. Returns whether it was sent or kept.
   */
  publish(channel: string, payload: string, onReply: OnReply | null = null, keep = false): boolean {
    const parts: Part[] = ["PUBLISH", channel, payload];
    const now = Date.now();
    if (this.wire) {
      try {
        this.wire.send(parts, onReply, now + COMMAND_TIMEOUT);
        return true;
      } catch (error) {
        this.lastError = (error as Error).message;
      }
    }
    if (keep) {
      while (this.outbox.length && this.outbox[0].expires <= now) {
        this.outbox.shift();
        this.dropped += 1;
      }
      if (this.outbox.length < OUTBOX_MESSAGES) {
        this.outbox.push({ expires: now + OUTBOX_TIME, parts, onReply });
        return true;
      }
    }
    this.dropped += 1;
    return false;
  }

  /** Lets what was published leave now, not at the end of this turn of the loop. */
  flush(): void {
    this.wire?.flush();
  }

  /** Receives the messages of `channels` from now on, and again after every reconnect. */
  async subscribe(...channels: string[]): Promise<void> {
    for (const channel of channels) if (!this.channels.has(channel)) this.channels.set(channel, null);
    if (this.wire) await this.sendSubscribe(this.wire, channels);
  }

  /** Receives no more messages of `channels`. */
  unsubscribe(...channels: string[]): void {
    for (const channel of channels) {
      this.channels.get(channel)?.();
      this.channels.delete(channel);
    }
    if (this.wire && channels.length) this.wire.sendUnanswered(["UNSUBSCRIBE", ...channels]);
  }

  // --- supervision

  private async supervise(): Promise<void> {
    const backoff = new Backoff(undefined, this.longestPause);
    while (!this.closing) {
      let wire: Wire | null = null;
      let reason: string;
      try {
        wire = await this.open();
        const since = Date.now();
        await this.attach(wire);
        reason = await this.watch(wire);
        if (Date.now() - since > STEADY_AFTER) backoff.reset();
      } catch (error) {
        reason = (error as Error).message || String(error);
      }
      const had = this.wire !== null;
      this.wire = null;
      wire?.abort("given up");
      if (this.closing) return;
      this.lastError = reason;
      if (had) this.onState(false, reason);
      const delay = backoff.next();
      // Once a minute when it lasts, every time when it is new: a log that can be read on a bad day.
      if (backoff.attempts <= 3 || backoff.attempts % 12 === 0) {
        logger.warn(
          { connection: this.name, address: this.where(), reason, attempt: backoff.attempts, retry_in_s: Math.round(delay / 10) / 100 },
          "redis_connection_lost",
        );
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, delay);
        this.wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  private where(): string {
    return this.address ? showAddress(this.address) : "";
  }

  private async open(): Promise<Wire> {
    const address = this.address;
    if (!address) throw this.unavailable();
    const onPush = (items: any[]) => this.push(items);
    const wire: Wire = address.memory ? new MemoryConnection(address.memory, onPush) : await Connection.open(address, onPush, CONNECT_TIMEOUT);
    try {
      await this.signIn(wire, address);
    } catch (error) {
      wire.abort("the handshake failed");
      throw error;
    }
    return wire;
  }

  private async signIn(wire: Wire, address: RedisAddress): Promise<void> {
    const label = this.name.replace(/[^!-~]/g, "-") || "band";
    const hello: Part[] = ["HELLO", 3];
    if (address.password || address.username) hello.push("AUTH", address.username || "default", address.password);
    await ask(wire, [...hello, "SETNAME", label]);
    if (address.db) await ask(wire, ["SELECT", address.db]);
    await ask(wire, ["PING"]); // an error while Redis still loads its file: not ready yet
  }

  private async attach(wire: Wire): Promise<void> {
    const subscribed = new Set<string>();
    for (;;) {
      const missing = [...this.channels.keys()].filter((channel) => !subscribed.has(channel));
      if (!missing.length) break; // while Redis confirms, others may come and go
      await this.sendSubscribe(wire, missing);
      for (const channel of missing) subscribed.add(channel);
    }
    const gone = [...subscribed].filter((channel) => !this.channels.has(channel));
    if (gone.length) wire.sendUnanswered(["UNSUBSCRIBE", ...gone]);
    if (this.closing) throw this.unavailable();
    if (this.wasConnected) this.reconnects += 1;
    if (this.lastError !== "not connected yet") logger.info({ connection: this.name, address: this.where() }, "redis_reconnected");
    this.wasConnected = true;
    this.wire = wire;
    this.sendOutbox(wire);
    this.onState(true, "");
    const waiters = this.readyWaiters;
    this.readyWaiters = [];
    for (const waiter of waiters) waiter();
  }

  private async sendSubscribe(wire: Wire, channels: string[]): Promise<void> {
    const confirmed = channels.map((channel) => new Promise<void>((resolve) => this.channels.set(channel, resolve)));
    wire.sendUnanswered(["SUBSCRIBE", ...channels]);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<string>((resolve) => {
      timer = setTimeout(resolve, CONNECT_TIMEOUT, "Redis did not answer in time");
    });
    const why = await Promise.race([Promise.all(confirmed).then(() => ""), wire.lost, late]);
    clearTimeout(timer);
    if (why) throw new RedisUnavailable(`Redis did not subscribe to ${channels.join(", ")}: ${why}`);
  }

  private sendOutbox(wire: Wire): void {
    const now = Date.now();
    for (const { expires, parts, onReply } of this.outbox.splice(0)) {
      if (expires > now) wire.send(parts, onReply, now + COMMAND_TIMEOUT);
      else this.dropped += 1;
    }
  }

  /** Resolves with why the connection ended. A ping a turn makes a peer that is silent (SIGSTOP, a dead cable) show. */
  private async watch(wire: Wire): Promise<string> {
    const timer = setInterval(() => {
      const now = Date.now();
      if (wire.overdue(now)) wire.abort("Redis did not answer in time");
      else if (this.wire === wire) ping(wire, now);
    }, WATCH_INTERVAL);
    try {
      return await wire.lost;
    } finally {
      clearInterval(timer);
    }
  }

  private push(items: any[]): void {
    if (items[0] === "message") this.onMessage?.(items[1], items[2]);
    else if (items[0] === "subscribe") this.channels.get(items[1])?.();
  }

  private unavailable(): RedisUnavailable {
    const where = this.address ? ` at ${this.where()}` : "";
    return new RedisUnavailable(`There is no connection to Redis${where}: ${this.lastError}`);
  }
}

function ping(wire: Wire, now: number): void {
  try {
    wire.send(["PING"], null, now + COMMAND_TIMEOUT);
  } catch {
    // stuck or gone: the watch sees it
  }
}

function ask(wire: Wire, parts: Part[]): Promise<any> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new RedisUnavailable("Redis did not answer in time")), CONNECT_TIMEOUT);
    wire.send(
      parts,
      (reply) => {
        clearTimeout(timer);
        if (reply instanceof Error) reject(reply);
        else resolve(reply);
      },
      Date.now() + CONNECT_TIMEOUT,
    );
  });
}

/** Returns the code of what Redis refused, "" for any other error. */
export function refusalCode(error: unknown): string {
  return error instanceof RedisReplyError ? error.code : "";
}
