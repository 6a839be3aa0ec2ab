// Completes dist/: an ESM wrapper around each entry (one instance, however it is loaded), and only the declarations that an
// entry reaches, none of which may import from another package: services compile through a link, without our node_modules.
import { chmodSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const dist = resolve(dirname(fileURLToPath(import.meta.url)), "../dist");
const require = createRequire(import.meta.url);
const entries = ["index", "testing"];
const reached = new Set();

for (const entry of entries) {
  visit(join(dist, `${entry}.d.ts`));
  const names = Object.keys(require(join(dist, `${entry}.js`))).sort();
  const lines = names.map((name) => `export const ${name} = cjs.${name};`);
  writeFileSync(join(dist, `${entry}.mjs`), `import cjs from "./${entry}.js";\n${lines.join("\n")}\n`);
  writeFileSync(join(dist, `${entry}.d.mts`), `export * from "./${entry}.js";\n`);
}
for (const file of readdirSync(dist, { recursive: true, withFileTypes: true })) {
  const path = join(file.parentPath ?? file.path, file.name);
  if (path.endsWith(".d.ts") && !reached.has(path)) rmSync(path);
}
chmodSync(join(dist, "cli.js"), 0o755);
process.exit(0);

function visit(path) {
  if (reached.has(path)) return;
  reached.add(path);
  const text = readFileSync(path, "utf8");
  if (/\/\/\/ *<reference|declare global|\bNodeJS\.|\bBuffer\b/.test(text.replace(/\/\*[\s\S]*?\*\//g, ""))) throw new Error(`${path} needs types of Node`);
  for (const [, name] of text.matchAll(/(?:from |import\()"([^"]+)"/g)) {
    if (!name.startsWith(".")) throw new Error(`${path} imports ${name}: declarations must name no other package`);
    const target = join(dirname(path), `${name}.d.ts`);
    visit(existsSync(target) ? target : join(dirname(path), name, "index.d.ts"));
  }
}
