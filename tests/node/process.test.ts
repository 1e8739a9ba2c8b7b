// How a process ends that uses the package, and what becomes of its threads.

import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";

import { Embedder, EmbervecError } from "embervec";

import { run, start } from "../support/node.ts";
import { serveModels } from "../support/model-server.ts";
import { temporaryFolder } from "../support/temporary.ts";

const TINY = fileURLToPath(new URL("../fixtures/models/tiny-cls", import.meta.url));
const WORKER = new URL("../../pkg/dist/node/worker.js", import.meta.url).href;

const load = `import { Embedder } from "embervec";
  const embedder = await Embedder.load(${JSON.stringify(TINY)}, { workers: 2 });
  const print = (value) => console.log(JSON.stringify(value));`;

test("a script that encodes and disposes of nothing ends by itself, with its last call done", async () => {
  const [length] = await run(`${load}
    embedder.encode(Array.from({ length: 500 }, (_, i) => "text " + i)).then((vectors) => print(vectors.length));`);
  assert.equal(length, 500);
});

test("a script that has disposed of everything ends, also in the middle of a call", async () => {
  const [code] = await run(`${load}
    const encoding = embedder.encode(Array.from({ length: 5000 }, (_, i) => "text " + i));
    setTimeout(() => embedder.dispose(), 20);
    await encoding.catch(({ code }) => print(code));`);
  assert.equal(code, "disposed");
});

test("a cache of the caller's keeps no process alive", async () => {
  const host = await serveModels();
  const printed = await run(`import { Embedder } from "embervec";
    const map = new Map();
    const cache = {
      get: async (key) => map.get(key),
      put: async (key, bytes) => void map.set(key, bytes),
      delete: async (prefix) => { for (const key of map.keys()) if (key.startsWith(prefix)) map.delete(key); },
      keys: async (prefix) => [...map.keys()].filter((key) => key.startsWith(prefix)),
      room: async () => Infinity,
    };
    const embedder = await Embedder.load("owner/name", { hub: ${JSON.stringify(host.origin)}, cache });
    console.log(JSON.stringify([embedder.info.stored, (await embedder.encode("a")).length, map.size > 3]));`);
  await host.close();
  assert.deepEqual(printed, [[true, 32, true]]);
});

/** A worker's script that looks at each message before the package's own does. */
async function scriptOf(look: string): Promise<URL> {
  const path = join(await temporaryFolder(), "worker.mjs");
  await writeFile(
    path,
    `import { parentPort, threadId } from "node:worker_threads";
    const { on } = parentPort;
    parentPort.on = (type, handler) => on.call(parentPort, type, (message) => (look(message), handler(message)));
    const look = ({ type, request }) => {
      ${look}
    };
    await import(${JSON.stringify(WORKER)});`,
  );
  return pathToFileURL(path);
}

const isError = (code: string, pattern: RegExp) => (error: unknown) => {
  assert.ok(error instanceof EmbervecError, String(error));
  assert.equal(error.code, code);
  assert.match(error.message, pattern);
  return true;
};

test("bulk jobs go to several threads", async () => {
  const workerUrl = await scriptOf(`
    if (type !== "encode") return;
    const channel = new BroadcastChannel("embervec test");
    channel.postMessage(threadId);
    channel.close();`);
  const threads = new Set<unknown>();
  const channel = new BroadcastChannel("embervec test");
  channel.onmessage = (event) => void threads.add((event as MessageEvent).data);
  const embedder = await Embedder.load(TINY, { workers: 3, workerUrl });
  for (let i = 0; i < 100 && threads.size < 3; i++)
    await embedder.encode(Array.from({ length: 1000 }, (_, i) => `text ${i}`));
  await embedder.dispose();
  channel.close();
  assert.equal(threads.size, 3);
});

test("a text that ends its thread fails, and only its own call does", async () => {
  for (const end of ["process.exit(1)", 'throw new Error("it is over")']) {
    const workerUrl = await scriptOf(`if (request?.texts?.includes("deadly")) ${end};`);
    const embedder = await Embedder.load(TINY, { workerUrl });
    const calls = ["a", "deadly", "b"].map((text) => embedder.encode(text));
    await assert.rejects(calls[1]!, isError("internal", /"deadly" crashes the worker.*(it is over|exit code 1)/));
    assert.equal((await calls[0]!).length, 32);
    assert.equal((await calls[2]!).length, 32);
    assert.equal((await embedder.encode("c")).length, 32);
    await embedder.dispose();
  }
});

