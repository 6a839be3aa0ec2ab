/** The life of a service: settings → setup → port → Redis → work → drain → stop. */

import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import {
  BROADCAST,
  deadLettersOf,
  ENRICH,
  METHOD_IAMALIVE,
  METHOD_METRICS,
  METHOD_STATUS,
  ROLE_ENRICHER,
  ROLE_LISTENER,
  SERVICE_DIRECTOR,
  STATUS_RUNNING,
  STATUS_STARTING,
  STATUS_STOPPING,
} from "../constants";
import { SettingsError } from "../errors";
import { LetterLimit } from "../events/letter_limit";
import { DeadLetters } from "../events/letters";
import { StreamListener } from "../events/listener";
import { ListenerCall } from "../events/processor";
import { EventReplay } from "../events/replay";
import { EventReplays } from "../events/replay_methods";
import { parseAddress } from "../redis/address";
import { RedisLink } from "../redis/link";
import { RpcClient } from "../rpc/client";
import { decode, type Envelope, isReply } from "../rpc/messages";
import { instanceChannel, PRESENCE_CHANNEL, Presence } from "../rpc/presence";
import { RpcServer } from "../rpc/server";
import { delay, within } from "../stop";
import type { Expose, HealthFacts, ServiceConfig } from "../types";
import { version } from "../version";
import { readHealth } from "./health";
import { HttpPort } from "./http";
import { startCrontabs } from "./jobs";
import { describe, logger } from "./logs";
import { Metrics } from "./metrics";
import { schemas } from "./openapi";
import { type Exposed, makeExpose, Registry, type Work } from "./registry";

const HEARTBEAT = 5000;
const FIRST_HEARTBEAT = 1000;
/** Milliseconds in which an instance that stops still takes calls, when there are others to take the next ones. */
const LEAVE_TIME = 500;
/** Milliseconds that one setup may take; the director waits 60 s for a service to answer. */
const SETUP_TIMEOUT = 40_000;

/** What of a service is wished: an original's service has no port, and subscribes to what its code lists. */
export interface Face {
  port: boolean;
  channels?: readonly string[];
}

export class Service {
  readonly registry = new Registry();
  readonly metrics = new Metrics();
  readonly expose: Expose = makeExpose(this.registry);
  readonly link: RedisLink;
  readonly presence: Presence;
  readonly rpc: RpcClient;
  readonly server: RpcServer;
  state = STATUS_STARTING;
  config: ServiceConfig | null = null;
  listeners: StreamListener[] = [];
  malformed = 0;
  /** Told of every message that can be read. */
  onEnvelope: ((message: Envelope) => void) | null = null;
  private schemas: object = {};
  private startedAt = Date.now();
  private instance = randomBytes(4).toString("hex");
  private http: HttpPort | null = null;
  private feeds: ListenerCall[] = [];
  private limit: LetterLimit | null = null;
  private letters: DeadLetters | null = null;
  private replays: EventReplays | null = null;
  /** Methods of the framework. */
  private readonly offered = new WeakSet<Exposed>();
  private readonly timers: NodeJS.Timeout[] = [];
  private endCrontabs: () => void = () => {};
  private abort = new AbortController();
  private stopping: Promise<void> | null = null;
  private ended: () => void = () => {};
  private end: Promise<void> = Promise.resolve();
  /** False where the service tells the director itself that it is alive. */
  beats = true;

  constructor() {
    this.link = new RedisLink("band", (channel, data) => this.onMessage(channel, data));
    this.presence = new Presence(this.link);
    this.rpc = new RpcClient(this.link, this.presence);
    this.server = new RpcServer(this.link, this.registry, this.metrics, this.presence);
    this.link.onState = (connected) => {
      if (connected && this.config) void this.presence.refresh();
    };
    this.addGauges();
    Object.assign(this.registry.frameworkChecks, {
      redis_writes: () => (this.presence.refused ? { status: "degraded", reason: `Redis refuses writes: ${this.presence.refused}` } : null),
      handlers: () => this.metrics.failures.check(),
      events: () => this.checkListeners(),
      dead_letters: () => this.limit?.check() ?? null,
    } satisfies Record<string, () => HealthFacts>);
  }

