/** A real Redis of its own for a file of tests, services in this process, and raw peers that see every byte. */

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseAddress } from "../lib/redis/address";
import { RedisLink } from "../lib/redis/link";
import { logger } from "../lib/service/logs";
import { Service } from "../lib/service/service";
import { readConfig } from "../lib/service/settings";

export const GENEROUS = 20_000;
if (!process.env.TEST_LOGS) logger.level = "silent";

export async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, "127.0.0.1", resolve));
  const { port } = probe.address() as AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

/** Waits until `read` returns what is wanted. */
export async function until<T>(read: () => T | Promise<T>, wanted: (value: T) => unknown = Boolean, ms = GENEROUS): Promise<T> {
  const deadline = Date.now() + ms;
  for (;;) {
    const value = await read();
    if (wanted(value)) return value;
    if (Date.now() > deadline) throw new Error(`it did not become so in time: ${JSON.stringify(value)}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** A raw client: what a service of the original platform does on the wire. */
export class Peer {
  readonly messages: string[] = [];
  readonly link: RedisLink;

  constructor(port: number) {
    this.link = new RedisLink("peer", (_channel, data) => this.messages.push(data));
    this.link.start(parseAddress(`redis://127.0.0.1:${port}`));
  }

  async open(...channels: string[]): Promise<this> {
    await this.link.ready(GENEROUS);
    if (channels.length) await this.link.subscribe(...channels);
    return this;
  }

  async publish(channel: string, payload: unknown): Promise<number> {
    return this.link.command(["PUBLISH", channel, typeof payload === "string" ? payload : JSON.stringify(payload)]);
  }

  async next(): Promise<string> {
    await until(() => this.messages.length);
    return this.messages.shift() as string;
  }

  async ask(channel: string, payload: unknown): Promise<string> {
    if (!(await this.publish(channel, payload))) throw new Error(`nobody listens on ${channel}`);
    return this.next();
  }

  /** Calls as the original's Python framework does, from the name `lab`; resolves with the whole reply. */
  async call(to: string, method: string, params: unknown = {}): Promise<any> {
    return JSON.parse(await this.ask(to, { jsonrpc: "2.0", method: `${to}:${method}:lab`, params, id: "7" }));
  }
}

/** A service as a process of its own. */
export class Running {
  output = "";
  readonly process: ChildProcess;

  constructor(argv: string[], cwd: string, env: Record<string, string>) {
    this.process = spawn(process.execPath, argv, { env: { PATH: process.env.PATH, ...env }, cwd, stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [this.process.stdout, this.process.stderr]) stream?.on("data", (chunk) => (this.output += chunk));
  }

  get alive(): boolean {
    return this.process.exitCode === null && this.process.signalCode === null;
  }

  end(signal: NodeJS.Signals): Promise<number | null> {
    const ended = new Promise<number | null>((resolve) => this.process.once("exit", resolve));
    this.process.kill(signal);
    return ended;
  }
}

export class Bed {
  readonly folder = mkdtempSync(join(tmpdir(), "rockme-"));
  port = 0;
  private process: ChildProcess | null = null;
  private readonly peers: Peer[] = [];
  private readonly services: Service[] = [];
  private admin: Peer | null = null;

  get dsn(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  async startRedis(...options: string[]): Promise<void> {
    this.port ||= await freePort();
    this.process = spawn("redis-server", ["--port", String(this.port), "--bind", "127.0.0.1", "--dir", this.folder, "--save", "", ...options], {
      stdio: "ignore",
    });
    const probe = await new Peer(this.port).open();
    await probe.link.close();
  }

  signalRedis(signal: NodeJS.Signals): Promise<void> {
    const child = this.process as ChildProcess;
    const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    child.kill(signal);
    return signal === "SIGKILL" ? ended : Promise.resolve();
  }

  async peer(...channels: string[]): Promise<Peer> {
    const peer = new Peer(this.port);
    this.peers.push(peer);
    return peer.open(...channels);
  }

  async service(name: string, fill: (service: Service) => void = () => {}, given: Record<string, unknown> = {}): Promise<Service> {
    const service = new Service();
    fill(service);
    this.services.push(service);
    await service.start(readConfig({ name, listen: "127.0.0.1:0", redis_dsn: this.dsn, stop_timeout: 2, ...given }, {}));
    await service.link.ready(GENEROUS);
    return service;
  }

  /** Appends events to the stream, as front does. */
  async accept(...events: unknown[]): Promise<void> {
    for (const event of events) await this.ask("XADD", "events", "*", "event", typeof event === "string" ? event : JSON.stringify(event));
  }

  /** Sends Redis a command. */
  async ask(...parts: (string | number)[]): Promise<any> {
    this.admin ??= await this.peer();
    return this.admin.link.command(parts);
  }

  async clear(): Promise<void> {
    this.admin = null;
    for (const service of this.services.splice(0).reverse()) await service.stop();
    for (const peer of this.peers.splice(0)) await peer.link.close();
  }

  async end(): Promise<void> {
    await this.clear();
    await this.signalRedis("SIGKILL");
    rmSync(this.folder, { recursive: true, force: true });
  }
}
