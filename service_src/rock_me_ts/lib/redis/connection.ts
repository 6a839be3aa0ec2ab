/** One connection to Redis: commands out, replies and pushes in; all commands of one turn of the event loop leave in one write. */

import * as net from "node:net";
import * as tls from "node:tls";
import { RedisUnavailable } from "../errors";
import { logger } from "../service/logs";
import type { RedisAddress } from "./address";
import { Decoder, encode, type Part, Push } from "./resp";

/** Gets the reply, or an error as a value. */
export type OnReply = (reply: any) => void;

/** Bytes that may wait for a slow Redis before commands are refused. */
export const MAX_OUTGOING = 64 * 1024 * 1024;

const EMPTY = Buffer.alloc(0);
const READ_BYTES = 64 * 1024;

/** Up to here Node itself writes a text without allocating. */
const SHORT = 16 * 1024;
/** Bytes that are kept to write into them again: an allocation for each large write costs more than the write. */
const KEPT_BYTES = 1024 * 1024;

interface Waiting {
  onReply: OnReply | null;
  deadline: number;
  raw: boolean;
}

/** What a link needs of a connection; the bus of tests has one too. */
export interface Wire {
  readonly lost: Promise<string>;
  send(parts: readonly Part[], onReply: OnReply | null, deadline: number, raw?: boolean): void;
  sendUnanswered(parts: readonly Part[]): void;
  flush(): void;
  overdue(now: number): boolean;
  abort(reason: string): void;
  close(): Promise<void>;
}

export class Connection implements Wire {
  readonly lost: Promise<string>;
  private readonly decoder = new Decoder();
  private readonly pending: (Waiting | undefined)[] = [];
  private head = 0;
  private out: (string | Buffer)[] = [];
  private packed: Buffer = EMPTY;
  private planned: NodeJS.Immediate | null = null;
  private reason = "";
  private gone = false;
  private end!: (reason: string) => void;

  private constructor(
    private readonly socket: net.Socket,
    private readonly onPush: (items: any[]) => void,
  ) {
    this.lost = new Promise((resolve) => {
      this.end = resolve;
    });
    socket.setNoDelay(true);
    socket.on("data", (chunk: Buffer) => this.onData(chunk)); // TLS; else `onread` takes what comes
    socket.on("error", (error) => {
      this.reason ||= error.message;
    });
    socket.on("close", () => this.onClose());
  }

  /** Connects; rejects with what the system says, or after `timeout` milliseconds. */
  static open(address: RedisAddress, onPush: (items: any[]) => void, timeout: number): Promise<Connection> {
    return new Promise((resolve, reject) => {
      const where = address.path ? { path: address.path } : { host: address.host, port: address.port };
      let connection: Connection | undefined;
      // One buffer for all that comes: Node's own allocates 64 KiB for each read.
      const onread = {
        buffer: Buffer.allocUnsafeSlow(READ_BYTES),
        callback: (length: number, buffer: Uint8Array) => {
          connection?.onData((buffer as Buffer).subarray(0, length));
          return true;
        },
      };
      const socket = address.tls
        ? tls.connect({ ...where, servername: net.isIP(address.host) ? undefined : address.host })
        : net.connect({ ...where, onread } as net.NetConnectOpts);
      const timer = setTimeout(() => {
        socket.destroy();
        reject(new RedisUnavailable("Redis did not answer in time"));
      }, timeout);
      const fail = (error: Error) => {
        clearTimeout(timer);
        reject(error);
      };
      socket.once("error", fail);
      socket.once(address.tls ? "secureConnect" : "connect", () => {
        clearTimeout(timer);
        socket.removeListener("error", fail);
        connection = new Connection(socket, onPush);
        resolve(connection);
      });
    });
  }

  /** Queues a command. Throws RedisUnavailable when the connection is gone, or so much waits that Redis must be stuck. */
  send(parts: readonly Part[], onReply: OnReply | null, deadline: number, raw = false): void {
    if (this.gone) throw new RedisUnavailable("There is no connection to Redis");
    if (this.socket.writableLength > MAX_OUTGOING) {
      throw new RedisUnavailable(`Redis is too slow: ${MAX_OUTGOING >> 20} MiB of commands are already waiting`);
    }
    this.pending.push({ onReply, deadline, raw });
    this.put(encode(parts));
  }

