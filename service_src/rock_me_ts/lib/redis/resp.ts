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
const PUSH = 62; // >
const MAX_DEPTH = 32;
const INCOMPLETE = Symbol("incomplete");
const OPENED = Symbol("opened");
const EMPTY = Buffer.alloc(0);

/** An array, a set, a map or a push of which some parts are still to come. */
interface Open {
  type: number;
  count: number;
  items: any[];
}

/** A text of which some bytes are still to come, and the line end behind it. */
interface OpenText {
  type: number;
  bytes: Buffer;
  filled: number;
}

/**
 * Reads replies from chunks of bytes, whatever their borders. What has come is never read again, and a long text is copied
 * once, to where it stays: a reply of some megabytes leaves no garbage of that size behind.
 */
export class Decoder {
  private buffer: Buffer = EMPTY;
  private at = 0;
  private raw = false;
  private readonly open: Open[] = [];
  private text: OpenText | null = null;

  /**
   * Takes a chunk, which may be written over afterwards, and hands each complete reply to `take`.
   *
   * @param wantsRaw tells whether the next reply shall have Buffers in place of texts
   * @throws Error where the bytes are no RESP
   */
  feed(chunk: Buffer, wantsRaw: () => boolean, take: (reply: any) => void): void {
    this.buffer = this.buffer.length ? Buffer.concat([this.buffer, chunk]) : chunk;
    this.at = 0;
    while (this.at < this.buffer.length) {
      const begin = this.at;
      if (!this.text && !this.open.length) this.raw = this.buffer[begin] !== PUSH && wantsRaw();
      const value = this.text ? this.more(this.text) : this.read();
      if (value === INCOMPLETE) {
        if (!this.text) this.at = begin;
        break;
      }
      if (value !== OPENED) this.add(value, take);
    }
    this.buffer = this.at < this.buffer.length ? Buffer.from(this.buffer.subarray(this.at)) : EMPTY;
  }

  /** Puts a value where it belongs, and hands it over where it is a whole reply. */
  private add(value: any, take: (reply: any) => void): void {
    for (let top = this.open.length - 1; top >= 0; top -= 1) {
      const { type, count, items } = this.open[top];
      items.push(value);
      if (items.length < count) return;
      this.open.pop();
      if (type === 124) return; // attributes, which belong to the reply behind them and which nobody here asked for
      value = type === PUSH ? new Push(items) : type === 37 ? mapOf(items) : items;
    }
    take(value);
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

  private read(): any {
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
      case PUSH:
        return this.many(type, this.number(begin, end));
      case 37: // % map
      case 124: // | attributes
        return this.many(type, this.number(begin, end) * 2);
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
      default:
        throw new Error(`a reply begins with the byte ${type}`);
    }
  }

  private many(type: number, count: number): any {
    if (count < 0) return null;
    if (!count) return type === 124 ? OPENED : type === PUSH ? new Push([]) : type === 37 ? new Map() : [];
    if (this.open.length >= MAX_DEPTH) throw new Error("a reply is nested too deeply");
    this.open.push({ type, count, items: [] });
    return OPENED;
  }

  private bulk(type: number, length: number): any {
    if (length < 0) return null;
    const end = this.at + length;
    if (end + 2 > this.buffer.length) {
      this.text = { type, bytes: Buffer.allocUnsafeSlow(length + 2), filled: 0 };
      return this.more(this.text);
    }
    const begin = this.at;
    this.at = end + 2;
    if (this.raw) return this.textOf(type, Buffer.from(this.buffer.subarray(begin, end)), 0, length);
    return this.textOf(type, this.buffer, begin, end);
  }

  private more(text: OpenText): any {
    const copied = this.buffer.copy(text.bytes, text.filled, this.at);
    this.at += copied;
    text.filled += copied;
    if (text.filled < text.bytes.length) return INCOMPLETE;
    this.text = null;
    return this.textOf(text.type, text.bytes, 0, text.bytes.length - 2);
  }

  /** Returns a text that is complete; where bytes are asked for, `bytes` itself is kept. */
  private textOf(type: number, bytes: Buffer, begin: number, end: number): any {
    if (type === 33) return new RedisReplyError(bytes.utf8Slice(begin, end));
    const start = type === 61 ? begin + 4 : begin;
    return this.raw ? bytes.subarray(start, end) : bytes.utf8Slice(start, end);
  }
}

function mapOf(items: readonly any[]): Map<string, any> {
  const found = new Map<string, any>();
  for (let index = 0; index < items.length; index += 2) found.set(String(items[index]), items[index + 1]);
  return found;
}

function double(text: string): number {
  return text === "inf" ? Number.POSITIVE_INFINITY : text === "-inf" ? Number.NEGATIVE_INFINITY : Number(text);
}

declare global {
  interface Buffer {
    /** Node's own fast reading and writing of a part, which @types/node leaves out. */
    utf8Slice(begin: number, end: number): string;
    latin1Slice(begin: number, end: number): string;
    utf8Write(text: string, at: number): number;
    latin1Write(text: string, at: number): number;
  }
}
