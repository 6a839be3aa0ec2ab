/** A Redis, receivers on this machine that check signatures in their own way, and the service as a process. */

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { createServer, type IncomingHttpHeaders, type Server, type ServerResponse } from "node:http";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const CONFIG = resolve(__dirname, "../../../../band_images/send_webhook/config.yml");
export const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
export const OTHER_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

export async function freePort(): Promise<number> {
  const probe = createTcpServer();
  await new Promise<void>((done) => probe.listen(0, "127.0.0.1", done));
  const { port } = probe.address() as AddressInfo;
  await new Promise((done) => probe.close(done));
  return port;
}

export async function until<T>(read: () => T | Promise<T>, wanted: (value: T) => unknown = Boolean, ms = 20_000): Promise<T> {
  const deadline = Date.now() + ms;
  for (;;) {
    const value = await Promise.resolve()
      .then(read)
      .catch((error) => error);
    if (!(value instanceof Error) && wanted(value)) return value;
    if (Date.now() > deadline) throw new Error(`it did not become so in time: ${value instanceof Error ? value.message : JSON.stringify(value)}`);
    await new Promise((done) => setTimeout(done, 30));
  }
}

/** Returns the signature as OpenSSL makes it: none of the service's code. */
export function opensslSignature(secret: string, id: string, timestamp: string, body: string): string {
  const key = Buffer.from(secret.slice("whsec_".length), "base64").toString("hex");
  const made = execFileSync("openssl", ["dgst", "-sha256", "-mac", "HMAC", "-macopt", `hexkey:${key}`, "-binary"], { input: `${id}.${timestamp}.${body}` });
  return `v1,${made.toString("base64")}`;
}

export interface Got {
  id: string;
  timestamp: string;
  signatures: string[];
  headers: IncomingHttpHeaders;
  body: string;
  events: any[];
}

/** A receiver: what it got, and how it answers. */
export class Receiver {
  readonly got: Got[] = [];
  /** Null: it never answers. */
  answer: ((got: Got) => { status: number; headers?: Record<string, string>; body?: string } | null) | null = () => ({ status: 200 });
  private readonly server: Server = createServer((request, response) => {
    let body = "";
    request.setEncoding("utf8");
    request.on("data", (chunk: string) => {
      body += chunk;
    });
    request.on("end", () => this.take(request.headers, body, response));
  });

  async open(): Promise<this> {
    await new Promise<void>((done) => this.server.listen(0, "127.0.0.1", done));
    return this;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}/hook`;
  }

  /** The numbers of all events that it answered well, in order. */
  readonly accepted: number[] = [];

  private take(headers: IncomingHttpHeaders, body: string, response: ServerResponse): void {
    const signatures = String(headers["webhook-signature"]).split(" ");
    const got: Got = {
      id: String(headers["webhook-id"]),
      timestamp: String(headers["webhook-timestamp"]),
      signatures,
      headers,
      body,
      events: JSON.parse(body).data,
    };
    this.got.push(got);
    const answer = this.answer?.(got);
    if (!answer) return;
    if (answer.status < 300) this.accepted.push(...got.events.map((event: any) => event.data.n));
    response.writeHead(answer.status, answer.headers).end(answer.body ?? "");
  }

  close(): void {
    this.server.closeAllConnections();
    this.server.close();
  }
}

/** The service as it runs in its container: its own settings file, everything else in the environment. */
export class Process {
  output = "";
  readonly ended: Promise<number | null>;
  private readonly child: ChildProcess;

  constructor(
    folder: string,
    readonly port: number,
    env: Record<string, string>,
  ) {
    copyFileSync(CONFIG, join(folder, "config.yml"));
    this.child = spawn(process.execPath, [resolve(__dirname, "../lib/main.js")], {
      cwd: folder,
      env: { PATH: process.env.PATH, HOST: "127.0.0.1", PORT: String(port), JSON_LOGS: "1", ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.on("data", (chunk) => {
        this.output += chunk;
      });
    }
    this.ended = new Promise((done) => this.child.once("exit", done));
  }

  signal(name: NodeJS.Signals): Promise<number | null> {
    this.child.kill(name);
    return this.ended;
  }

  /** Gives a path of its port as text, whatever the status. */
  async read(path: string): Promise<string> {
    return (await fetch(`http://127.0.0.1:${this.port}${path}`)).text();
  }

  async check(name = "destinations"): Promise<any> {
    return JSON.parse(await this.read("/health")).checks[name];
  }

  async stats(): Promise<any> {
    return JSON.parse(await this.read("/stats")).destinations;
  }
}

