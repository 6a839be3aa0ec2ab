// Writes docs/typescript-api.md from the declarations in dist/; with --check it only says whether the page is as it should be.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const ts = createRequire(import.meta.url)("typescript");
const home = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const page = resolve(home, "../../docs/typescript-api.md");
const program = ts.createProgram(
  ["index", "testing"].map((entry) => join(home, "dist", `${entry}.d.ts`)),
  { noLib: true },
);
const checker = program.getTypeChecker();
const CHAPTERS = [
  ["Functions", "index", (file, name) => ["face", "jobs"].includes(file) || name === "response"],
  ["Types", "index", (file, _name, path) => ["types", "web_event"].includes(file) && !path.includes("/compat/")],
  ["Errors", "index", (file) => file === "errors"],
  ["Tests", "testing", () => true],
];
const INTRO = `# TypeScript API

The package \`@rockstat/rock-me-ts\`, from its declarations. New here? Start with [write a TypeScript service in ten minutes](write-a-typescript-service.md).
The package also exports the classes and constants of the original \`rock-me-ts\`; they are for services that were written for it.

<!-- Made by: node service_src/rock_me_ts/scripts/reference.mjs -->
`;

const chapters = CHAPTERS.map(([title, entry, wanted]) => {
  const module = checker.getSymbolAtLocation(program.getSourceFile(join(home, "dist", `${entry}.d.ts`)));
  const names = checker.getExportsOfModule(module).map((symbol) => (symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol));
  const parts = names.filter((symbol) => symbol.declarations?.some((one) => wanted(basename(fileOf(one), ".d.ts"), symbol.name, fileOf(one)))).map(describe);
  return `## ${title}\n\n${parts.join("\n")}`;
});
const text = `${INTRO}\n${chapters.join("\n")}`;

if (process.argv.includes("--check")) {
  if (readFileSync(page, "utf8") !== text) {
    process.stderr.write("docs/typescript-api.md is not as the declarations are: run node service_src/rock_me_ts/scripts/reference.mjs\n");
    process.exit(1);
  }
} else writeFileSync(page, text);

function fileOf(declaration) {
  return declaration.getSourceFile().fileName;
}

function describe(symbol) {
  const about = ts.displayPartsToString(symbol.getDocumentationComment(checker)).replace(/(?<!\n)\n(?!\n)/g, " ");
  const notes = symbol.getJsDocTags(checker).map(({ name, text: parts }) => {
    const words = ts.displayPartsToString(parts).replace(/\s+/g, " ");
    return name === "param" ? `- \`${words.replace(/\s+-?\s*/, "`: ")}` : `- ${name}: ${words}`;
  });
  const code = symbol.declarations.map((one) => (ts.isVariableDeclaration(one) ? one.parent.parent : one).getText().replace(/^export (declare )?/, ""));
  const prose = [about, notes.join("\n")].filter(Boolean).map((part) => `${part}\n\n`);
  return `### ${symbol.name}\n\n${prose.join("")}\`\`\`ts\n${code.join("\n").replaceAll("    ", "  ")}\n\`\`\`\n`;
}
