// The adapters on a page without a bundler. With the libraries that they are for: tests/adapters.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { openPage, type TestPage } from "../support/browser.ts";

let browser: TestPage;

before(async () => {
  browser = await openPage();
});
after(() => browser.close());

const MODEL = "/tests/fixtures/models/tiny-cls/";
const ADAPTERS = ["ai", "transformers", "semantic-embedder", "orama", "langchain"];

test("a page that does not import an adapter loads nothing of one", async () => {
  const { page, requests } = browser;
  requests.length = 0;
  await page.evaluate(async (model) => {
    const address = "/pkg/dist/index.js";
    const { Embedder } = await import(address);
    const embedder = await Embedder.load(model);
    await embedder.encode("fox");
    await embedder.dispose();
  }, MODEL);
  assert.ok(requests.includes("/pkg/dist/index.js"));
  for (const name of ADAPTERS) assert.ok(!requests.some((path) => path.includes(`/${name}.js`)), name);
});

test("an adapter loads the package's index and nothing else, and has its classes", async () => {
  const { requests } = browser;
  // With no module loaded yet.
  const page = await browser.openTab();
  requests.length = 0;
  const seen = await page.evaluate(async (model) => {
    const [index, ai, transformers, semantic, orama] = await Promise.all(
      ["index", "ai", "transformers", "semantic-embedder", "orama"].map((name) => import(`/pkg/dist/${name}.js`)),
    );
    const extractor = await transformers.pipeline("feature-extraction", model);
    const { dims } = await extractor("the fox", { pooling: "cls" });
    const isEmbedder = extractor.embedder instanceof index.Embedder;
    const { embeddings, usage } = await ai.embervec(extractor.embedder).doEmbed({ values: ["the fox"] });
    const error = await extractor("fox", { pooling: "none", quantize: true }).catch((error: unknown) => error);
    const plugin = orama.pluginEmbervec({ embedder: extractor.embedder, properties: ["title"] });
    const document: { title: string; embedding?: number[] } = { title: "the fox" };
    await plugin.embed([document]);
    const { dtype } = extractor.embedder.info;
    await extractor.dispose();
    return {
      dims,
      isEmbedder,
      dtype,
      usage,
      lengths: [embeddings[0].length, document.embedding?.length],
      isError: error instanceof index.EmbervecError,
      isInstalled: "SemanticEmbedder" in globalThis,
      isClass: typeof semantic.SemanticEmbedder,
    };
  }, MODEL);
  assert.deepEqual(seen, {
    dims: [1, 32],
    isEmbedder: true,
    // transformers.js' default in browsers.
    dtype: "q8",
    usage: { tokens: 4 },
    lengths: [32, 32],
    isError: true,
    isInstalled: false,
    isClass: "function",
  });
  const scripts = requests.filter((path) => path.endsWith(".js"));
  assert.deepEqual(
    [...new Set(scripts)].sort(),
    ["index", "ai", "transformers", "semantic-embedder", "orama", "worker"]
      .map((name) => `/pkg/dist/${name}.js`)
      .sort(),
  );
});

test("what transformers.js' env says holds in a browser", async () => {
  const seen = await browser.page.evaluate(async () => {
    const address = "/pkg/dist/transformers.js";
    const { env, pipeline } = await import(address);
    const defaults = [env.allowLocalModels, env.localModelPath, env.useBrowserCache];
    env.allowLocalModels = true;
    env.localModelPath = "/tests/fixtures/";
    env.allowRemoteModels = false;
    const statuses: string[][] = [];
    for (let i = 0; i < 2; i++) {
      const ofLoad: string[] = [];
      const progress_callback = ({ status }: { status: string }) => void ofLoad.push(status);
      const extractor = await pipeline("feature-extraction", "models/tiny-max", { progress_callback, dtype: "fp32" });
      statuses.push([...new Set(ofLoad)]);
      await extractor.dispose();
    }
    const missing = await pipeline("feature-extraction", "models/none").catch((error: { code: string }) => error.code);
    return { defaults, statuses, missing };
  });
  const all = ["initiate", "download", "progress_total", "progress", "done", "ready"];
  // From the cache as from the host.
  assert.deepEqual(seen, { defaults: [false, "/models/", true], statuses: [all, all], missing: "model_not_found" });
});

test("SemanticEmbedder knows what is cached", async () => {
  const seen = await browser.page.evaluate(async () => {
    const address = "/pkg/dist/semantic-embedder.js";
    const { install } = await import(address);
    const model = "/tests/fixtures/models/tiny-prompts/";
    const SemanticEmbedder = install({ model });
    const before = await SemanticEmbedder.availability();
    const embedder = await SemanticEmbedder.create();
    const { embeddings, metadata } = await embedder.embed("the fox", { taskType: "retrieval-query" });
    const after = await SemanticEmbedder.availability();
    embedder.destroy();
    const isGlobal = (globalThis as { SemanticEmbedder?: unknown }).SemanticEmbedder === SemanticEmbedder;
    return [before, after, isGlobal, embeddings[0].values.length, metadata.maxInputTokens];
  });
  assert.deepEqual(seen, ["downloadable", "available", true, 32, 32]);
});
