/** The metrics of a service, in Prometheus' text format. A call costs one look-up; the text is written for each scrape. */

import { Failures } from "./failures";

/** Upper bounds in seconds. */
const BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5];

interface Latency {
  total: number;
  count: number;
  buckets: number[];
}

type Labels = Record<string, string>;
type Samples = number | [Labels, number][];

export class Metrics {
  readonly failures = new Failures();
  private readonly calls = new Map<string, Map<string, number>>();
  private readonly latency = new Map<string, Latency>();
  private readonly counters = new Map<string, { value: number; text: string }>();
  private readonly shown = new Map<string, { type: "counter" | "gauge"; text: string; read: () => Samples }>();

  /** Counts `count` calls of a method that ended as `outcome` and took `ms` milliseconds together. */
  called(method: string, outcome: string, ms: number, count = 1): void {
    if (count < 1) return;
    let outcomes = this.calls.get(method);
    if (!outcomes) {
      outcomes = new Map();
      this.calls.set(method, outcomes);
      this.latency.set(method, { total: 0, count: 0, buckets: new Array(BUCKETS.length).fill(0) });
    }
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + count);
    const latency = this.latency.get(method) as Latency;
    latency.total += ms / 1000;
    latency.count += count;
    const place = BUCKETS.findIndex((bound) => ms / 1000 / count <= bound);
    if (place >= 0) latency.buckets[place] += count;
  }

  /** Has the counter `band_<name>_total` begin at 0, so that its first increase shows. */
  declare(name: string, text: string): void {
    this.counters.set(name, { value: this.counters.get(name)?.value ?? 0, text });
  }

  add(name: string, value = 1): void {
    const counter = this.counters.get(name);
    if (counter) counter.value += value;
    else this.counters.set(name, { value, text: `How often: ${name.replaceAll("_", " ")}.` });
  }

  /** Shows what `read` returns as the gauge `band_<name>` at every scrape. */
  gauge(name: string, text: string, read: () => Samples): void {
    this.shown.set(`band_${name}`, { type: "gauge", text, read });
  }

  /** Shows what `read` returns as the counter `band_<name>_total` at every scrape. */
  counter(name: string, text: string, read: () => Samples): void {
    this.shown.set(`band_${name}_total`, { type: "counter", text, read });
  }

  /** Returns everything in the text format of Prometheus. */
  render(): string {
    const lines: string[] = [];
    const family = (name: string, type: string, text: string, samples: [string, Labels, number][]) => {
      lines.push(`# HELP ${name} ${text}`, `# TYPE ${name} ${type}`);
      for (const [suffix, labels, value] of samples) lines.push(`${name}${suffix}${showLabels(labels)} ${showNumber(value)}`);
    };
    const calls = [...this.calls].flatMap(([method, outcomes]) =>
      [...outcomes].map(([outcome, n]) => ["", { method, outcome }, n] as [string, Labels, number]),
    );
    family("band_calls_total", "counter", "Calls by method and outcome.", calls);
    const errors = [...this.failures.counts.values()].map(({ kind, name, count }) => ["", { kind, name }, count] as [string, Labels, number]);
    family("band_handler_errors_total", "counter", "Exceptions of the service's own functions.", errors);
    family("band_call_seconds", "histogram", "Duration of calls by method.", [...this.latency].flatMap(histogram));
    for (const [name, { value, text }] of this.counters) family(`band_${name}_total`, "counter", text, [["", {}, value]]);
    for (const [name, { type, text, read }] of this.shown) {
      const found = read();
      const samples: [Labels, number][] = typeof found === "number" ? [[{}, found]] : found;
      family(
        name,
        type,
        text,
        samples.map(([labels, value]) => ["", labels, value]),
      );
    }
    return `${lines.join("\n")}\n`;
  }
}

function histogram([method, { total, count, buckets }]: [string, Latency]): [string, Labels, number][] {
  let below = 0;
  const bounds = BUCKETS.map((bound, place): [string, Labels, number] => {
    below += buckets[place];
    return ["_bucket", { method, le: String(bound) }, below];
  });
  return [...bounds, ["_bucket", { method, le: "+Inf" }, count], ["_sum", { method }, total], ["_count", { method }, count]];
}

function showLabels(labels: Labels): string {
  const pairs = Object.entries(labels).map(([key, value]) => `${key}="${value.replace(/\\/g, "\\\\").replace(/\n/g, "\\n").replace(/"/g, '\\"')}"`);
  return pairs.length ? `{${pairs.join(",")}}` : "";
}

function showNumber(value: number): string {
  return Number.isFinite(value) ? String(value) : value > 0 ? "+Inf" : value < 0 ? "-Inf" : "NaN";
}