test("a thread without memory ends as a worker of a browser does", async () => {
  const workerUrl = await scriptOf(`
    // Grows until V8 ends the thread.
    if (type === "encode") for (const list = []; ; ) list.push(new Array(1e5).fill(0.5));`);
  // A process of its own, whose threads have a small heap: else it is as much as this machine has.
  const script = `import { Embedder } from "embervec";
    import { getHeapStatistics } from "node:v8";
    const embedder = await Embedder.load(${JSON.stringify(TINY)}, { workerUrl: ${JSON.stringify(workerUrl.href)} });
    const { code, message } = await embedder.encode("a").catch((error) => error);
    await embedder.dispose();
    console.log(JSON.stringify({ code, message, limit: getHeapStatistics().heap_size_limit }));`;
  const { printed, code, errors } = await start(script, { env: { NODE_OPTIONS: "--max-old-space-size=256" } }).ended;
  assert.equal(code, 0, errors);
  const [{ limit, ...error }] = printed as [{ code: string; message: string; limit: number }];
  assert.ok(limit < 2 ** 29, `a heap of ${limit} bytes`);
  assert.equal(error.code, "internal");
  assert.match(error.message, /memory/);
});

test("an error that has nothing to do with memory is not blamed on it", async () => {
  const workerUrl = await scriptOf(`
    if (type === "load") WebAssembly.validate = () => { throw new TypeError("odd"); };`);
  await assert.rejects(Embedder.load(TINY, { workerUrl }), isError("internal", /worker stopped: odd$/));
});

test("a script that is not there is an error that says where it must be", async () => {
  const workerUrl = new URL("file:///nowhere/worker.js");
  await assert.rejects(Embedder.load(TINY, { workerUrl }), isError("network", /worker\.js.*did not load.*`workerUrl`/));
  const wasmUrl = new URL("file:///nowhere/");
  await assert.rejects(Embedder.load(TINY, { wasmUrl }), isError("network", /nowhere\/embervec-.*ENOENT.*`wasmUrl`/));
});

test("an abort is answered within a second, whatever is being waited for", async () => {
  const host = await serveModels();
  host.answers.set("/owner/name/resolve/main/config.json", () => {});
  const cache = "memory";
  const started = performance.now();
  const signal = AbortSignal.timeout(300);
  await assert.rejects(Embedder.load("owner/name", { hub: host.origin, cache, signal }), { name: "TimeoutError" });
  assert.ok(performance.now() - started < 1300);
  await host.close();
  const embedder = await Embedder.load(TINY);
  const abort = new AbortController();
  const encoding = embedder.encode(
    Array.from({ length: 20_000 }, (_, i) => `text ${i}`),
    { signal: abort.signal },
  );
  setTimeout(() => abort.abort(new Error("enough")), 50);
  await assert.rejects(encoding, { message: "enough" });
  assert.equal((await embedder.encode("a")).length, 32);
  await embedder.dispose();
});

test("many calls at the same time are nothing to warn of", async () => {
  await run(`${load}
    const { signal } = new AbortController();
    await Promise.all(Array.from({ length: 50 }, (_, i) => embedder.encode("text " + i, { signal })));`);
});

test("importing the package reads nothing and starts nothing", async () => {
  const [seen] = await run(`
    const globals = () => Reflect.ownKeys(globalThis).map(String).join();
    const before = globals();
    const read = [];
    const env = process.env;
    process.env = new Proxy(env, { get: (env, name) => (read.push(String(name)), env[name]) });
    await import("embervec");
    process.env = env;
    console.log(JSON.stringify({ same: before === globals(), read, handles: process.getActiveResourcesInfo() }));`);
  const { same, read, handles } = seen as { same: boolean; read: string[]; handles: string[] };
  assert.ok(same, "globals");
  // Node itself looks for this one.
  assert.deepEqual(
    read.filter((name) => !name.startsWith("WATCH_")),
    [],
  );
  assert.ok(!handles.includes("Worker") && !handles.includes("MessagePort"), handles.join());
});

test("queries are answered while the tokens of a long text are counted, also behind empty texts", async () => {
  const embedder = await Embedder.load(TINY, { dtype: "fp32", workers: 1 });
  const line = "Größe 🙂🙂, 東京の天気 und погода.\n";
  const [once = 0] = await embedder.tokenCounts([line]);
  let isOver = false;
  const texts = [...Array.from({ length: 12 }, () => ""), line.repeat(40_000)];
  const counting = embedder.tokenCounts(texts).finally(() => (isOver = true));
  let queries = 0;
  for (; !isOver; queries++) await embedder.encode("fox");
  assert.deepEqual([...(await counting)], [...Array.from({ length: 12 }, () => 0), 40_000 * once]);
  // The text is counted in some 80 pieces.
  assert.ok(queries > 20, `${queries} queries`);
  await embedder.dispose();
});
