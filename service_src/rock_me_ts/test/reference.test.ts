/** The page of the reference. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";

test("docs/typescript-api.md is made of the declarations", async () => {
  const script = join(__dirname, "../../scripts/reference.mjs");
  const output = await new Promise<string>((resolve) => execFile(process.execPath, [script, "--check"], (_error, _out, text) => resolve(text)));
  assert.equal(output, "");
});
