/** Settings: files through EJS, the section of the environment, and errors that name file and line. */

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import * as v from "valibot";
import { checkSettings, readConfig, readEnvironment, readFiles } from "../lib/service/settings";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "rockme-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

function write(files: Record<string, string>): void {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
}

test("files are merged in the order of their names, through templates that escape nothing", () => {
  write({
    "package.json": '{"version": "1.2.3"}',
    "config/02_b.yml": "list: [3]\nsecret: <%= env.SECRET %>\nunset: <%= env.NOTHING %>\n",
    "config/01_a.yml": "a: &x {b: 1, c: 2}\nlist: [1, 2]\nd: {<<: *x}\n---\na: {c: 3}\n",
    "config/custom/z.yml": "version: <%= pkg.version %>\nvars: <%= mine %>\nenv: <%= envName %>\n",
    "config.yml": "dev: {only: dev}\nproduction: {only: production}\nword: yes\n",
  });
  const found = readFiles(folder, { SECRET: "a&<'b", NODE_ENV: "production" }, { mine: 7 });
  assert.deepEqual(found.a, { b: 1, c: 3 });
  assert.deepEqual(found.d, { b: 1, c: 2 });
  assert.deepEqual([found.list, found.secret, found.unset, found.version, found.vars, found.env], [[3], "a&<'b", null, "1.2.3", 7, "production"]);
  assert.deepEqual([found.only, found.word], ["production", "yes"]);
  assert.equal(readFiles(folder, {}, { mine: 7 }).only, "dev");
});

test("errors name the file and the line, and quote nothing of it", () => {
  write({ "config/a.yml": "x: 1\ny: [canary\n" });
  assert.throws(
    () => readFiles(folder, {}),
    (error: Error) => /config\/a\.yml, line \d/.test(error.message) && !error.message.includes("canary"),
  );
  write({ "config/a.yml": "x: 1\ny: <%= nothing.at.all %>\n" });
  assert.throws(() => readFiles(folder, {}), /config\/a\.yml, line 2: not a valid template: nothing is not defined/);
  write({ "config/a.yml": 'greeting: "Hello {{name}}"\n', "config.yaml": "x: 1\nport: {{PORT}}\n" });
  assert.throws(() => readFiles(folder, {}), /config\.yaml, line 2: this is a Jinja template/);
  write({ "config.yaml": "x: 1\n" });
  assert.equal(readFiles(folder, {}).greeting, "Hello {{name}}");
  write({ "config/a.yml": "- 1\n" });
  assert.throws(() => readFiles(folder, {}), /found a list/);
});

test("the environment wins over .env.local, which wins over .env", () => {
  write({ ".env": "A=1\nB=1\nPATH=nowhere\n", ".env.local": "B=2\n" });
  const env = readEnvironment(folder);
  assert.deepEqual([env.A, env.B, env.PATH], ["1", "2", process.env.PATH]);
});

test("all that is wrong with the framework's own settings is told at once", () => {
  assert.throws(
    () =>
      readConfig({ name: "a:b", listen: "1.2.3.4:99999", rpc: { listen_all: "maybe" }, allowed_origins: "nope" }, { BAND_SERVICE: "c", REDIS_DSN: "http://x" }),
    (error: Error) =>
      ["PORT", "listen_all", "a:b", "BAND_SERVICE".length && "director runs", "allowed_origins", "REDIS_DSN"].every((word) =>
        error.message.includes(String(word)),
      ),
  );
  const config = readConfig({ rpc: { name: "uap_1" } }, { SERVICE_GROUP: "uap", PORT: "9000", REDIS_HOST: "r", REDIS_PASSWORD: "p@" });
  assert.deepEqual([config.name, config.serviceGroup, config.port, config.redisDsn], ["uap_1", "uap", 9000, "redis://:p%40@r:6379/0"]);
});

test("a schema reads the service's own settings, and tells all problems", () => {
  const schema = v.object({ url: v.string(), limit: v.optional(v.number(), 5) });
  assert.equal(checkSettings(schema, { url: "x" }).limit, 5);
  assert.throws(() => checkSettings(schema, { limit: "x" }), /url: .*; limit: /);
});
