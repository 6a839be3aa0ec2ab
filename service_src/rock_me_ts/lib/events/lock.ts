/** The lock of a replay: one runs at a time among all instances of a service. */

import { randomBytes } from "node:crypto";
import type { RedisLink } from "../redis/link";

const LOCK_MS = 15_000;
/** Milliseconds between two extensions of the lock. */
export const LOCK_INTERVAL = 5000;
/** In one step: between a look and a write the lock may run out and become another instance's. */
const FREE_IF_OURS = "return redis.call('get', KEYS[1]) == ARGV[1] and redis.call('del', KEYS[1]) or 0";
const EXTEND_IF_OURS = "return redis.call('get', KEYS[1]) == ARGV[1] and redis.call('pexpire', KEYS[1], ARGV[2]) or 0";

export class ReplayLock {
  private readonly token = randomBytes(8).toString("hex");

  constructor(
    private readonly link: RedisLink,
    readonly key: string,
  ) {}

  /** Takes the lock; false: another instance has it. May reject with a RedisError, as `extend`. */
  async take(): Promise<boolean> {
    return Boolean(await this.link.command(["SET", this.key, this.token, "NX", "PX", LOCK_MS]));
  }

  /** Keeps it for 15 more seconds; false: it is lost. */
  async extend(): Promise<boolean> {
    return Boolean(await this.link.command(["EVAL", EXTEND_IF_OURS, 1, this.key, this.token, LOCK_MS]));
  }

  /** Gives it back if it is still ours; without Redis it expires. */
  async free(): Promise<void> {
    await this.link.command(["EVAL", FREE_IF_OURS, 1, this.key, this.token]).catch(() => {});
  }
}
