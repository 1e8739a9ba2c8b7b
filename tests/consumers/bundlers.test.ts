// The package from its tarball with bundlers and without: in each page it loads a model and encodes a text.

import assert from "node:assert/strict";
import { cp, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";

import type { Browser, Page } from "playwright-core";

import { type ModelServer, serveModels } from "../support/model-server.ts";
import { assertEmbeds, copyFiles, embed, launch, project, serve, type Served } from "./consumer.ts";

let browser: Browser;
let models: ModelServer;
let model: string;
/** What the files of the package give as they are. */
let expected: number[];

before(async () => {
  [browser, models] = await Promise.all([launch(), serveModels()]);
  model = `${models.origin}/tiny-cls/`;
  const folder = await project("bundled");
  await cp(new URL("no-bundler/", import.meta.url), folder, { recursive: true });
  await visit(await serve(folder), async (page) => {
    const { vector, error } = await embed(page, model);
    assert.ok(vector && vector.length > 0 && vector.every(Number.isFinite), error?.message);
    expected = vector;
  });
});

after(async () => {
  await browser?.close();
  await models?.close();
});

/** Opens a page in a profile of its own. */
async function visit(site: Served, look: (page: Page) => Promise<void>): Promise<void> {
  const context = await browser.newContext();
  // tsx wraps functions in a helper, which the pages that they are sent to do not have.
  await context.addInitScript({ content: "globalThis.__name = (target) => target;" });
  try {
    const page = await context.newPage();
    await page.goto(site.origin);
    await look(page);
  } finally {
    await context.close();
    await site.close();
  }
}

/** Of the bundlers' own types nothing is needed, and where they are not installed there are none. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any
const tool = async (name: string): Promise<any> => import(name);

async function webpack(root: string): Promise<Served> {
  const { default: webpack } = await tool("webpack");
  const dist = join(root, "dist");
  const compiler = webpack({
    mode: "production",
    context: root,
    entry: "./main.js",
    output: { path: dist },
    performance: false,
  });
  const stats = await promisify(compiler.run.bind(compiler))();
  assert.equal(stats.hasErrors(), false, stats.toString());
  await promisify(compiler.close.bind(compiler))();
  await writeFile(join(dist, "index.html"), page("main.js"));
  return serve(dist);
}

const page = (script: string) =>
  `<!doctype html><title>embervec</title><script type="module" src="${script}"></script>`;

const viteConfig = (root: string, more: object) => ({ root, configFile: false, logLevel: "error", ...more });

function viteBuild(major: number) {
  return async (root: string): Promise<Served> => {
    const { build } = await tool(`vite${major}`);
    await build(viteConfig(root, { build: { target: "es2022" } }));
    return serve(join(root, "dist"), { single: true });
  };
}

function viteDev(major: number, config: object = {}) {
  return async (root: string): Promise<Served> => {
    const { createServer } = await tool(`vite${major}`);
    const server = await createServer(viteConfig(root, { server: { port: 0, host: "127.0.0.1" }, ...config }));
    await server.listen();
    return { origin: `http://127.0.0.1:${server.httpServer.address().port}`, close: () => server.close() };
  };
}

async function rollup(root: string): Promise<Served> {
  const { rollup } = await tool("rollup");
  const { default: nodeResolve } = await tool("@rollup/plugin-node-resolve");
  const bundle = await rollup({ input: join(root, "main.js"), plugins: [nodeResolve({ browser: true })] });
  const dist = join(root, "dist");
  await bundle.write({ dir: dist, format: "es" });
  await bundle.close();
  return publicSite(root, dist);
}

function esbuild(format: "esm" | "iife") {
  return async (root: string): Promise<Served> => {
    const { build } = await tool("esbuild");
    const dist = join(root, "dist");
    await build({
      absWorkingDir: root,
      entryPoints: ["main.js"],
      bundle: true,
      format,
      outdir: dist,
      logLevel: "error",
    });
    return publicSite(root, dist);
  };
}

/** With the package's files in a public folder, and a page at every other address. */
async function publicSite(root: string, dist: string): Promise<Served> {
  await writeFile(join(dist, "index.html"), page("main.js"));
  await copyFiles(root, join(dist, "embervec"));
  return serve(dist, { single: true });
}

const BUNDLERS: [name: string, sources: string, open: (root: string) => Promise<Served>][] = [
  ["webpack 5", "bundled", webpack],
  ["webpack 5 with createWorker", "create-worker", webpack],
  ...[6, 7, 8].flatMap((major): typeof BUNDLERS => [
    [`vite ${major}, build`, "bundled", viteBuild(major)],
    [`vite ${major}, build with createWorker`, "create-worker", viteBuild(major)],
    [`vite ${major}, dev`, "bundled", viteDev(major)],
    [`vite ${major}, dev with exclude`, "bundled", viteDev(major, { optimizeDeps: { exclude: ["embervec"] } })],
  ]),
  ["rollup", "public", rollup],
  ["esbuild, ESM", "public", esbuild("esm")],
  ["esbuild, IIFE", "public", esbuild("iife")],
];

for (const [name, sources, open] of BUNDLERS) {
  test(name, async () => {
    await visit(await open(await project(sources)), (page) => assertEmbeds(page, model, expected));
  });
}
