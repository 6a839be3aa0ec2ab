/** Where a visit comes from. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { beginsSession, sourceOf } from "../lib/source";

const HERE = "https://www.shop.example/shoes";
const typeOf = (page: string, ref = ""): string => sourceOf(page, ref).type;

test("a visit without a referrer is direct, one from the site itself internal, any other a referral", () => {
  assert.equal(typeOf(HERE), "direct");
  assert.equal(typeOf(HERE, "https://shop.example/"), "internal");
  assert.equal(typeOf(HERE, "https://blog.example/post"), "referral");
  assert.equal(sourceOf(HERE, "https://www.blog.example/post").refhost, "blog.example");
  assert.equal(typeOf(`${HERE}?inWebView=1`), "webview");
});

test("searches and networks are known by their hosts", () => {
  const known = {
    "https://www.google.de/": ["organic", "google"],
    "https://yandex.ru/search/?text=shoes": ["organic", "yandex"],
    "https://duckduckgo.com/": ["organic", "duckduckgo"],
    "android-app://com.google.android.googlequicksearchbox/": ["organic", "google"],
    "https://l.facebook.com/": ["social", "fb"],
    "https://t.co/abc": ["social", "twitter"],
    "https://away.vk.com/": ["social", "vk"],
    "https://ad.doubleclick.net/x": ["campaign", "google"],
  };
  for (const [ref, [type, engine]] of Object.entries(known)) {
    const found = sourceOf(HERE, ref);
    assert.deepEqual([found.type, found.engine], [type, engine], ref);
  }
  for (const ref of ["https://notgoogle.com/", "https://fat.com/", "https://xt.co/"]) assert.equal(typeOf(HERE, ref), "referral", ref);
});

test("the words that were searched for are those of the referrer", () => {
  assert.equal(sourceOf(`${HERE}?q=mine`, "https://www.bing.com/search?q=red+shoes").keyword, "red shoes");
  assert.equal(sourceOf(`${HERE}?q=mine`, "https://www.bing.com/").keyword, undefined);
});

test("marks make a campaign, and a partner's id a partner", () => {
  const found = sourceOf(`${HERE}?utm_source=mail&utm_id=7&gclid=x&yclid=y`, "https://www.google.com/");
  assert.deepEqual(found.marks, { utm_source: "mail", utm_id: "7", has_gclid: 1, has_yclid: 1 });
  assert.deepEqual([found.type, found.hasMarks], ["campaign", true]);
  assert.deepEqual(sourceOf(`${HERE}?pid=5`, "").marks, { pid: "5" });
  assert.equal(typeOf(`${HERE}?pid=5&cid=1`), "partner");
  assert.equal(typeOf(`${HERE}?fbclid=x`, "https://l.facebook.com/"), "social");
  assert.equal(typeOf(`${HERE}?_openstat=${btoa("direct;may;banner;top")}`), "campaign");
  assert.equal(sourceOf(`${HERE}?_openstat=direct;may`, "").marks["os_campaign"], "may");
});

test("coming back from elsewhere begins a session, opening its first page again does not", () => {
  const search = sourceOf(HERE, "https://www.google.com/");
  assert.ok(beginsSession(search, sourceOf(HERE, "")));
  assert.ok(!beginsSession(sourceOf(HERE, "https://www.google.com/"), search));
  assert.ok(!beginsSession(sourceOf(HERE, "https://shop.example/"), search));
  assert.ok(beginsSession(sourceOf(`${HERE}?utm_source=b`, ""), sourceOf(`${HERE}?utm_source=a`, "")));
});

test("a page or a referrer that is no URL does no harm", () => {
  assert.equal(typeOf("about:blank", "%%"), "direct");
});
