/** Streams of events, read a page at a time: their entries may be large, so a number of entries alone is no limit. */

import type { RedisLink } from "../redis/link";
import { fieldsOf, readObject } from "./group";

const PAGE = 50;
/** Until it is known how large they are. */
const FIRST_PAGE = 10;

/** One entry: an event, and what else was written beside it (`reason`, `stream_id` …). */
export interface Letter {
  id: string;
  /** Of what is not `readable`, `{ unreadable: … }` with what it holds instead. */
  event: Record<string, unknown>;
  raw: Buffer;
  facts: Record<string, string>;
  readable: boolean;
  /** Of the entry, in bytes. */
  size: number;
}

/** Which entries: those behind `after` up to `end`, both as in XRANGE; at most `count`, or about `size` bytes. */
interface Range {
  after?: string;
  end?: string;
  count: number;
  size: number;
}

export class LetterStream {
  constructor(
    private readonly link: RedisLink,
    readonly key: string,
  ) {}

  async length(): Promise<number> {
    return Number(await this.link.command(["XLEN", this.key]));
  }

  /** Returns the oldest entries of a range. */
  oldest({ after = "-", end = "+", count, size }: Range): Promise<Letter[]> {
    return this.pages("XRANGE", after, end, count, size);
  }

  /** Returns the newest entries, the newest first. */
  newest(count: number, size: number): Promise<Letter[]> {
    return this.pages("XREVRANGE", "+", "-", count, size);
  }

  /** Returns the entry with an id, where there is one. */
  async one(id: string): Promise<Letter[]> {
    return (await this.link.command(["XRANGE", this.key, id, id], { raw: true })).map(readLetter);
  }

  private async pages(command: "XRANGE" | "XREVRANGE", first: string, end: string, count: number, most: number): Promise<Letter[]> {
    const letters: Letter[] = [];
    let [begin, size, page] = [first, 0, FIRST_PAGE];
    while (letters.length < count && size < most) {
      const start = begin === "-" || begin === "+" ? begin : `(${begin}`;
      const rows = await this.link.command([command, this.key, start, end, "COUNT", Math.min(page, count - letters.length)], { raw: true });
      if (!rows.length) break;
      letters.push(...rows.map(readLetter));
      size = sizeOf(letters);
      begin = letters[letters.length - 1].id;
      page = Math.max(1, Math.min(PAGE, Math.floor(((most - size) * letters.length) / Math.max(1, size))));
    }
    return letters;
  }
}

export function sizeOf(letters: readonly Letter[]): number {
  return letters.reduce((size, letter) => size + letter.size, 0);
}

function readLetter([id, fields]: [Buffer, Buffer[]]): Letter {
  const named = fieldsOf(fields);
  const raw = named.get("event") ?? Buffer.from("null");
  named.delete("event");
  const event = readObject(raw.toString());
  const facts = Object.fromEntries([...named].map(([name, value]) => [name, value.toString()]));
  const size = fields.reduce((sum, field) => sum + field.length, 0);
  return { id: id.toString(), event: event ?? { unreadable: raw.toString() }, raw, facts, readable: event !== null, size };
}
