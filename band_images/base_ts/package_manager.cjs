#!/usr/bin/env node
// npm or yarn, whichever it is called as, with a registry of one package beside it: @rockstat/rock-me-ts is on no public
// registry. So folders without a lock file install too, and whoever takes the name there gets into none of our images.
"use strict";
const { createHash } = require("node:crypto");
const { readFileSync } = require("node:fs");
const { createServer } = require("node:http");
const { basename } = require("node:path");

const PROGRAMS = { npm: "npm/bin/npm-cli.js", yarn: "yarn/bin/yarn.js" };
// What runs a service or its scripts installs nothing, and needs no server for its whole life.
const INSTALLS = {
  npm: (command) => !["exec", "restart", "run", "run-script", "start", "stop", "test"].includes(command),
  yarn: (command = "install") => command.startsWith("-") || ["add", "install", "remove", "upgrade"].includes(command),
};

const name = basename(process.argv[1]);
const main = `/usr/local/lib/node_modules/${PROGRAMS[name]}`;
process.argv[1] = main;
if (INSTALLS[name](process.argv[2])) serve(() => require(main));
else require(main);

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
