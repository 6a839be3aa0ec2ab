/** The declarations, as services compile against them: through a link, by old and new TypeScript, in every module resolution. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

const ROOT = join(__dirname, "../..");
const PROJECTS = [
  { typescript: "typescript-4.9", module: "commonjs", moduleResolution: "node" },
  { typescript: "typescript", module: "commonjs", moduleResolution: "node" },
  { typescript: "typescript", module: "node16", moduleResolution: "node16" },
];

for (const { typescript, module, moduleResolution } of PROJECTS) {
  test(`services compile by ${typescript} with moduleResolution ${moduleResolution}`, async () => {
    const folder = mkdtempSync(join(tmpdir(), "rockme-"));
    try {
      cpSync(join(ROOT, "test/types"), folder, { recursive: true });
      mkdirSync(join(folder, "node_modules/@rockstat"), { recursive: true });
      mkdirSync(join(folder, "node_modules/@types"));
      symlinkSync(ROOT, join(folder, "node_modules/@rockstat/rock-me-ts"));
      const options = { target: "esnext", module, moduleResolution, strict: true, noEmit: true, types: [], lib: ["esnext", "dom"] };
      writeFileSync(join(folder, "package.json"), "{}");
      writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions: options, files: ["old.ts", "fresh.ts"] }));
      const tsc = join(ROOT, "node_modules", typescript, "bin/tsc");
      const output = await new Promise<string>((resolve) => execFile(process.execPath, [tsc, "-p", folder], (_error, text) => resolve(text)));
      assert.equal(output, "");
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
}

test("the package is one, however it is loaded", async () => {
  const script = `import * as esm from "@rockstat/rock-me-ts"; import { createRequire } from "node:module";
    const cjs = createRequire(import.meta.url)("@rockstat/rock-me-ts");
    if (esm.expose !== cjs.expose || esm.version !== "${JSON.parse(require("node:fs").readFileSync(join(ROOT, "package.json"), "utf8")).version}") throw new Error("two");`;
  const code = await new Promise((resolve) => {
    const child = execFile(process.execPath, ["--input-type=module", "-e", script], { cwd: ROOT }, () => resolve(child.exitCode));
  });
  assert.equal(code, 0);
});
