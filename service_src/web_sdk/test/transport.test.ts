/** What is sent in which request, and what is kept, in a page without a browser. */

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import type { WebEvent } from "@rockstat/rock-me-ts";
import { flush, send } from "../lib/transport";

interface Asked {
  names: string[];
  keepalive: boolean;
}

let asked: Asked[] = [];
let statusOf: (names: string[]) => number = () => 200;
const kept = new Map<string, string>();

Object.defineProperty(globalThis, "navigator", { value: { onLine: true } });
Object.assign(globalThis, {
  localStorage: {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => kept.set(key, value),
    removeItem: (key: string) => kept.delete(key),
  },
  fetch: async (_url: string, request: { body: string; keepalive: boolean }) => {
    const names = [JSON.parse(request.body)].flat().map((event) => event.name);
    asked.push({ names, keepalive: request.keepalive });
    const status = statusOf(names);
    return { status, text: async () => "" };
  },
});

const event = (name: string, data: Record<string, unknown> = {}): WebEvent => ({ service: "track", name, data, dedup: name });
const settled = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 20));

beforeEach(() => {
  asked = [];
  statusOf = () => 200;
});

test("an event that front refuses takes no other with it", async () => {
  statusOf = (names) => (names.includes("bad") ? 400 : 200);
  for (const name of ["a", "bad", "b"]) send(event(name), false);
  await settled();
  assert.deepEqual(
    asked.map(({ names }) => names),
    [["a", "bad", "b"], ["a"], ["bad"], ["b"]],
  );
});

test("a refused key is not asked for again", async () => {
  statusOf = () => 403;
  for (const name of ["a", "b"]) send(event(name), false);
  await settled();
  assert.equal(asked.length, 1);
});

test("of events that are refused together, those that front then cannot take are kept", async () => {
  statusOf = (names) => (names.length > 1 ? 400 : names[0] === "b" ? 503 : 200);
  for (const name of ["a", "b"]) send(event(name), false);
  await settled();
  statusOf = () => 200;
  asked = [];
  await flush();
  assert.ok(asked.some(({ names }) => names.includes("b")));
});

test("events without an id of their own wait one by one", async () => {
  statusOf = () => 503;
  for (let number = 0; number < 25; number++) send({ service: "game", name: `n${number}`, data: {} }, false);
  await settled();
  statusOf = () => 200;
  asked = [];
  await flush();
  assert.equal(asked.flatMap(({ names }) => names).filter((name) => name.startsWith("n")).length, 25);
});

test("a request may outlive its page only if it has less than 64 KiB of UTF-8", async () => {
  send(event("short", { text: "x".repeat(50_000) }), false);
  await settled();
  send(event("long", { text: "я".repeat(50_000) }), false);
  await settled();
  assert.deepEqual(
    asked.map(({ keepalive }) => keepalive),
    [true, false],
  );
});
