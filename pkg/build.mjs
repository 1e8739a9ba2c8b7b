// The npm package's `dist/`: the page's half, the workers, the wasm modules, and types.

import { execFileSync } from "node:child_process";
import { copyFile, readFile, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

import { build } from "esbuild";

const pkg = import.meta.dirname;
const dist = join(pkg, "dist");

const { version } = JSON.parse(await readFile(join(pkg, "package.json"), "utf8"));

await rm(dist, { recursive: true, force: true });
await build({
  absWorkingDir: pkg,
  entryPoints: { index: "src/index.ts", worker: "src/worker/host.ts", gpu: "src/gpu/host.ts" },
  define: { EMBERVEC_VERSION: JSON.stringify(version) },
  outdir: dist,
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  sourcemap: true,
  sourcesContent: true,
});
/** Takes what is Node's in place of what is a browser's. */
const forNode = {
  name: "node",
  setup: ({ onResolve }) =>
    onResolve({ filter: /\/platform\/web\.js$/ }, () => ({ path: join(pkg, "src/platform/node.ts") })),
};
await build({
  absWorkingDir: pkg,
  entryPoints: { index: "src/index.ts", worker: "src/worker/host.ts" },
  define: { EMBERVEC_VERSION: JSON.stringify(version) },
  outdir: join(dist, "node"),
  bundle: true,
  format: "esm",
  platform: "node",
  target: "node20",
  plugins: [forNode],
});
/** One `Embedder`, which lies beside it. */
const besideIndex = {
  name: "index",
  setup: ({ onResolve }) => onResolve({ filter: /^\.\.\/index\.js$/ }, () => ({ path: "./index.js", external: true })),
};
// `npx embervec`.
await build({
  absWorkingDir: pkg,
  entryPoints: { cli: "src/node/cli.ts" },
  define: { EMBERVEC_VERSION: JSON.stringify(version) },
  outdir: join(dist, "node"),
  bundle: true,
  format: "esm",
  platform: "node",
  target: "node20",
  minify: true,
  plugins: [forNode, besideIndex],
});
// npm packs only what lies below the package.
for (const name of ["README.md", "LICENSE-MIT", "LICENSE-APACHE"])
  await copyFile(join(pkg, "..", name), join(pkg, name));
for (const artefact of ["simd128", "relaxed", "webgpu"]) {
  await copyFile(join(pkg, `wasm/${artefact}/embervec_bg.wasm`), join(dist, `embervec-${artefact}.wasm`));
}
const tsc = join(dirname(createRequire(import.meta.url).resolve("typescript/package.json")), "bin/tsc");
execFileSync(process.execPath, [tsc, "--project", join(pkg, "tsconfig.json")], { stdio: "inherit" });
