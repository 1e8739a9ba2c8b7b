// The npm package's `dist/`: the page's half, the worker's half, the wasm module, and types.

import { execFileSync } from "node:child_process";
import { copyFile, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

import { build } from "esbuild";

const pkg = import.meta.dirname;
const dist = join(pkg, "dist");

await rm(dist, { recursive: true, force: true });
await build({
  absWorkingDir: pkg,
  entryPoints: { index: "src/index.ts", worker: "src/worker/host.ts" },
  outdir: dist,
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  sourcemap: true,
  sourcesContent: true,
});
// npm packs only what lies below the package.
for (const name of ["README.md", "LICENSE-MIT", "LICENSE-APACHE"]) await copyFile(join(pkg, "..", name), join(pkg, name));
for (const simd of ["simd128", "relaxed"]) {
  await copyFile(join(pkg, `wasm/${simd}/embervec_bg.wasm`), join(dist, `embervec-${simd}.wasm`));
}
const tsc = join(dirname(createRequire(import.meta.url).resolve("typescript/package.json")), "bin/tsc");
execFileSync(process.execPath, [tsc, "--project", join(pkg, "tsconfig.json")], { stdio: "inherit" });
