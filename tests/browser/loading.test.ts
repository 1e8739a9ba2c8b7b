// How a good model comes: progress, cache, aborts, tabs, addresses.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";

import type { Page } from "playwright-core";

import { openPage, type TestPage } from "../support/browser.ts";
import { deleteStored, load, storedKeys } from "../support/load.ts";
import {
  type Answer,
  gzips,
  type ModelServer,
  never,
  redirects,
  sends,
  serveModels,
  stalls,
} from "../support/model-server.ts";
import { join, split } from "../support/safetensors.ts";

const FOLDER = "/tiny-cls/";
const CONFIG = `${FOLDER}config.json`;
const WEIGHTS = `${FOLDER}model.safetensors`;

let server: ModelServer;
let browser: TestPage;
let model: string;
let goodVector: number[] | undefined;
/** Of every request of every tab and worker. */
const urls: string[] = [];

before(async () => {
  server = await serveModels();
  model = server.origin + FOLDER;
  browser = await openPage({ connectTo: server.origin });
  browser.context.on("request", (request) => urls.push(request.url()));
  goodVector = (await load(browser.page, model)).vector;
  assert.equal(goodVector?.length, 32);
  await deleteStored(browser.page);
});
afterEach(async () => {
  server.answers.clear();
  server.requests.length = 0;
  await deleteStored(browser.page);
});
after(async () => {
  await browser.close();
  await server.close();
});

async function assertLoads(page: Page, cached: boolean, options: object = {}): Promise<void> {
  const outcome = await load(page, model, options);
  assert.deepEqual(outcome.vector, goodVector, outcome.error?.message);
  assert.equal(outcome.cached, cached);
}

/** Weights of a size that takes a while, most of it a head that the encoder skips. */
const large: Answer = sends((body) => {
  const { header, data } = split(body);
  const padding = 32 << 20;
  const data_offsets: [number, number] = [data.length, data.length + padding];
  return join(
    { ...header, "cls.predictions.padding": { dtype: "U8", shape: [padding], data_offsets } },
    Buffer.concat([data, Buffer.alloc(padding)]),
  );
});

test("progress goes up to a total that is known from the start", async () => {
  server.answers.set(WEIGHTS, large);
  for (const stage of ["download", "load"]) {
    const events = await browser.page.evaluate(async (model) => {
      const address = "/pkg/dist/index.js";
      const { Embedder } = await import(address);
      const events: { stage: string; file: string; loaded: number; total: number }[] = [];
      const embedder = await Embedder.load(model, {
        dtype: "fp32",
        progress: (event: (typeof events)[number]) => events.push(event),
      });
      await embedder.dispose();
      return events;
    }, model);
    assert.deepEqual([...new Set(events.map((event) => event.stage))], [stage]);
    assert.deepEqual(
      events,
      events.toSorted((a, b) => a.loaded - b.loaded),
    );
    const { file, loaded, total } = events.at(-1)!;
    assert.equal(file, "model.safetensors");
    assert.equal(loaded, total);
    assert.ok(total > 32 << 20, String(total));
    assert.deepEqual([...new Set(events.map((event) => event.total))], [total], stage);
    assert.ok(events.length >= 64, `${events.length} events`);
  }
});

test("a second load, on a new page, makes no request to the model host", async () => {
  await assertLoads(browser.page, false);
  const paths = server.requests.map(({ path }) => path);
  assert.ok(paths.includes(CONFIG) && paths.includes(WEIGHTS), String(paths));
  server.requests.length = 0;
  const tab = await browser.openTab();
  await assertLoads(tab, true);
  await assertLoads(tab, true, { localFilesOnly: true });
  assert.deepEqual(server.requests, []);
  await tab.close();
});

test("localFilesOnly makes no request for a model that is not there", async () => {
  const { error } = await load(browser.page, model, { localFilesOnly: true });
  assert.equal(error?.code, "model_not_found");
  assert.ok(error.message.includes(model) && error.message.includes("localFilesOnly"), error.message);
  assert.deepEqual(server.requests, []);
});

test('cache "memory" does not touch IndexedDB', async () => {
  await assertLoads(browser.page, false, { cache: "memory" });
  assert.deepEqual(await storedKeys(browser.page), { models: [], chunks: [] });
  await assertLoads(browser.page, false);
});

/** Begins a load whose `abort` is the page's; it is called by itself at the stage's first bytes of weights. */
async function beginLoad(page: Page, stage?: string): Promise<{ rejects: Promise<string> }> {
  await page.evaluate(
    async ({ model, stage }) => {
      const address = "/pkg/dist/index.js";
      const { Embedder } = await import(address);
      const controller = new AbortController();
      const reason = new Error("enough");
      const abort = () => controller.abort(reason);
      const progress = (event: { stage: string; file?: string }) => {
        if (event.stage === stage && event.file === "model.safetensors") abort();
      };
      if (stage === "start") abort();
      const rejects = Embedder.load(model, { dtype: "fp32", signal: controller.signal, progress }).then(
        () => "it loads",
        (error: unknown) => (error === reason ? "the signal's reason" : String(error)),
      );
      Object.assign(globalThis, { abort, rejects });
    },
    { model, stage },
  );
  return { rejects: page.evaluate(() => (globalThis as unknown as { rejects: Promise<string> }).rejects) };
}

const abort = (page: Page) => page.evaluate(() => (globalThis as unknown as { abort: () => void }).abort());

