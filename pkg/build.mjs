// The npm package's `dist/`: the page's half, the workers, the wasm modules, and types.

import { copyFile, readFile, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

import { build } from "esbuild";
import { rollup } from "rollup";
import { dts } from "rollup-plugin-dts";

import { notices } from "./notices.mjs";

const pkg = import.meta.dirname;
const dist = join(pkg, "dist");

/**
 * What is built, by name. An entry is a line here, and one in `exports` and `typesVersions` of package.json. Its source
 * becomes `dist/NAME.js` for browsers and `dist/node/NAME.js` for Node, and its declarations `dist/NAME.d.ts`.
 */
const ENTRIES = {
  index: { browser: "src/index.ts", node: "src/index.ts", types: "src/index.ts" },
  worker: { browser: "src/worker/host.ts", node: "src/worker/host.ts", types: "src/worker/host.ts" },
  gpu: { browser: "src/gpu/host.ts", types: "src/gpu/host.ts" },
  search: { browser: "src/search/index.ts", node: "src/search/index.ts", types: "src/search/index.ts" },
  "search-worker": { browser: "src/search/worker.ts", node: "src/search/worker.ts", types: "src/search/worker.ts" },
  ...Object.fromEntries(
    ["ai", "langchain", "transformers", "semantic-embedder", "orama"].map((name) => {
      const source = `src/adapters/${name}.ts`;
      return [name, { browser: source, node: source, types: source }];
    }),
  ),
  // `npx embervec`
  cli: { node: "src/node/cli.ts" },
};

/** The wasm modules, by the names that they are published under. */
const MODULES = {
  "embervec-simd128.wasm": "wasm/simd128/embervec_bg.wasm",
  "embervec-relaxed.wasm": "wasm/relaxed/embervec_bg.wasm",
  "embervec-webgpu.wasm": "wasm/webgpu/embervec_bg.wasm",
  "embervec-search.wasm": "wasm/search/embervec_bg.wasm",
};

const { version, peerDependencies = {} } = JSON.parse(await readFile(join(pkg, "package.json"), "utf8"));

// --- one index -----------------------------------------------------------------------------------------------------

const INDEX = new Set(Object.values(ENTRIES.index).map((source) => join(pkg, source)));

/** The file that other entries import instead of bundling the index once more. */
const INDEX_FILE = "./index.js";

/** Whether this is an import of the index by another entry, such as an adapter's of `../index.js`. */
const isOfIndex = (path, importer) =>
  INDEX.has(join(dirname(importer), path.replace(/\.js$/, ".ts"))) && !INDEX.has(importer);

/** Of what a page imports beside the index: it takes the index's own error class, too. */
const BESIDE = new Set(["search", "ai", "langchain", "transformers", "semantic-embedder", "orama"]);

const oneIndex = {
  name: "one-index",
  setup({ onResolve }) {
    onResolve({ filter: /^\.\.?\/.*index\.js$/ }, ({ path, importer }) =>
      isOfIndex(path, importer) ? { path: INDEX_FILE, external: true } : undefined,
    );
  },
};

const ERRORS = join(pkg, "src/errors.ts");
const ERRORS_OF_INDEX = join(pkg, "src/errors-of-index.ts");

const oneErrorClass = {
  name: "one-error-class",
  setup({ onResolve }) {
    onResolve({ filter: /\/errors\.js$/ }, ({ path, importer }) =>
      importer !== ERRORS_OF_INDEX && join(dirname(importer), path.replace(/\.js$/, ".ts")) === ERRORS
        ? { path: ERRORS_OF_INDEX }
        : undefined,
    );
  },
};

/** Takes what is Node's in place of what is a browser's. */
const forNode = {
  name: "node",
  setup: ({ onResolve }) =>
    onResolve({ filter: /\/platform\/web(-[a-z]+)?\.js$/ }, ({ path }) => ({
      path: join(pkg, "src/platform", basename(path).replace("web", "node").replace(/js$/, "ts")),
    })),
};

/** A copy of this class would fail `instanceof`. */
const CLASS = "src/embedder.ts";

function checkClass({ outputs }) {
  for (const { entryPoint, inputs } of Object.values(outputs)) {
    if (CLASS in inputs)
      throw new Error(`${entryPoint} bundles ${CLASS}: import it from ../index.js, of which there is one`);
  }
}

// --- JavaScript ----------------------------------------------------------------------------------------------------

/** The sources in one column of the table, by name. */
const sourcesFor = (column) =>
  Object.fromEntries(
    Object.entries(ENTRIES).flatMap(([name, sources]) => (sources[column] ? [[name, sources[column]]] : [])),
  );

/** @returns the files that are in the bundles */
async function bundle(platform, outdir) {
  const sources = Object.entries(sourcesFor(platform));
  const named = (isWanted) => Object.fromEntries(sources.filter(([name]) => isWanted(name)));
  // Workers, and the program.
  const isCaught = (name) => /(worker|gpu|cli)$/.test(name);
  const metafiles = [
    // The workers are other realms, so their classes are copies anyway.
    await bundleEntries(platform, outdir, named(isCaught), [oneIndex], true),
    // An error that nobody catches prints its line, which in Node would be the whole bundle. Those of workers are sent to the
    // page, and the program catches its own.
    ...(await Promise.all([
      bundleEntries(
        platform,
        outdir,
        named((name) => !isCaught(name) && !BESIDE.has(name)),
        [oneIndex],
        platform === "browser",
      ),
      bundleEntries(
        platform,
        outdir,
        named((name) => BESIDE.has(name)),
        [oneIndex, oneErrorClass],
        platform === "browser",
      ),
    ])),
  ];
  checkClass(metafiles.at(-1));
  return metafiles.flatMap(({ outputs }) => Object.values(outputs).flatMap(({ inputs }) => Object.keys(inputs)));
}

async function bundleEntries(platform, outdir, entryPoints, plugins, minify) {
  const { metafile } = await build({
    absWorkingDir: pkg,
    entryPoints,
    define: { EMBERVEC_VERSION: JSON.stringify(version) },
    outdir,
    bundle: true,
    external: Object.keys(peerDependencies),
    plugins: platform === "node" ? [...plugins, forNode] : plugins,
    format: "esm",
    platform,
    target: platform === "node" ? "node20" : "es2022",
    minify,
    // Maps are made but not packed. With their sources they are 1 MB for each platform, or 300 kB of a tarball that may
    // have 3 MB. No file names its map, because bundlers warn about a map that is missing.
    sourcemap: "external",
    sourcesContent: true,
    metafile: true,
  });
  return metafile;
}

// --- declarations --------------------------------------------------------------------------------------------------

async function declare(name, source) {
  const bundled = await rollup({
    input: join(pkg, source),
    external: (path, importer) => importer !== undefined && isOfIndex(path, importer),
    plugins: [dts({ tsconfig: join(pkg, "tsconfig.json") })],
    onLog(_level, { code, message }) {
      // The worker's script exports nothing.
      if (code === "EMPTY_BUNDLE") return;
      throw new Error(`the declarations of ${source}: ${message}`);
    },
  });
  // Rollup gives the index as the file that the import leads to.
  const paths = (id) => (INDEX.has(id.replace(/\.js$/, ".ts")) ? INDEX_FILE : id);
  await bundled.write({ file: join(dist, `${name}.d.ts`), paths });
}

// --- all of it -----------------------------------------------------------------------------------------------------

await rm(dist, { recursive: true, force: true });
const bundled = [...(await bundle("browser", dist)), ...(await bundle("node", join(dist, "node")))];
for (const [name, source] of Object.entries(sourcesFor("types"))) await declare(name, source);
// Not `copyFile`: in Windows a copy has its source's time, by which prepack.mjs would take it for older than the sources.
for (const [name, source] of Object.entries(MODULES))
  await writeFile(join(dist, name), await readFile(join(pkg, source)));
await writeFile(join(dist, "THIRD-PARTY-NOTICES.txt"), await notices(bundled));
// npm packs only what lies below the package.
for (const name of ["LICENSE-MIT", "LICENSE-APACHE"]) await copyFile(join(pkg, "..", name), join(pkg, name));