  /** Sends a command whose confirmation is a push (SUBSCRIBE, UNSUBSCRIBE). */
  sendUnanswered(parts: readonly Part[]): void {
    if (!this.gone) this.put(encode(parts));
  }

  private put(bytes: string | Buffer): void {
    this.out.push(bytes);
    this.planned ??= setImmediate(() => this.flush());
  }

  /** Writes now what waits for the end of this turn. */
  flush(): void {
    if (this.planned) clearImmediate(this.planned); // else an empty turn of the loop would follow
    this.planned = null;
    if (!this.out.length || this.gone) return;
    const out = this.out;
    this.out = [];
    if (out.every((one) => typeof one === "string") && out.reduce((sum, one) => sum + one.length, 0) < SHORT) {
      this.socket.write(out.length === 1 ? (out[0] as string) : out.join(""));
      return;
    }
    this.socket.write(this.pack(out));
    if (this.socket.writableLength) this.packed = EMPTY; // it is not with the kernel yet
  }

  /** Returns all of `out` in one buffer, which is written over by the next call. */
  private pack(out: readonly (string | Buffer)[]): Buffer {
    const sizes = out.map((one) => Buffer.byteLength(one));
    const size = sizes.reduce((sum, one) => sum + one, 0);
    let buffer = this.packed;
    if (size > buffer.length) {
      buffer = Buffer.allocUnsafeSlow(size > KEPT_BYTES ? size : 2 ** Math.ceil(Math.log2(size)));
      if (size <= KEPT_BYTES) this.packed = buffer;
    }
    let at = 0;
    for (let index = 0; index < out.length; index += 1) {
      const one = out[index];
      if (typeof one === "object") one.copy(buffer, at);
      else if (sizes[index] === one.length) buffer.latin1Write(one, at);
      else buffer.utf8Write(one, at);
      at += sizes[index];
    }
    return buffer.subarray(0, size);
  }

  /** Tells whether the oldest command has waited beyond its deadline: then the connection is dead or stuck. */
  overdue(now: number): boolean {
    const oldest = this.pending[this.head];
    return oldest !== undefined && oldest.deadline < now;
  }

  /** Drops the connection at once. */
  abort(reason: string): void {
    this.reason ||= reason;
    this.socket.destroy();
  }

  /** Writes what waits, then closes. */
  async close(): Promise<void> {
    this.flush();
    this.socket.end();
    const timer = setTimeout(() => this.socket.destroy(), 1000);
    await this.lost;
    clearTimeout(timer);
  }

  private onData(chunk: Buffer): void {
    try {
      this.decoder.feed(chunk, this.wantsRaw, this.take);
    } catch (error) {
      this.abort(`invalid reply from Redis: ${(error as Error).message}`);
    }
  }

  private readonly wantsRaw = (): boolean => this.pending[this.head]?.raw ?? false;

  private readonly take = (reply: any): void => {
    if (reply instanceof Push) {
      safely(this.onPush, reply.items);
      return;
    }
    const waiting = this.pending[this.head];
    if (waiting === undefined) {
      this.abort(`Redis refused: ${reply}`); // only a refused SUBSCRIBE is answered without having been asked
      return;
    }
    this.pending[this.head] = undefined; // whoever asked holds the reply, which may be megabytes
    this.head += 1;
    if (this.head > 1000 && this.head * 2 > this.pending.length) {
      this.pending.splice(0, this.head);
      this.head = 0;
    }
    if (waiting.onReply) safely(waiting.onReply, reply);
  };

  private onClose(): void {
    this.gone = true;
    const reason = this.reason || "Redis closed the connection";
    this.end(reason);
    const error = new RedisUnavailable(`The connection to Redis was lost before the answer came: ${reason}`);
    const pending = this.pending.splice(this.head);
    this.head = this.pending.length;
    for (const waiting of pending) if (waiting?.onReply) safely(waiting.onReply, error);
  }
}

/** Calls a receiver; what it throws would else end the connection, for everybody. */
function safely(receiver: (value: any) => void, value: any): void {
  try {
    receiver(value);
  } catch (error) {
    logger.error({ err: error }, "redis_receiver_failed");
  }
}
