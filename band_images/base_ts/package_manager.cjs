#!/usr/bin/env node
// npm or yarn, whichever it is called as, with a registry of one package beside it: @rockstat/rock-me-ts is on no public
// registry. So folders without a lock file install too, and whoever takes the name there gets into none of our images.
"use strict";
const { createHash } = require("node:crypto");
const { existsSync, readFileSync, writeFileSync } = require("node:fs");
const { createServer } = require("node:http");
const { basename } = require("node:path");

const PROGRAMS = { npm: "npm/bin/npm-cli.js", yarn: "yarn/bin/yarn.js" };
// What runs a service or its scripts installs nothing, and needs no server for its whole life.
const INSTALLS = {
  npm: (command) => !["exec", "restart", "run", "run-script", "start", "stop", "test"].includes(command),
  yarn: (command = "install") => command.startsWith("-") || ["add", "install", "remove", "upgrade"].includes(command),
};

module.exports = { redirected };
if (require.main === module) run(basename(process.argv[1]), process.argv[2]);

function run(name, command) {
  const main = `/usr/local/lib/node_modules/${PROGRAMS[name]}`;
  process.argv[1] = main;
  if (!INSTALLS[name](command)) return require(main);
  const registry = /^registry=(.*[^/\s])\/*$/m.exec(readFileSync("/etc/npmrc", "utf8"))?.[1];
  if (name === "yarn" && registry && existsSync("yarn.lock")) {
    writeFileSync("yarn.lock", redirected(readFileSync("yarn.lock", "utf8"), registry, readFileSync(main.replace("bin/yarn.js", "lib/cli.js"), "utf8")));
  }
  return serve(() => require(main));
}

/** A yarn.lock whose packages come from `registry` in place of yarn's and npm's own, as npm itself does with its lock; their hashes stay. */
function redirected(lock, registry, yarn) {
  const own = [/ YARN_REGISTRY = [^;]*'(https:[^']+)';/, / NPM_REGISTRY_RE = [^;]*\/(https.*?)\/g;/].map((one) => one.exec(yarn)[1].replace(/^https\??:\W*/, "").replaceAll("\\", ""));
  return lock.replace(/^( {2}resolved ")https?:\/\/([^/"]+)/gm, (line, before, host) => (own.includes(host) ? before + registry : line));
}

function serve(ready) {
  const manifest = JSON.parse(readFileSync("/usr/src/rockme/package.json", "utf8"));
  const tarball = readFileSync("/usr/src/rockme.tgz");
  const file = `/${manifest.name}/-/${manifest.version}.tgz`;
  const integrity = `sha512-${createHash("sha512").update(tarball).digest("base64")}`;
  const server = createServer((request, response) => {
    const path = decodeURIComponent(request.url);
    if (path === file) return response.end(tarball);
    if (path !== `/${manifest.name}`) return response.writeHead(404).end("{}");
    const dist = { tarball: `http://${request.headers.host}${file}`, integrity };
    const versions = { [manifest.version]: { ...manifest, dist } };
    response.setHeader("content-type", "application/json");
    return response.end(JSON.stringify({ name: manifest.name, "dist-tags": { latest: manifest.version }, versions }));
  });
  server.listen(0, "127.0.0.1", () => {
    server.unref();
    process.env["npm_config_@rockstat:registry"] = `http://127.0.0.1:${server.address().port}/`;
    ready();
  });
}
