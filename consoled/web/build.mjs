// Builds the page into static/: serial.html and assets/ beside it.
import { cp, mkdir, rm } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import path from "node:path";
import { build } from "esbuild";

const here = path.dirname(fileURLToPath(import.meta.url));
const out = path.join(here, "static");

await rm(out, { recursive: true, force: true });
await mkdir(path.join(out, "assets"), { recursive: true });
await build({
  absWorkingDir: here,
  entryPoints: { app: "src/main.ts" },
  outdir: "static/assets",
  bundle: true,
  minify: true,
  format: "iife",
  // The oldest browsers with constructed style sheets, which src/styles.ts needs.
  target: ["chrome99", "firefox101", "safari16.4"],
  charset: "utf8",
  legalComments: "external",
  logLevel: "info",
});
await cp(path.join(here, "src/serial.html"), path.join(out, "serial.html"));
await cp(path.join(here, "src/icon.svg"), path.join(out, "assets/icon.svg"));