  /** Aborted when the service stops. */
  get signal(): AbortSignal {
    return this.abort.signal;
  }

  get port(): number {
    return this.http?.port ?? 0;
  }

  /** Returns the facts that `__status` answers, without health. */
  status(): Record<string, unknown> {
    return {
      name: this.config?.name ?? "",
      app_started: this.startedAt,
      app_uptime: Date.now() - this.startedAt,
      app_state: this.state,
      register: this.registry.rows(),
      methods: [...this.registry.methods.keys()].filter((name) => !name.startsWith("__")).sort(),
      schemas: this.schemas,
      version,
      instance: this.instance,
      container: process.env.BAND_CONTAINER ?? "",
      ...(this.limit ? { dead_letters: this.limit.count } : {}),
    };
  }

  // --- life cycle

  /** Opens the port, connects to Redis, begins to work. Redis being away does not keep it from starting. */
  async start(config: ServiceConfig, face: Face = { port: true }): Promise<void> {
    this.config = config;
    this.startedAt = Date.now();
    this.state = STATUS_STARTING;
    this.abort = new AbortController();
    this.stopping = null;
    this.end = new Promise((resolve) => {
      this.ended = resolve;
    });
    this.link.name = this.rpc.name = config.name;
    this.rpc.replyChannel = instanceChannel(config.name, this.instance);
    this.server.group = config.serviceGroup;
    this.server.grants = process.env.BAND_GRANTS ?? "";
    this.addMethods();
    this.feeds = this.findFeeds(config);
    this.metrics.failures.begin();
    this.schemas = schemas(this.registry);
    for (const setup of this.registry.setups) await this.runOnce("setup", setup, SETUP_TIMEOUT);
    if (face.port) {
      this.http = new HttpPort(config, this.registry, this.link, this.metrics, () => this.server.signal);
      await this.http.open();
    }
    const channels = face.channels ? new Set([config.name, ...face.channels]) : this.channels(config);
    this.server.listen(config.name, channels);
    await this.link.subscribe(...channels, this.rpc.replyChannel, PRESENCE_CHANNEL);
    this.presence.start(config.name, this.instance);
    this.link.start(parseAddress(config.redisDsn));
    this.listen();
    this.registry.listening = true;
    this.beat();
    this.endCrontabs = startCrontabs(this.registry, this.metrics, this.signal);
    for (const worker of this.registry.workers) void this.runOnce("worker", worker);
    this.state = STATUS_RUNNING;
    logger.info({ name: config.name, port: this.port, methods: this.registry.methods.size, ms: Date.now() - this.startedAt }, "service_started");
  }

  /** Begins to consume the durable stream, where there is a listener: an original's may be registered long after the start. */
  listen(): void {
    const { config, link } = this;
    if (!config || !link.address || this.listeners.length || this.state === STATUS_STOPPING) return;
    if (!this.feeds.length) this.feeds = this.findFeeds(config);
    const consumer = `${config.name}-${hostname()}`;
    this.listeners = this.feeds.map((feed) => {
      const start = config.eventsFrom || feed.exposed.start || "$";
      return new StreamListener(config.name, consumer, feed, this.metrics, link, start, this.limit);
    });
    for (const listener of this.listeners) listener.run(link.address);
    if (!this.listeners.length) return;
    this.limit?.start();
    this.replays?.run();
  }

  /** Resolves when the service has stopped. */
  wait(): Promise<void> {
    return this.end;
  }

  /** Takes nothing new, lets what is in progress end within the stop time, then closes everything. */
  stop(why = "ended"): Promise<void> {
    this.stopping ??= this.stopNow(why);
    return this.stopping;
  }

