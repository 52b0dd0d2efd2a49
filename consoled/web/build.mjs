// Builds the pages into static/: serial.html, replay.html, and assets/ beside them.
import { cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import path from "node:path";
import { build } from "esbuild";

const here = path.dirname(fileURLToPath(import.meta.url));
const out = path.join(here, "static");

await rm(out, { recursive: true, force: true });
await mkdir(path.join(out, "assets"), { recursive: true });
const built = await build({
  absWorkingDir: here,
  entryPoints: { app: "src/main.ts", replay: "src/replay.ts" },
  outdir: "static/assets",
  bundle: true,
  minify: true,
  format: "iife",
  // The oldest browsers with constructed style sheets, which src/styles.ts needs.
  target: ["chrome99", "firefox101", "safari16.4"],
  charset: "utf8",
  legalComments: "external",
  metafile: true,
  logLevel: "info",
});
await cp(path.join(here, "src/serial.html"), path.join(out, "serial.html"));
await cp(path.join(here, "src/replay.html"), path.join(out, "replay.html"));
await cp(path.join(here, "src/icon.svg"), path.join(out, "assets/icon.svg"));
await writeFile(path.join(out, "assets/LICENSES.txt"), await licences(Object.keys(built.metafile.inputs)));

/** The licences of the packages that the bundles hold parts of: who passes these on gives them along. */
async function licences(inputs) {
  const names = inputs.map((input) => /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input)?.[1]);
  const texts = new Map();
  // What a package needs may be inside of what it publishes.
  for (const waiting = names.filter(Boolean); waiting.length > 0; ) {
    const name = waiting.pop();
    if (texts.has(name)) continue;
    const folder = path.join(here, "node_modules", name);
    const { version, license, dependencies } = JSON.parse(await readFile(path.join(folder, "package.json"), "utf8"));
    const file = (await readdir(folder)).find((entry) => /^licen[cs]e/i.test(entry));
    const text = file === undefined ? `${license}\n` : await readFile(path.join(folder, file), "utf8");
    texts.set(name, `${name} ${version}\n\n${text}`);
    waiting.push(...Object.keys(dependencies ?? {}));
  }
  const sorted = [...texts.keys()].sort();
  return sorted.map((name) => texts.get(name)).join(`\n${"-".repeat(72)}\n\n`);
}
