import { createSocket } from "node:dgram";
import type { MeterConfig, MeterFacade, MetricsCollector, MetricTags, StatsDUDPConfig } from "./types";

/** Sends each figure as one line of StatsD over UDP; what cannot be sent is lost. */
export class StatsdMeter implements MetricsCollector {
  private readonly send: (line: string) => void;

  constructor(config: StatsDUDPConfig) {
    const socket = createSocket("udp4");
    socket.unref();
    socket.on("error", () => {});
    const prefix = config.prefix ? `${String(config.prefix).replace(/\.$/, "")}.` : "";
    this.send = (line) => socket.send(`${prefix}${line}`, Number(config.port ?? 8125), config.host, () => {});
  }

  tick(metric: string, tags?: MetricTags): void {
    this.send(`${metric}:1|c${showTags(tags)}`);
  }

  time(metric: string, ms: number, tags?: MetricTags): void {
    this.send(`${metric}:${ms}|ms${showTags(tags)}`);
  }

  timenote(metric: string, tags?: MetricTags): () => number {
    const begun = performance.now();
    return () => {
      const took = Math.round(performance.now() - begun);
      this.time(metric, took, tags);
      return took;
    };
  }

  gauge(metric: string, value: number, tags?: MetricTags): void {
    this.send(`${metric}:${value}|g${showTags(tags)}`);
  }
}

/** Counts nothing. */
export class StubMeter implements MetricsCollector {
  tick(_metric: string, _tags?: MetricTags): void {}
  time(_metric: string, _ms: number, _tags?: MetricTags): void {}
  timenote(_metric: string, _tags?: MetricTags): () => number {
    const begun = performance.now();
    return () => Math.round(performance.now() - begun);
  }
  gauge(_metric: string, _value: number, _tags?: MetricTags): void {}
}

/** Figures of a service for StatsD, where `statsd` says where that is. */
export class Meter implements MeterFacade {
  private readonly collector: MetricsCollector;

  constructor(config?: MeterConfig | null) {
    this.collector = config?.statsd?.host ? new StatsdMeter(config.statsd) : new StubMeter();
  }

  tick = (metric: string, tags?: MetricTags): void => this.collector.tick(metric, tags);
  time = (metric: string, ms: number, tags?: MetricTags): void => this.collector.time(metric, ms, tags);
  timenote = (metric: string, tags?: MetricTags): (() => number) => this.collector.timenote(metric, tags);
  gauge = (metric: string, value: number, tags?: MetricTags): void => this.collector.gauge(metric, value, tags);
}

function showTags(tags?: MetricTags): string {
  const pairs = Object.entries(tags ?? {}).map(([name, value]) => `${name}:${value}`);
  return pairs.length ? `|#${pairs.join(",")}` : "";
}