export class Bed {
  readonly folder = mkdtempSync(join(tmpdir(), "webhook-"));
  redisPort = 0;
  private redis: ChildProcess | null = null;
  private readonly processes: Process[] = [];
  private readonly receivers: Receiver[] = [];

  async open(): Promise<void> {
    this.redisPort = await freePort();
    this.redis = spawn("redis-server", ["--port", String(this.redisPort), "--bind", "127.0.0.1", "--dir", this.folder, "--save", ""], { stdio: "ignore" });
    await until(
      () => this.ask("PING"),
      (reply) => reply === "PONG",
    );
  }

  /** Asks Redis by its own client; one line a value. */
  ask(...parts: (string | number)[]): string {
    return execFileSync("redis-cli", ["-p", String(this.redisPort), ...parts.map(String)], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  }

  /** Puts events with numbers into the stream, as front does, in one step. */
  accept(from: number, to: number, more: Record<string, unknown> = {}): void {
    const base = { key: "in.gen.track.page", service: "track", name: "page", uid: "7", td: {} };
    const numbers = Array.from({ length: to - from + 1 }, (_, index) => from + index);
    const events = numbers.map((n) => ({ ...base, id: `75307418542376${String(n).padStart(5, "0")}`, time: 1795468772451 + n, data: { n }, ...more }));
    const script = "for _, event in ipairs(ARGV) do redis.call('XADD', 'events', '*', 'event', event) end";
    this.ask("EVAL", script, 0, ...events.map((event) => JSON.stringify(event)));
  }

  async receiver(): Promise<Receiver> {
    const receiver = await new Receiver().open();
    this.receivers.push(receiver);
    return receiver;
  }

  /** Starts the service and waits until it is connected. */
  async start(destinations: object[] | null, env: Record<string, string> = {}): Promise<Process> {
    const run = await this.launch(destinations, env);
    await until(
      () => run.read("/health"),
      (text) => text.includes('"redis":{"status":"ok"'),
    );
    for (const { name } of (destinations ?? []) as { name: string }[])
      await until(
        () => this.ask("XINFO", "GROUPS", "events"),
        (text) => text.includes(`.${name}\n`),
      );
    return run;
  }

  async launch(destinations: object[] | null, env: Record<string, string> = {}): Promise<Process> {
    const given: Record<string, string> = destinations ? { WEBHOOK_DESTINATIONS: JSON.stringify(destinations) } : {};
    const common = {
      REDIS_DSN: `redis://127.0.0.1:${this.redisPort}`,
      WEBHOOK_ALLOW: "127.0.0.0/8",
      EVENTS_FROM: "0",
      BACKOFF_FIRST: "0.1",
      BACKOFF_MOST: "0.3",
    };
    const run = new Process(this.folder, await freePort(), { ...common, ...given, ...env });
    this.processes.push(run);
    return run;
  }

  async clear(): Promise<void> {
    for (const run of this.processes.splice(0)) await run.signal("SIGKILL");
    for (const receiver of this.receivers.splice(0)) receiver.close();
    this.ask("FLUSHALL");
  }

  async close(): Promise<void> {
    await this.clear();
    this.redis?.kill("SIGKILL");
    rmSync(this.folder, { recursive: true, force: true });
  }
}