async function assertAborted(rejects: Promise<string>): Promise<void> {
  assert.equal(await rejects, "the signal's reason");
  assert.deepEqual((await storedKeys(browser.page)).models, []);
  server.answers.clear();
  await assertLoads(browser.page, false);
}

test("an abort before the start", async () => {
  const { rejects } = await beginLoad(browser.page, "start");
  await rejects;
  assert.deepEqual(server.requests, []);
  await assertAborted(rejects);
});

for (const path of [`${FOLDER}modules.json`, CONFIG, WEIGHTS]) {
  test(`an abort while ${path} is waited for`, async () => {
    server.answers.set(path, never);
    const requested = server.requested(path);
    const { rejects } = await beginLoad(browser.page);
    await requested;
    await abort(browser.page);
    await assertAborted(rejects);
  });
}

test("an abort in mid weights, which would not end", async () => {
  server.answers.set(WEIGHTS, stalls);
  const requested = server.requested(WEIGHTS);
  const { rejects } = await beginLoad(browser.page);
  await requested;
  await abort(browser.page);
  await assertAborted(rejects);
});

test("an abort in mid weights, which do not stop coming", async () => {
  server.answers.set(WEIGHTS, large);
  const { rejects } = await beginLoad(browser.page, "download");
  await assertAborted(rejects);
});

test("an abort while the weights come from the cache leaves them there", async () => {
  server.answers.set(WEIGHTS, large);
  await assertLoads(browser.page, false);
  const { rejects } = await beginLoad(browser.page, "load");
  assert.equal(await rejects, "the signal's reason");
  server.requests.length = 0;
  await assertLoads(browser.page, true);
  assert.deepEqual(server.requests, []);
});

test("two tabs at once download each file once", async () => {
  const tab = await browser.openTab();
  const outcomes = await Promise.all([load(browser.page, model), load(tab, model)]);
  for (const { vector, error } of outcomes) assert.deepEqual(vector, goodVector, error?.message);
  assert.deepEqual(outcomes.map(({ cached }) => cached).sort(), [false, true]);
  const paths = server.requests.map(({ path }) => path);
  assert.ok(paths.includes(WEIGHTS));
  assert.deepEqual(paths, [...new Set(paths)]);
  await tab.close();
});

test("a tab that waits for another's download can abort, or take over", async () => {
  server.answers.set(WEIGHTS, stalls);
  const requested = server.requested(WEIGHTS);
  const [first, second, third] = [await browser.openTab(), await browser.openTab(), await browser.openTab()];
  const closed = assert.rejects((await beginLoad(first)).rejects, /closed/);
  await requested;
  const [{ rejects }, takesOver] = [await beginLoad(second), load(third, model)];
  await abort(second);
  assert.equal(await rejects, "the signal's reason");
  server.answers.clear();
  await first.close();
  await closed;
  assert.deepEqual((await takesOver).vector, goodVector);
  // The closed tab's half is no part of it.
  await assertLoads(third, true);
  await Promise.all([second.close(), third.close()]);
});

test("a hub id is a folder of the hub", async () => {
  const { vector, error } = await load(browser.page, "owner/name", { hub: server.origin, revision: "main" });
  assert.deepEqual(vector, goodVector, error?.message);
  const paths = server.requests.map(({ path }) => path);
  assert.ok(paths.includes("/owner/name/resolve/main/config.json"), String(paths));
  // The pointer to the weights tells their size and SHA-256.
  assert.deepEqual(
    paths.filter((path) => !/^\/(owner\/name\/resolve\/main|api)\//.test(path)),
    ["/owner/name/raw/main/model.safetensors"],
  );
});

test("a revision that the hub does not have is not found", async () => {
  const { error } = await load(browser.page, "owner/name", { hub: server.origin, revision: "v/2" });
  assert.equal(error?.code, "model_not_found");
  assert.ok(error.message.includes(`${server.origin}/owner/name/resolve/v%2F2/`), error.message);
});

test("headers go with every request", async () => {
  await assertLoads(browser.page, false, { headers: { Authorization: "Bearer secret", "X-Purpose": "test" } });
  const ofModel = server.requests.filter(({ path }) => path.startsWith(FOLDER));
  assert.ok(ofModel.length >= 4);
  for (const { path, headers } of ofModel) {
    assert.equal(headers.authorization, "Bearer secret", path);
    assert.equal(headers["x-purpose"], "test", path);
  }
});

test("a redirect of the weights is followed", async () => {
  server.answers.set(WEIGHTS, redirects("/tiny-concat/../tiny-cls/./model.safetensors?from=elsewhere"));
  server.answers.set(`${WEIGHTS}?from=elsewhere`, redirects("/owner/name/resolve/main/model.safetensors"));
  await assertLoads(browser.page, false);
  assert.ok(server.requests.some(({ path }) => path === "/owner/name/resolve/main/model.safetensors"));
});

test("compressed files are files", async () => {
  for (const file of [
    "modules.json",
    "config.json",
    "sentence_bert_config.json",
    "tokenizer.json",
    "1_Pooling/config.json",
    "model.safetensors",
  ]) {
    server.answers.set(FOLDER + file, gzips);
  }
  await assertLoads(browser.page, false);
  await assertLoads(browser.page, true);
});

test("no request goes to any other host", async () => {
  await assertLoads(browser.page, false);
  const origins = new Set(urls.map((url) => new URL(url).origin));
  // The workers' are among them: only they ask the model host.
  assert.deepEqual([...origins].sort(), [browser.origin, server.origin].sort());
});