  private async stopNow(why: string): Promise<void> {
    const config = this.config;
    if (!config) return;
    this.state = STATUS_STOPPING;
    this.registry.listening = false;
    const begun = performance.now();
    const budget = config.stopTimeout;
    this.presence.stop();
    for (const timer of this.timers.splice(0)) clearInterval(timer);
    this.endCrontabs();
    this.letters?.stop();
    if (this.link.connected) await this.presence.leave();
    await this.replays?.stop(budget / 4); // before the clean-up: it calls the listener
    // Callers turn to the other instances; what they sent before is still answered.
    if (!this.presence.alone) await delay(Math.min(LEAVE_TIME, budget / 8));
    this.link.unsubscribe(ENRICH, BROADCAST);
    const listenerCut = (await Promise.all(this.listeners.map((listener) => listener.stop(budget / 2)))).includes(false);
    const callsCut = await this.server.drain(Math.max(500, budget / 4));
    this.abort.abort(new Error("the service stops"));
    for (const cleanup of this.registry.cleanups) await this.runOnce("cleanup", cleanup, Math.max(200, begun + budget * 0.8 - performance.now()));
    this.limit?.stop();
    const ownCallsCut = this.rpc.cancelAll("the service stops");
    await this.http?.close();
    await this.link.close();
    this.http = null;
    this.listeners = [];
    logger.info(
      {
        name: config.name,
        reason: why,
        calls_cut_off: callsCut,
        listener_cut_off: listenerCut,
        own_calls_cut_off: ownCallsCut,
        ms: Math.round(performance.now() - begun),
      },
      "service_stopped",
    );
    this.ended();
  }

  // --- messages

  /** Takes one message. Nothing that it holds can stop the reader; of a batch, what can be read is taken. */
  private onMessage(channel: string, data: string): void {
    if (channel === PRESENCE_CHANNEL) {
      this.presence.onChange(data);
      return;
    }
    let messages: unknown[];
    try {
      messages = decode(data);
    } catch (error) {
      this.onMalformed(channel, error, data.length);
      return;
    }
    for (const message of messages) {
      try {
        if (typeof message !== "object" || message === null) throw new Error("not a JSON-RPC message");
        this.onEnvelope?.(message as Envelope);
        if (isReply(message as Envelope)) this.rpc.takeReply(message as Envelope);
        else this.server.onRequest(channel, message as Envelope, data);
      } catch (error) {
        this.onMalformed(channel, error, data.length); // the others of the batch are well
      }
    }
  }

  private onMalformed(channel: string, error: unknown, bytes: number): void {
    this.malformed += 1;
    if (this.malformed <= 5 || this.malformed % 1000 === 0) logger.warn({ channel, reason: describe(error), bytes, count: this.malformed }, "rpc_malformed");
  }

  // --- parts

  private channels(config: ServiceConfig): Set<string> {
    const channels = new Set([config.name]);
    if (config.listenEnrich || this.registry.withRole(ROLE_ENRICHER).length) channels.add(ENRICH);
    if (config.listenAll) channels.add(BROADCAST);
    return channels;
  }

  /** Offers a method over RPC; the service's own of that name wins, one of an earlier life does not. */
  private offer(name: string, func: Exposed["func"]): void {
    const there = this.registry.methods.get(name);
    if (there && !this.offered.has(there)) return;
    const exposed: Exposed = { name, func, path: "", kind: "method", options: {} };
    this.offered.add(exposed);
    this.registry.add(exposed);
  }

  private addMethods(): void {
    this.offer(METHOD_STATUS, async () => ({
      type__: "data",
      statusCode: 200,
      data: { ...this.status(), health: await readHealth(this.registry, this.link) },
    }));
    this.offer(METHOD_METRICS, () => this.metrics.render());
  }

