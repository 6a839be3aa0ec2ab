/** Ids, hashes and domains: no browser needed. */

const UID = /^\d{10,22}$/;

export const isUid = (value: unknown): value is string => typeof value === "string" && UID.test(value);

/** Returns the 32-bit hash of a text, as a number that is not negative. */
export function hashCode(text: string): number {
  let hash = 0;
  for (let at = 0; at < text.length; at++) hash = (hash * 31 + text.charCodeAt(at)) | 0;
  return text ? hash + 2 ** 31 : 0;
}

/** Returns the domain whose pages share a visitor: without `www.`, and without the first label if there are more than two. */
export function siteDomain(host: string): string {
  const name = host.toLowerCase().replace(/^www\./, "");
  const labels = name.split(".");
  return labels.length > 2 && !/^[\d.]+$/.test(name) ? labels.slice(1).join(".") : name;
}

/** Returns a domain and its project id. */
export function projectIdOf(host: string): [string, number] {
  const domain = siteDomain(host);
  return [domain, hashCode(domain)];
}

/** Packs `1.2.3` as 1002003. */
export const packed = (version: string): number => version.split(".").reduce((sum, part) => sum * 1000 + Number(part), 0);

/** Returns a random id. */
export const randomId = (): string => Math.random().toString(36).slice(2, 10) + Math.random().toString(36).slice(2, 10) + Date.now().toString(36);
