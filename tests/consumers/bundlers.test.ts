// The package from its tarball with bundlers and without: in each page it loads a model and encodes a text.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cp, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { promisify } from "node:util";

import {
  assertEmbeds,
  assertTellsNoPath,
  copyFiles,
  embed,
  project,
  serve,
  type Served,
  setUp,
  visit,
} from "./consumer.ts";

const shared = setUp();

/** A bundler's module. */
// oxlint-disable-next-line typescript/no-explicit-any -- types are checked where the bundlers are not installed
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
  await assertTellsNoPath(dist, root);
  await writeFile(join(dist, "index.html"), page("main.js"));
  return serve(dist);
}

const page = (script: string) =>
  `<!doctype html><title>embervec</title><script type="module" src="${script}"></script>`;

const viteConfig = (root: string, more: object = {}) => ({ root, configFile: false, logLevel: "error", ...more });

function viteBuild(major: number) {
  return async (root: string): Promise<Served> => {
    const { build } = await tool(`vite${major}`);
    await build(viteConfig(root));
    await assertTellsNoPath(join(root, "dist"), root);
    return serve(join(root, "dist"));
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

/** With the package's files in a public folder. */
async function publicSite(root: string, dist: string): Promise<Served> {
  await assertTellsNoPath(dist, root);
  await writeFile(join(dist, "index.html"), page("main.js"));
  await copyFiles(root, join(dist, "embervec"));
  return serve(dist);
}

const BUNDLERS: [name: string, sources: string, open: (root: string) => Promise<Served>][] = [
  ["webpack 5", "bundled", webpack],
  ["webpack 5 with createWorker", "create-worker", webpack],
  ...[6, 7, 8].flatMap((major): typeof BUNDLERS => [
    [`vite ${major}, build`, "bundled", viteBuild(major)],
    [`vite ${major}, dev`, "bundled", viteDev(major)],
  ]),
  ["vite 8, build with createWorker", "create-worker", viteBuild(8)],
  ["rollup", "public", rollup],
  ["esbuild, ESM", "public", esbuild("esm")],
  ["esbuild, IIFE", "public", esbuild("iife")],
];

describe("the way that is documented", { concurrency: 2 }, () => {
  for (const [name, sources, open] of BUNDLERS) {
    test(name, async () => {
      await visit(shared.browser, await open(await project(sources)), (page) =>
        assertEmbeds(page, shared.model, shared.expected),
      );
    });
  }
});

/** What a page hears that does not do what is documented, with the address that failed. */
const WITHOUT: [name: string, open: () => Promise<Served>, options: object, said: RegExp[]][] = [
  [
    "rollup",
    async () => rollup(await project("public")),
    { workerUrl: undefined },
    [/\/worker\.js did not load/, /`workerUrl`/],
  ],
  [
    "esbuild, IIFE",
    async () => esbuild("iife")(await project("public")),
    { workerUrl: undefined },
    [/import\.meta\.url/, /`workerUrl`/],
  ],
  [
    "no worker where workerUrl says",
    () => plain(),
    { workerUrl: "/none/worker.js?token=s3cret" },
    [/\/none\/worker\.js did not load/, /`workerUrl`/],
  ],
  [
    "no wasm where wasmUrl says, but an HTML page",
    async () => viteDev(7)(await project("bundled")),
    { wasmUrl: "/none/" },
    [/\/none\/embervec-\w+\.wasm/, /HTML/, /`wasmUrl`/],
  ],
  [
    "vite 7, dev, in a workspace whose packages are at its root",
    async () => viteDev(7)(await project("bundled", { under: "packages/app" })),
    {},
    [/worker\.js did not load/, /optimizeDeps: \{ exclude: \["embervec"\] \}/],
  ],
];

for (const [name, open, options, said] of WITHOUT) {
  test(`without the way: ${name}`, async () => {
    await visit(shared.browser, await open(), async (page) => {
      const { error } = await embed(page, shared.model, options);
      assert.equal(error?.name, "EmbervecError", error?.message);
      assert.equal(error.code, "network");
      for (const part of said) assert.match(error.message, part);
      assert.doesNotMatch(error.message, /s3cret/);
    });
  });
}

test("createWorker that throws, gives something else, or a worker that cannot run", async () => {
  await visit(shared.browser, await plain(), async (page) => {
    const message = (createWorker: string): Promise<string> =>
      page.evaluate(
        `load("/none/", { createWorker: ${createWorker} }).then(String, ({ name, message }) => name + ": " + message)`,
      );
    assert.match(await message("() => { throw new Error('no room'); }"), /EmbervecError: .*createWorker.*no room/);
    assert.match(
      await message("() => undefined"),
      /EmbervecError: .*createWorker.*must return a Worker, not undefined/,
    );
    assert.match(await message("async () => {}"), /EmbervecError: .*createWorker.*not an object \(Promise\)/);
    assert.match(await message("(url) => new Worker(url)"), /EmbervecError: .*type: "module"/);
  });
});

test("vite 7, dev, in a workspace, with exclude", async () => {
  const open = viteDev(7, { optimizeDeps: { exclude: ["embervec"] } });
  await visit(shared.browser, await open(await project("bundled", { under: "packages/app" })), (page) =>
    assertEmbeds(page, shared.model, shared.expected),
  );
});

const CORS = { "access-control-allow-origin": "*" };

/** A page without a bundler, with these headers on all of its files, its workers' scripts included. */
async function plain(headers: Record<string, string> = {}): Promise<Served> {
  const root = await project("bundled");
  await cp(new URL("no-bundler/", import.meta.url), root, { recursive: true });
  return serve(root, headers);
}

test("no bundler", async () => {
  await visit(shared.browser, await plain(), (page) => assertEmbeds(page, shared.model, shared.expected));
});

test("a strict Content-Security-Policy", async () => {
  const csp = `default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self' ${shared.models.origin}`;
  const root = await project("cdn");
  await visit(shared.browser, await serve(root, { "content-security-policy": csp }), async (page) => {
    await page.evaluate(() => open("/node_modules/embervec/dist/index.js"));
    const { vector, error } = await embed(page, shared.model, { createWorker: undefined });
    assert.deepEqual(vector, shared.expected, error?.message);
    assert.equal((await embed(page, shared.model, { createWorker: undefined, device: "webgpu" })).device, "webgpu");
  });
});

test("Trusted Types: by a policy of the package's, or not at all", async () => {
  const demand = "require-trusted-types-for 'script'";
  await visit(shared.browser, await plain({ "content-security-policy": demand }), (page) =>
    assertEmbeds(page, shared.model, shared.expected),
  );
  // One that allows ours, and one that demands none, but names others.
  for (const policy of [`${demand}; trusted-types embervec`, "trusted-types other"]) {
    await visit(shared.browser, await plain({ "content-security-policy": policy }), async (page) => {
      const { vector, error } = await embed(page, shared.model);
      assert.deepEqual(vector, shared.expected, error?.message);
    });
  }
  await visit(
    shared.browser,
    await plain({ "content-security-policy": `${demand}; trusted-types other` }),
    async (page) => {
      const { error } = await embed(page, shared.model);
      assert.match(error!.message, /trusted-types embervec/);
    },
  );
});

test("a CDN's address", async () => {
  const cdn = await serve(await project("bundled"), CORS);
  const address = `${cdn.origin}/node_modules/embervec/dist/index.js`;
  try {
    await visit(shared.browser, await serve(await project("cdn")), async (page) => {
      await page.evaluate((address) => open(address), address);
      await assertEmbeds(page, shared.model, shared.expected);
      const { error } = await embed(page, shared.model, { createWorker: undefined });
      assert.equal(error?.code, "network", error?.message);
      assert.ok(error.message.includes(new URL("worker.js", address).href), error.message);
      assert.match(error.message, /createWorker/);
    });
  } finally {
    await cdn.close();
  }
});

test("a sandboxed frame", async () => {
  await visit(shared.browser, await serve(await project("sandboxed"), CORS), async (page) => {
    const frame = page.frames()[1]!;
    const { vector, error } = await embed(frame, shared.model);
    assert.deepEqual(vector, shared.expected, error?.message);
    const without = await embed(frame, shared.model, { createWorker: undefined });
    assert.match(without.error!.message, /worker\.js cannot be started .*`createWorker`/);
  });
});

test("CommonJS", async () => {
  const root = await project("bundled");
  const script = `const { Embedder, cosSim } = require("embervec"); console.log(typeof Embedder.load, cosSim([1, 0], [1, 0]));`;
  await writeFile(join(root, "main.cjs"), script);
  const { stdout } = await promisify(execFile)(process.execPath, ["main.cjs"], { cwd: root });
  assert.equal(stdout, "function 1\n");
});
