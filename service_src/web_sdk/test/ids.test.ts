/** Ids, hashes, domains, options. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { hashCode, isUid, packed, projectIdOf, randomId, siteDomain } from "../lib/ids";
import { baseOf, grants, modeOf, refuses } from "../lib/options";

test("the project of a domain is the original's", () => {
  assert.deepEqual(projectIdOf("www.rock.st"), ["rock.st", 3516188042]);
  assert.equal(hashCode(""), 0);
});

test("pages of one site share a visitor, whatever the first label", () => {
  const domains = { "www.shop.example": "shop.example", "a.b.c.d": "b.c.d", "shop.example": "shop.example", localhost: "localhost", "10.0.0.1": "10.0.0.1" };
  for (const [host, domain] of Object.entries(domains)) assert.equal(siteDomain(host), domain);
});

test("a uid is 10 to 22 digits, as text", () => {
  for (const good of ["1234567890", "6410748586712844288"]) assert.ok(isUid(good));
  for (const bad of ["123456789", "12345678901234567890123", "6410748586712844288x", 6410748586, null, ""]) assert.ok(!isUid(bad));
});

test("versions are packed as the original's", () => {
  assert.equal(packed("4.4.0"), 4004000);
});

test("ids of events differ", () => {
  assert.equal(new Set(Array.from({ length: 1000 }, randomId)).size, 1000);
});

test("consent is a mode, or what the site's banner knows", () => {
  assert.deepEqual(["off", "opt-in", "opt-out", "cookieless", "required", true, "yes", undefined].map(modeOf), [
    "off",
    "opt-in",
    "opt-out",
    "cookieless",
    "opt-in",
    undefined,
    undefined,
    undefined,
  ]);
  for (const given of [true, "true", "Yes", 1, "granted"]) assert.ok(grants(given) && !refuses(given));
  for (const refused of [false, "false", "no", 0, "denied"]) assert.ok(refuses(refused) && !grants(refused));
  assert.ok(!refuses(undefined) && !refuses("perhaps"));
});

test("the server is a host, a URL, or where the script came from, with a path before it", () => {
  assert.equal(baseOf("", "", "https://t.shop.example/stats/lib.js?v=1", undefined), "https://t.shop.example/stats");
  assert.equal(baseOf("t.shop.example", "/stats/", "", undefined), "https://t.shop.example/stats");
  assert.equal(baseOf("http://127.0.0.1:10001", "", "", undefined), "http://127.0.0.1:10001");
});
