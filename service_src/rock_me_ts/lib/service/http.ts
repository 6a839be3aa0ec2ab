/** The HTTP port of a service: every exposed function, its health and its metrics. */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { METHOD_STATUS } from "../constants";
import { InvalidParams, RpcError, SettingsError } from "../errors";
import type { RedisLink } from "../redis/link";
import { parseLoosely } from "../rpc/messages";
import type { ServiceConfig } from "../types";
import { readHealth } from "./health";
import { describe, logger, maskText } from "./logs";
import type { Metrics } from "./metrics";
import { document } from "./openapi";
import { type Exposed, type Registry, runExposed } from "./registry";
import { SitePolicy } from "./site_policy";

const BODY_LIMIT = 2 * 1024 * 1024;
/** Milliseconds after which a connection without a request is closed. */
const IDLE = 30_000;
/** What may only be read; `/__status` takes any method, as in the original. */
const PAGES = new Set(["/health", "/metrics", "/openapi.json"]);
// A transparent 1×1 GIF, 43 bytes.
const PIXEL_GIF = Buffer.from("47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b", "hex");

interface Answer {
  status: number;
  body: string | Buffer;
  type?: string;
  headers?: Record<string, string>;
}

/** The request cannot be read; status and text go to the client. */
class HttpError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

function json(value: unknown, status = 200): Answer {
  return { status, body: JSON.stringify(value) ?? "null" };
}

export class HttpPort {
  port = 0;
  private server: Server | null = null;
  private readonly routes = new Map<string, Exposed>();
  private readonly policy: SitePolicy;

  constructor(
    private readonly config: ServiceConfig,
    private readonly registry: Registry,
    private readonly link: RedisLink,
    private readonly metrics: Metrics,
    private readonly signal: () => AbortSignal,
  ) {
    this.policy = new SitePolicy(config.name, config.allowedHosts, config.allowedOrigins);
  }

  /** Opens the port. Throws SettingsError when it cannot be opened. */
  async open(): Promise<void> {
    for (const exposed of this.registry.methods.values()) {
      if (exposed.name.startsWith("__") || !exposed.path || exposed.path.includes("*")) continue;
      if (this.routes.has(exposed.path) || exposed.path === "/health" || exposed.path === "/metrics") {
        logger.warn({ path: exposed.path, method: exposed.name }, "http_path_taken");
      } else this.routes.set(exposed.path, exposed);
    }
    const server = createServer(
      { keepAliveTimeout: IDLE, headersTimeout: IDLE, requestTimeout: IDLE },
      (request, response) => void this.serve(request, response),
    );
    this.server = server;
    const { host, port } = this.config;
    await new Promise<void>((resolve, reject) => {
      server.once("error", (error: NodeJS.ErrnoException) => {
        reject(new SettingsError(`Port ${port} on ${host} cannot be opened: ${error.code}; set another one with PORT`));
      });
      server.listen(port, host, 1024, resolve);
    });
    this.port = (server.address() as AddressInfo).port;
  }

