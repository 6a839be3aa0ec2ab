// Bundles the SDK into front's static folder. --check: fails if the files there are others. --tests: bundles the unit tests.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const MAX_CORE_BYTES = 8192;
const home = new URL("..", import.meta.url).pathname;
const static_folder = `${home}../front/src/front/static/`;
const settings = { bundle: true, write: false, legalComments: "none", charset: "utf8", absWorkingDir: home };

if (process.argv.includes("--tests")) {
  rmSync(`${home}build`, { recursive: true, force: true });
  const entryPoints = readdirSync(`${home}test`)
    .filter((name) => name.endsWith(".test.ts"))
    .map((name) => `${home}test/${name}`);
  await build({ ...settings, entryPoints, write: true, outdir: `${home}build`, platform: "node", format: "esm", outExtension: { ".js": ".mjs" } });
} else {
  const check = process.argv.includes("--check");
  mkdirSync(static_folder, { recursive: true });
  for (const [entry, name, licence] of [
    ["lib/index.ts", "lib.js", ""],
    ["lib/more.ts", "lib-more.js", "web-vitals: Copyright Google LLC, Apache-2.0. "],
  ]) {
    const banner = { js: `/*! ${licence}Rockstat Band, Apache-2.0 */` };
    const made = await build({ ...settings, entryPoints: [entry], minify: true, format: "iife", target: "es2021", banner });
    const text = made.outputFiles[0].text;
    const bytes = gzipSync(text, { level: 9 }).length;
    console.log(`${name}: ${text.length} bytes, ${bytes} gzipped`);
    if (name === "lib.js" && bytes > MAX_CORE_BYTES) throw new Error(`the core is larger than ${MAX_CORE_BYTES} bytes gzipped`);
    if (!check) writeFileSync(static_folder + name, text);
    else if (readFileSync(static_folder + name, "utf8") !== text)
      throw new Error(`${name} is not what its source makes: run \`npm run build\` in service_src/web_sdk`);
  }
}
