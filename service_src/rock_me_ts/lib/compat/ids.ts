import { randomInt } from "node:crypto";

const MASK = (1n << 64n) - 1n;
const [P1, P2, P3, P4, P5] = [11400714785074694791n, 14029467366897019727n, 1609587929392839161n, 9650029242287828579n, 2870177450012600261n];
const FPID_SEED = 0xcaca3adan;

const rotate = (value: bigint, bits: bigint): bigint => ((value << bits) | (value >> (64n - bits))) & MASK;
const round = (lane: bigint, input: bigint): bigint => (rotate((lane + input * P2) & MASK, 31n) * P1) & MASK;

/** Returns the 64-bit xxHash of some bytes. */
export function xxHash64(bytes: Uint8Array, seed = 0n): bigint {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  let hash: bigint;
  if (bytes.length >= 32) {
    const lanes = [(seed + P1 + P2) & MASK, (seed + P2) & MASK, seed, (seed - P1) & MASK];
    for (; at + 32 <= bytes.length; at += 32) for (let lane = 0; lane < 4; lane += 1) lanes[lane] = round(lanes[lane], view.getBigUint64(at + lane * 8, true));
    hash = (rotate(lanes[0], 1n) + rotate(lanes[1], 7n) + rotate(lanes[2], 12n) + rotate(lanes[3], 18n)) & MASK;
    for (const lane of lanes) hash = ((hash ^ round(0n, lane)) * P1 + P4) & MASK;
  } else hash = (seed + P5) & MASK;
  hash = (hash + BigInt(bytes.length)) & MASK;
  for (; at + 8 <= bytes.length; at += 8) hash = (rotate(hash ^ round(0n, view.getBigUint64(at, true)), 27n) * P1 + P4) & MASK;
  if (at + 4 <= bytes.length) {
    hash = (rotate(hash ^ ((BigInt(view.getUint32(at, true)) * P1) & MASK), 23n) * P2 + P3) & MASK;
    at += 4;
  }
  for (; at < bytes.length; at += 1) hash = (rotate(hash ^ ((BigInt(bytes[at]) * P5) & MASK), 11n) * P1) & MASK;
  hash = ((hash ^ (hash >> 33n)) * P2) & MASK;
  hash = ((hash ^ (hash >> 29n)) * P3) & MASK;
  return hash ^ (hash >> 32n);
}

/** Returns the platform's hash of a text: xxHash64 with its seed, the bytes reversed, as a decimal text. */
export function xxhash(text: string): string {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(xxHash64(Buffer.from(text), FPID_SEED));
  return bytes.readBigUInt64BE().toString();
}

/** Ids of 64 bits that grow with time: milliseconds since 1970, 10 bits of the process, 12 bits of a counter. */
export class IdGenShowFlake {
  private last = 0;
  private sequence = 0;
  private readonly worker: bigint;

  constructor(datacenter: number = Number(process.env.DATACENTER_ID) || 1, worker: number = Number(process.env.WORKER_ID) || 1) {
    this.worker = (BigInt(datacenter & 31) << 5n) | BigInt(worker & 31);
  }

  /** Returns a new id; where a clock steps back, or a millisecond is full, it goes on from the last one. */
  take(): string {
    const now = Date.now();
    if (now > this.last) {
      this.last = now;
      this.sequence = 0;
    } else {
      this.sequence += 1;
      if (this.sequence > 4095) {
        this.last += 1;
        this.sequence = 0;
      }
    }
    return ((BigInt(this.last) << 22n) | (this.worker << 12n) | BigInt(this.sequence)).toString();
  }
}

/** A counter in base 36 that begins somewhere and goes round. */
export class IdGenRoundCounter {
  private current: number;

  constructor(private readonly size = 99999) {
    this.current = randomInt(size);
  }

  take(): string {
    this.current = this.current >= this.size ? 1 : this.current + 1;
    return this.current.toString(36);
  }
}

export class TheIds {
  private readonly flakes = new IdGenShowFlake();
  private readonly rounds = new IdGenRoundCounter();

  flake = (): string => this.flakes.take();
  round = (): string => this.rounds.take();
  xxhash = (text: string): string => xxhash(text);

  /** Returns a decimal of 64 bits, signed or not, as base64 of its eight bytes. */
  static SInt64ToBase64(decimal: string): string {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64BE(BigInt.asUintN(64, BigInt(decimal)));
    return bytes.toString("base64");
  }
}
