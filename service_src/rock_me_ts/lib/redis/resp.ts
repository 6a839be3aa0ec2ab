/** RESP3, the protocol of Redis: commands to bytes, bytes to replies. */

import { RedisReplyError } from "../errors";

export type Part = string | number | Buffer;

/** A message that Redis sends without having been asked: of a subscription. */
export class Push {
  constructor(readonly items: any[]) {}
}

/** Returns one command as it goes over the wire; a Buffer where one of its parts is one. */
export function encode(parts: readonly Part[]): string | Buffer {
  let text = `*${parts.length}\r\n`;
  for (let index = 0; index < parts.length; index += 1) {
    const part = parts[index];
    if (typeof part === "object") return encodeBinary(parts);
    const word = typeof part === "string" ? part : String(part);
    text += `$${Buffer.byteLength(word)}\r\n${word}\r\n`;
  }
  return text;
}

function encodeBinary(parts: readonly Part[]): Buffer {
  const chunks: Buffer[] = [Buffer.from(`*${parts.length}\r\n`)];
  for (const part of parts) {
    const bytes = typeof part === "object" ? part : Buffer.from(String(part));
    chunks.push(Buffer.from(`$${bytes.length}\r\n`), bytes, CRLF);
  }
  return Buffer.concat(chunks);
}

const CRLF = Buffer.from("\r\n");
const CR = 13;
const ZERO = 48;
const MAX_DEPTH = 32;
const INCOMPLETE = Symbol("incomplete");

/** Reads replies from chunks of bytes, whatever their borders. */
export class Decoder {
  private buffer: Buffer = Buffer.alloc(0);
  private waiting: Buffer[] = [];
  private size = 0;
  private needed = 0;
  private at = 0;
  private raw = false;

  /**
   * Takes a chunk, which may be written over afterwards, and hands each complete reply to `take`.
   *
   * @param wantsRaw tells whether the next reply shall have Buffers in place of texts
   * @throws Error where the bytes are no RESP
   */
  feed(chunk: Buffer, wantsRaw: () => boolean, take: (reply: any) => void): void {
    this.size += chunk.length;
    // A long text is put together once, when all of it has come.
    if (this.size < this.needed) {
      this.waiting.push(Buffer.from(chunk));
      return;
    }
    this.buffer = this.waiting.length ? Buffer.concat([...this.waiting, chunk]) : chunk;
    this.needed = 0;
    let begin = 0;
    while (begin < this.buffer.length) {
      this.at = begin;
      this.raw = this.buffer[begin] !== 62 && wantsRaw();
      const reply = this.read(0);
      if (reply === INCOMPLETE) break;
      begin = this.at;
      take(reply);
    }
    this.needed = this.needed > begin ? this.needed - begin : 0;
    this.size = this.buffer.length - begin;
    this.waiting = this.size ? [Buffer.from(this.buffer.subarray(begin))] : [];
  }

  /** Goes behind the line that begins here; returns where its text ends, -1 while it is incomplete. */
  private line(): number {
    const end = this.buffer.indexOf(CR, this.at);
    if (end < 0 || end + 1 >= this.buffer.length) return -1;
    this.at = end + 2;
    return end;
  }

  /** Returns the number in a part of the bytes; lengths, which are most of them, without making a text. */
  private number(begin: number, end: number): number {
    if (end - begin > 9 || end === begin) return Number(this.buffer.latin1Slice(begin, end));
    let value = 0;
    for (let at = begin; at < end; at += 1) {
      const digit = this.buffer[at] - ZERO;
      if (digit < 0 || digit > 9) return Number(this.buffer.latin1Slice(begin, end));
      value = value * 10 + digit;
    }
    return value;
  }

  private read(depth: number): any {
    if (this.at >= this.buffer.length) return INCOMPLETE;
    if (depth > MAX_DEPTH) throw new Error("a reply is nested too deeply");
    const type = this.buffer[this.at];
    this.at += 1;
    const begin = this.at;
    const end = this.line();
    if (end < 0) return INCOMPLETE;
    switch (type) {
      case 36: // $ text
      case 61: // = text with a format
      case 33: // ! long error
        return this.bulk(type, this.number(begin, end));
      case 58: // : integer
        return this.number(begin, end);
      case 42: // * array
      case 126: // ~ set
        return this.many(this.number(begin, end), depth);
      case 62: {
        const items = this.many(this.number(begin, end), depth);
        return items === INCOMPLETE ? items : new Push(items);
      }
      case 37: // % map
        return this.map(this.number(begin, end), depth);
      case 43: // + status
        return this.raw ? Buffer.from(this.buffer.subarray(begin, end)) : this.buffer.utf8Slice(begin, end);
      case 45: // - error
        return new RedisReplyError(this.buffer.utf8Slice(begin, end));
      case 95: // _ null
        return null;
      case 44: // , double
        return double(this.buffer.latin1Slice(begin, end));
      case 35: // # boolean
        return this.buffer.latin1Slice(begin, end) === "t";
      case 40: // ( big number
        return this.buffer.latin1Slice(begin, end);
      case 124: {
        // | attributes, which belong to the reply behind them and which nobody here asked for
        const attributes = this.map(this.number(begin, end), depth);
        return attributes === INCOMPLETE ? attributes : this.read(depth);
      }
      default:
        throw new Error(`a reply begins with the byte ${type}`);
    }
  }

  private bulk(type: number, length: number): any {
    if (length < 0) return null;
    const begin = this.at;
    const end = begin + length;
    if (end + 2 > this.buffer.length) {
      this.needed = end + 2;
      return INCOMPLETE;
    }
    this.at = end + 2;
    if (type === 33) return new RedisReplyError(this.buffer.utf8Slice(begin, end));
    const start = type === 61 ? begin + 4 : begin;
    return this.raw ? Buffer.from(this.buffer.subarray(start, end)) : this.buffer.utf8Slice(start, end);
  }

  private many(count: number, depth: number): any {
    if (count < 0) return null;
    const items: any[] = [];
    for (let index = 0; index < count; index += 1) {
      const item = this.read(depth + 1);
      if (item === INCOMPLETE) return INCOMPLETE;
      items.push(item);
    }
    return items;
  }

  private map(count: number, depth: number): any {
    const found = new Map<string, any>();
    for (let index = 0; index < count; index += 1) {
      const key = this.read(depth + 1);
      if (key === INCOMPLETE) return INCOMPLETE;
      const value = this.read(depth + 1);
      if (value === INCOMPLETE) return INCOMPLETE;
      found.set(String(key), value);
    }
    return found;
  }
}

function double(text: string): number {
  return text === "inf" ? Number.POSITIVE_INFINITY : text === "-inf" ? Number.NEGATIVE_INFINITY : Number(text);
}

declare global {
  interface Buffer {
    /** Node's own fast reading of a part, which @types/node leaves out. */
    utf8Slice(begin: number, end: number): string;
    latin1Slice(begin: number, end: number): string;
  }
}
