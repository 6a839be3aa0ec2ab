/** Refusing what a web page of another site has a browser send: by Host, Origin, Sec-Fetch-Site, Referer and prefetch. */

import { isIP } from "node:net";
import { hostname as machineName } from "node:os";

const LOOPBACK = ["127.0.0.1", "localhost", "::1"];
const OWN_SITE = new Set(["same-origin", "none"]);
const HOST = /^(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(:[0-9]{1,5})?$/i;

/** Returns a header; undefined when the client did not send it. */
export type Header = (name: string) => string | undefined;

/** Whose requests may pass to the port of a service. */
export class SitePolicy {
  private readonly hosts: Set<string>;
  private readonly origins: Set<string>;

  constructor(
    private readonly owner: string,
    hosts: readonly string[],
    origins: readonly string[],
  ) {
    this.hosts = new Set([...LOOPBACK, ...[owner, machineName(), ...hosts].map(hostOf)].filter(Boolean));
    this.origins = new Set(origins.map((origin) => origin.toLowerCase().replace(/\/+$/, "")));
  }

  /** Returns why the request with these headers may not pass, "" when it may; `reads`: it changes nothing. */
  refusal(header: Header, reads: boolean): string {
    const host = header("host") ?? "";
    if (!this.isOwnName(hostOf(host))) {
      return `Host "${host.slice(0, 100)}" is not one of ${this.owner}'s names; the setting allowed_hosts adds a name`;
    }
    const [origin, site, referer] = [header("origin"), header("sec-fetch-site"), header("referer")];
    if (aheadOfTime(header) && !reads) return this.refuse("prefetch requests are refused");
    if (this.allows(origin)) return "";
    if (origin !== undefined && authority(origin) !== host.toLowerCase()) return this.refuse();
    if (referer !== undefined && this.allows(originOf(referer))) return "";
    if (site !== undefined && !OWN_SITE.has(site.toLowerCase())) return reads && origin === undefined && opensDocument(header) ? "" : this.refuse();
    if (origin !== undefined || site !== undefined) return "";
    // Old browsers leave out both on a GET of a picture: there the Referer must tell.
    if (referer !== undefined && authority(referer) !== host.toLowerCase()) return this.refuse();
    if (referer === undefined && !reads && (header("user-agent") ?? "").startsWith("Mozilla/")) {
      return this.refuse("the browser does not say which page this request comes from");
    }
    return "";
  }

  /** Returns the headers that let a page of an allowed origin read the response; none for all others. */
  cors(origin: string | undefined): Record<string, string> {
    if (!this.allows(origin)) return {};
    return {
      "Access-Control-Allow-Origin": origin as string,
      "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
      "Access-Control-Allow-Headers": "Content-Type, Authorization, Accept",
      Vary: "Origin",
    };
  }

  private allows(origin: string | undefined): boolean {
    return origin !== undefined && (this.origins.has(origin.toLowerCase()) || this.origins.has("*"));
  }

  /** Any address is a name too: DNS rebinding needs a name that a foreign server resolves. So is `<namespace>-<name>`. */
  private isOwnName(name: string): boolean {
    if (this.hosts.has(name) || isIP(name)) return true;
    return !name.includes(".") && [...this.hosts].some((own) => name.endsWith(`-${own}`));
  }

  private refuse(reason = "requests from pages of other sites are refused"): string {
    return `${reason}; open ${this.owner}'s own page`;
  }
}

/** Returns the name of a Host header without its port, in lower case; empty when it is no such thing. */
export function hostOf(host: string): string {
  return (
    HOST.exec(host)?.[1]
      .toLowerCase()
      .replace(/^\[|\]$/g, "")
      .replace(/\.+$/, "") ?? ""
  );
}

/** Tells whether a text can be an allowed origin: `https://app.example` or `*`. */
export function isOrigin(text: string): boolean {
  const [, host] = /^https?:\/\/(.+)$/i.exec(text) ?? [];
  return text === "*" || Boolean(host && hostOf(host));
}

function aheadOfTime(header: Header): boolean {
  return ["sec-purpose", "purpose", "x-moz", "x-purpose"].some((name) => /prefetch|preview/i.test(header(name) ?? ""));
}

function opensDocument(header: Header): boolean {
  return header("sec-fetch-mode") === "navigate" && header("sec-fetch-dest") === "document";
}

function authority(url: string): string {
  return /^[a-z][a-z0-9+.-]*:\/\/([^/?#]*)/i.exec(url)?.[1].toLowerCase() ?? "";
}

function originOf(url: string): string {
  return `${url.split("://", 1)[0].toLowerCase()}://${authority(url)}`;
}