  /** Finds the listeners of the durable stream, and offers what can be done about their dead letters and past events, over RPC only. */
  private findFeeds(config: ServiceConfig): ListenerCall[] {
    const listeners = this.registry.withRole(ROLE_LISTENER);
    if (!listeners.length || config.listenAll) return [];
    if (new Set(listeners.map(({ group }) => group)).size < listeners.length) {
      throw new SettingsError(
        `Several listeners of this service consume as the same group (${listeners.map(({ name }) => name).join(", ")}); give each its own \`group\`, or combine them into one function`,
      );
    }
    this.metrics.declare("listener_events", "Events that the listener processed.");
    this.metrics.declare("listener_dead_letters", "Events that the listener could not process, which became dead letters.");
    this.metrics.declare("listener_retries", "Deliveries that the listener postponed with Retry.");
    const feeds = listeners.map((one) => new ListenerCall(one, one.group ? `${config.name}.${one.group}` : config.name, this.signal, this.metrics));
    const key = deadLettersOf(config.name);
    this.limit = new LetterLimit(config.name, key, this.link, this.metrics, config.deadLettersMax, config.deadLettersMaxMb * 2 ** 20);
    this.letters = new DeadLetters(config.name, feeds, this.link);
    this.replays = new EventReplays(
      config.name,
      feeds.map((feed) => new EventReplay(config.name, feed, this.link, this.limit)),
    );
    for (const [name, func] of Object.entries({ ...this.letters.methods(), ...this.replays.methods() })) this.offer(name, func);
    return feeds;
  }

  /** Returns the first complaint of a listener; of several, with the name of its group. */
  private checkListeners(): HealthFacts {
    for (const listener of this.listeners) {
      const facts = listener.check() as { reason?: string } | null;
      if (facts) return this.listeners.length > 1 ? { ...facts, group: listener.name } : facts;
    }
    return null;
  }

  private beat(): void {
    const alive = () => {
      if (this.beats && this.link.connected && this.config) this.rpc.notify(SERVICE_DIRECTOR, METHOD_IAMALIVE, { name: this.config.name });
    };
    const first = setTimeout(() => {
      alive();
      this.timers.push(setInterval(alive, HEARTBEAT));
    }, FIRST_HEARTBEAT);
    this.timers.push(first);
  }

  /** Runs a setup, worker or cleanup; one that fails is logged, keeps nothing from running, and health tells. */
  private async runOnce(kind: "setup" | "worker" | "cleanup", func: Work, timeout = 0): Promise<void> {
    const name = func.name || kind;
    try {
      const work = Promise.resolve(func({ signal: this.signal }));
      if (timeout && !(await within(work, timeout))) throw new Error(`it did not end within ${Math.round(timeout / 1000)} s`);
      await work;
    } catch (error) {
      if (kind === "worker" && this.signal.aborted) return; // how a worker says that it was told to stop
      if (kind !== "cleanup") this.metrics.failures.failed(kind, name, error);
      logger.error({ function: name, reason: describe(error), err: error }, `${kind}_failed`);
    }
  }

  private addGauges(): void {
    const { metrics, link } = this;
    metrics.gauge("redis_connected", "1 while there is a connection to Redis.", () => Number(link.connected));
    metrics.counter("redis_reconnects", "Reconnections to Redis.", () => link.reconnects);
    metrics.counter("messages_dropped", "Messages that could not be sent.", () => link.dropped);
    metrics.counter("messages_malformed", "Messages that were not JSON-RPC.", () => this.malformed);
    metrics.gauge("calls_in_progress", "Calls in progress, by method.", () =>
      Object.entries(this.server.busyMethods()).map(([method, count]) => [{ method }, count]),
    );
    metrics.gauge("calls_in_flight", "Calls in progress.", () => this.server.inFlight);
    metrics.gauge("uptime_seconds", "Seconds since the start.", () => (Date.now() - this.startedAt) / 1000);
  }
}

/** The service of this process. */
export const service = new Service();
