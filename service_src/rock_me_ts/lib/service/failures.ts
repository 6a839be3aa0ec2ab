/** Which of a service's own functions keep failing: counted, and reported in its health with the last error. */

import type { HealthFacts } from "../types";
import { describeThrown } from "./logs";

const IN_A_ROW = 3;
const WINDOW = 10_000;
const SHARE = 0.05;
const MAX_SHOWN = 3;
const IN_HEALTH = new Set(["enricher", "handler", "listener", "crontab"]);
const RUN_ONCE = new Set(["worker", "setup"]);

interface Record_ {
  kind: string;
  name: string;
  inARow: number;
  reason: string;
  window: number;
  calls: number;
  failed: number;
  callsBefore: number;
  failedBefore: number;
}

export class Failures {
  /** `kind name` → errors since the start. */
  readonly counts = new Map<string, { kind: string; name: string; count: number }>();
  private readonly records = new Map<string, Record_>();

  /** Forgets what failed in an earlier life of the service; the counters stay. */
  begin(): void {
    this.records.clear();
  }

  failed(kind: string, name: string, error: unknown, count = 1): void {
    const key = `${kind} ${name}`;
    const counted = this.counts.get(key) ?? { kind, name, count: 0 };
    counted.count += count;
    this.counts.set(key, counted);
    const record = this.records.get(key) ?? { kind, name, inARow: 0, reason: "", window: 0, calls: 0, failed: 0, callsBefore: 0, failedBefore: 0 };
    this.records.set(key, record);
    turn(record);
    record.inARow += count;
    record.calls += count;
    record.failed += count;
    record.reason = describeThrown(error);
  }

  succeeded(kind: string, name: string, count = 1): void {
    if (!this.records.size || !count) return; // mostly: a call that is well costs one look
    const record = this.records.get(`${kind} ${name}`);
    if (!record) return;
    turn(record);
    record.inARow = 0;
    record.calls += count;
    if (!record.failed && !record.failedBefore) this.records.delete(`${kind} ${name}`);
  }

  /** Returns the health check: degraded while a function keeps failing; null while none does. */
  check(): HealthFacts {
    const found = [...this.records.values()].filter(keepsFailing).map(({ kind, name, reason }) => `${kind} ${name} throws: ${reason}`);
    if (!found.length) return null;
    const more = found.length > MAX_SHOWN ? ` (and ${found.length - MAX_SHOWN} more)` : "";
    return { status: "degraded", reason: found.slice(0, MAX_SHOWN).join("; ") + more, hint: "the service's log has the stack trace" };
  }
}

function keepsFailing(record: Record_): boolean {
  turn(record);
  if (RUN_ONCE.has(record.kind)) return true;
  if (!IN_HEALTH.has(record.kind)) return false;
  const failed = record.failed + record.failedBefore;
  return record.inARow >= IN_A_ROW || (failed >= IN_A_ROW && failed >= SHARE * (record.calls + record.callsBefore));
}

function turn(record: Record_): void {
  const window = Math.floor(performance.now() / WINDOW);
  if (window === record.window) return;
  const next = window === record.window + 1;
  record.callsBefore = next ? record.calls : 0;
  record.failedBefore = next ? record.failed : 0;
  record.window = window;
  record.calls = record.failed = 0;
}
