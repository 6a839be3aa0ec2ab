/** Standard Webhooks 1: who sent a request, and that nobody changed it (https://www.standardwebhooks.com). */

import { createHmac } from "node:crypto";

const PREFIX = "whsec_";
const SHORTEST = 24;
const LONGEST = 64;
const BASE64 = /^[A-Za-z0-9+/]+={0,2}$/;

/** Returns the key that a secret (`whsec_` and base64) stands for. Throws an Error that says what is wrong and never quotes it. */
export function readSecret(text: string): Buffer {
  const given = text.trim();
  const encoded = given.startsWith(PREFIX) ? given.slice(PREFIX.length) : given;
  if (!BASE64.test(encoded)) throw new Error(`the secret is not base64; write ${PREFIX} and ${SHORTEST} to ${LONGEST} random bytes in base64`);
  const key = Buffer.from(encoded, "base64");
  if (key.length < SHORTEST || key.length > LONGEST) {
    throw new Error(`the secret has ${key.length} bytes; Standard Webhooks asks for ${SHORTEST} to ${LONGEST}`);
  }
  return key;
}

/** Returns the headers of a request: one signature for each key, so that receivers can change theirs without losing a request. */
export function signedHeaders(keys: readonly Buffer[], id: string, timestamp: number, body: string): Record<string, string> {
  const signed = `${id}.${timestamp}.${body}`;
  const signatures = keys.map((key) => `v1,${createHmac("sha256", key).update(signed, "utf8").digest("base64")}`);
  return { "webhook-id": id, "webhook-timestamp": String(timestamp), "webhook-signature": signatures.join(" ") };
}
