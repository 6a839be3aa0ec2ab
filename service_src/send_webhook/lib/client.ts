/** One request, and what its response means for the events in it. */

import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import { AddressRefused } from "./addresses";
import type { Destination, Options } from "./options";

const MAX_RESPONSE = 64 * 1024;
const SHOWN = 200;
const MAX_RETRY_AFTER = 86_400;

/**
 * `taken`: it has them. `refused`: it says that these events are wrong. `later`: it is unavailable. `setup`: somebody has to
 * change something here or there first. `gone`: it wants nothing any more.
 */
export type Meaning = "taken" | "refused" | "later" | "setup" | "gone";

export interface Verdict {
  meaning: Meaning;
  /** In words; without anything secret. */
  reason: string;
  /** What the receiver said, for the reason of a dead letter. */
  said?: string;
  /** Seconds that it asks to wait. */
  retryAfter?: number;
}

const OF_THE_EVENTS = new Set([400, 409, 413, 422]);
const PASSES = new Set([408, 425, 429]);

/** Returns what a response's status means. */
export function judge(status: number): Meaning {
  if (status >= 200 && status < 300) return "taken";
  if (status === 410) return "gone";
  if (OF_THE_EVENTS.has(status)) return "refused";
  return status >= 500 || PASSES.has(status) ? "later" : "setup";
}

/** Returns the seconds of a Retry-After header: a number, or a date. */
export function readRetryAfter(header: string | undefined, now = Date.now()): number | undefined {
  if (!header) return undefined;
  const seconds = /^\d+$/.test(header.trim()) ? Number(header) : (Date.parse(header) - now) / 1000;
  return Number.isNaN(seconds) ? undefined : Math.min(MAX_RETRY_AFTER, Math.max(0, seconds));
}

/** Posts to one destination, over connections that stay open. Redirects are not followed: they would lead past the policy. */
export class Client {
  private readonly agent: HttpAgent;
  private readonly secure: boolean;

  constructor(
    private readonly destination: Destination,
    private readonly policy: Options["policy"],
  ) {
    this.secure = destination.url.protocol === "https:";
    this.agent = new (this.secure ? HttpsAgent : HttpAgent)({ keepAlive: true, maxSockets: 1, timeout: 60_000 });
  }

  close(): void {
    this.agent.destroy();
  }

  /** Sends once; resolves with what came of it, within the destination's timeout. */
  post(body: string, headers: Record<string, string>): Promise<Verdict> {
    const { url, timeout } = this.destination;
    // Receivers quote what they were asked for, and there may be a token in it.
    const own = [url.pathname + url.search, url.pathname].filter((part) => part.length > 1);
    const shown = (text: string) => plain(own.reduce((left, part) => left.replaceAll(part, "/…"), text));
    return new Promise((resolve) => {
      let response: IncomingMessage | null = null;
      const chunks: Buffer[] = [];
      const end = (verdict: Verdict) => {
        clearTimeout(timer);
        resolve(verdict);
      };
      const answered = (found: IncomingMessage) => {
        const status = found.statusCode ?? 0;
        const reason = `it answered ${status}${found.statusMessage ? ` ${shown(found.statusMessage)}` : ""}`;
        const said = shown(Buffer.concat(chunks).toString()); // whole: half of a path would not be known as one
        end({ meaning: judge(status), reason, said, retryAfter: readRetryAfter(found.headers["retry-after"]) });
      };
      const fail = (error: Error) => {
        if (response) answered(response);
        else if (error instanceof AddressRefused) end({ meaning: "setup", reason: error.message });
        else end({ meaning: "later", reason: `no response: ${plain(error.message || (error as NodeJS.ErrnoException).code || "the connection failed")}` });
      };
      const request = (this.secure ? httpsRequest : httpRequest)(url, {
        method: "POST",
        agent: this.agent,
        lookup: this.policy.lookup,
        headers: { ...headers, "content-type": "application/json", "content-length": String(Buffer.byteLength(body)), "user-agent": "rockstat-send-webhook" },
      });
      const timer = setTimeout(() => {
        const late = new Error(`none within ${timeout} s`);
        request.destroy(late);
        fail(late); // not every request that is destroyed says so
      }, timeout * 1000);
      request.on("socket", (socket) => {
        // An address in the URL is never looked up, and this one is what is really talked to.
        const check = () => {
          const address = socket.remoteAddress;
          if (address && !this.policy.allows(address)) request.destroy(new AddressRefused(`${address} is not a public address`));
        };
        if (socket.connecting) socket.once("connect", check);
        else check();
      });
      request.on("error", fail);
      // Without this, Node drops the connection and tells nobody.
      request.on("upgrade", (found, socket) => {
        socket.destroy();
        answered(found);
      });
      request.on("response", (found) => {
        response = found;
        let bytes = 0;
        found.on("data", (chunk: Buffer) => {
          bytes += chunk.length;
          if (bytes > MAX_RESPONSE) request.destroy();
          else chunks.push(chunk);
        });
        found.on("error", () => {}); // its status is known, and that is what counts
        found.on("close", () => answered(found));
      });
      try {
        this.policy.check(url.hostname);
        request.end(body);
      } catch (error) {
        request.destroy();
        fail(error as Error);
      }
    });
  }
}

/** Returns a receiver's words as one short line. */
function plain(text: string): string {
  return text
    .replace(/[\s\p{C}]+/gu, " ")
    .trim()
    .slice(0, SHOWN);
}