  /** Takes no new request, and lets those in progress end for a while. */
  async close(timeout = 2000): Promise<void> {
    const server = this.server;
    if (!server?.listening) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => server.closeAllConnections(), timeout);
      server.close(() => {
        clearTimeout(timer);
        resolve();
      });
      server.closeIdleConnections();
    });
  }

  private async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // Of a header that came several times, `request.headers` has the first; all of them are no name of ours.
    const header = (name: string) => request.headersDistinct[name]?.join(", ");
    let answer: Answer;
    try {
      answer = await this.answer(request, header);
    } catch (error) {
      answer = error instanceof HttpError ? json({ message: error.message }, error.status) : json({ message: describe(error) }, 500);
    }
    const body = typeof answer.body === "string" ? Buffer.from(answer.body) : answer.body;
    response.writeHead(answer.status, {
      "Content-Type": answer.type ?? "application/json; charset=utf-8",
      "Content-Length": body.length,
      ...answer.headers,
      ...this.policy.cors(header("origin")),
    });
    response.end(request.method === "HEAD" ? undefined : body);
  }

  private async answer(request: IncomingMessage, header: (name: string) => string | undefined): Promise<Answer> {
    const verb = request.method ?? "GET";
    const url = new URL(`http://service${request.url?.startsWith("/") ? request.url : "/"}`);
    const exposed = this.routes.get(decodePath(url.pathname));
    const refusal = this.policy.refusal(header, (verb === "GET" || verb === "HEAD") && !exposed);
    if (refusal) return json({ message: refusal }, 403);
    if (verb === "OPTIONS" && (exposed || header("access-control-request-method"))) return json({});
    const verbs = exposed ? ["GET", "POST"] : ["GET", "HEAD"];
    if (!verbs.includes(verb) && (exposed || PAGES.has(url.pathname))) {
      return { ...json({ message: "Method Not Allowed" }, 405), headers: { Allow: verbs.join(",") } };
    }
    if (exposed) return this.call(exposed, request, url);
    switch (url.pathname) {
      case "/health": {
        const facts = await readHealth(this.registry, this.link);
        return json(facts, facts.status === "failing" ? 503 : 200);
      }
      case "/openapi.json":
        return json(document(this.config.name, this.registry));
      case "/metrics":
        return { status: 200, body: this.metrics.render(), type: "text/plain; charset=utf-8" };
      case `/${METHOD_STATUS}`:
        // As to a call without parameters: what a request brings along is not for the service.
        return render(await runExposed(this.registry.methods.get(METHOD_STATUS) as Exposed, {}, { from: "", signal: this.signal() }));
      default:
        return json({ message: "Not Found" }, 404);
    }
  }

  private async call(exposed: Exposed, request: IncomingMessage, url: URL): Promise<Answer> {
    const begun = performance.now();
    let outcome = "error";
    try {
      const params = await readParams(request, url);
      const given = exposed.role === "listener" && exposed.batch ? [params] : params;
      const answer = render(await runExposed(exposed, given, { from: "", signal: this.signal() }));
      outcome = "ok";
      return answer;
    } catch (error) {
      if (error instanceof HttpError) throw error;
      if (error instanceof InvalidParams) {
        outcome = "invalid_params";
        const facts = { message: `Invalid params: ${error.message}`, ...(error.path ? { path: error.path } : {}) };
        return json(facts, error.path ? 422 : 400);
      }
      if (error instanceof RpcError) return json({ message: maskText(error.message) }, 502);
      logger.error({ method: exposed.name, reason: describe(error), err: error }, "http_handler_failed");
      return json({ message: describe(error) }, 500);
    } finally {
      this.metrics.called(exposed.name, outcome, performance.now() - begun);
    }
  }
}

function decodePath(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

/** Returns the parameters of a request: query, then JSON or form body; later ones win. */
async function readParams(request: IncomingMessage, url: URL): Promise<Record<string, unknown>> {
  const params: Record<string, unknown> = Object.fromEntries(url.searchParams);
  const body = await readBody(request);
  if (!body.trim()) return params;
  if (!(request.headers["content-type"] ?? "").includes("json")) return { ...params, ...Object.fromEntries(new URLSearchParams(body)) };
  let value: unknown;
  try {
    value = parseLoosely(body);
  } catch (error) {
    throw new HttpError(400, `The body is not JSON: ${(error as Error).message}`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new HttpError(400, "The body must be a JSON object of named arguments");
  }
  return { ...params, ...value };
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > BODY_LIMIT) throw new HttpError(413, `The body is larger than ${BODY_LIMIT} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

/** Returns the HTTP response for what a function returned: a typed response, or any JSON value. */
function render(result: unknown): Answer {
  const typed = (typeof result === "object" && result !== null ? result : {}) as Record<string, any>;
  switch (typed.type__) {
    case "data":
      return { ...json(typed.data ?? {}, typed.statusCode || 200), headers: headersOf(typed.headers) };
    case "error":
      return { ...json({ message: typed.errorMessage ?? "", data: typed.data ?? {} }, typed.statusCode || 500), headers: headersOf(typed.headers) };
    case "redirect":
      return { status: typed.statusCode || 302, body: "", headers: { ...headersOf(typed.headers), Location: clean(typed.location || "/") } };
    case "pixel":
      return { status: 200, body: PIXEL_GIF, type: "image/gif", headers: headersOf(typed.headers) };
    default:
      return json(result === undefined ? null : result);
  }
}

function headersOf(pairs: unknown): Record<string, string> {
  const found = Array.isArray(pairs) ? pairs.filter((pair) => Array.isArray(pair) && /^[\w-]+$/.test(String(pair[0]))) : [];
  return Object.fromEntries(found.map(([name, value]) => [String(name), clean(value)]));
}

/** Returns a text that can stand in a header. */
function clean(value: unknown): string {
  return [...String(value)].map((char) => (char >= " " && char <= "~" ? char : encodeURI(char).replace(/^[^%].*/s, ""))).join("");
}
