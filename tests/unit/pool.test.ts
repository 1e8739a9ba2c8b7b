// The life of workers: from their start to their end they belong to the pool, and what ends one of them ends nothing else.

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { EmbervecError } from "../../pkg/src/errors.ts";
import type { LoadOptions } from "../../pkg/src/types.ts";
import { WorkerPool } from "../../pkg/src/worker/pool.ts";
import { type Behaviour, LOADED, lengths, replaceWorker, started } from "../support/fake-worker.ts";

const { Worker } = globalThis;
after(() => void Object.assign(globalThis, { Worker }));

const PAGE = "https://page.example/";

const request = {
  name: "m",
  revision: undefined,
  base: "https://host.example/m/",
  pointers: undefined,
  headers: {},
  credentials: undefined,
  integrity: new Map<string, string>(),
  dtype: "q8" as const,
  localFilesOnly: false,
  wasmUrl: undefined,
  persist: true,
};

type PoolOptions = Parameters<typeof WorkerPool.start>[0];

const poolOptions = (options: Pick<PoolOptions, "workers"> & Partial<PoolOptions>): PoolOptions => ({
  request,
  cache: "indexeddb",
  workerUrl: undefined,
  createWorker: undefined,
  page: PAGE,
  fetch: undefined,
  onDevice: () => {},
  onWorkers: () => {},
  ...options,
});

/** A pool whose workers die of some texts; the others' vectors are their lengths. */
async function open(
  behaviour: Behaviour = working,
  { workers = 1, ...load }: Pick<LoadOptions, "workers" | "signal"> = {},
) {
  replaceWorker(behaviour);
  const limits: number[] = [];
  const { pool } = await WorkerPool.start(
    poolOptions({ workers, onWorkers: (limit) => void limits.push(limit) }),
    load,
  );
  return { pool, limits };
}

const working: Behaviour = (message) => {
  if (message.type === "load") return { type: "result", result: LOADED };
  if (message.type === "encode") return { type: "result", result: lengths(message.request.texts) };
  return "nothing";
};

/** How a worker ends over a text: it says so, or it does not. */
const ENDS: [name: string, end: (id: number) => ReturnType<Behaviour>][] = [
  ["a trap", (id) => ({ type: "error", id, code: "internal", message: "unreachable", fatal: true })],
  ["an error event", () => "dies"],
];

const encode = async (pool: WorkerPool, texts: string[]) => [...(await pool.encode({ texts, options: {} })).vectors];
const isInternal = (pattern: RegExp) => (error: unknown) =>
  error instanceof EmbervecError && error.code === "internal" && pattern.test(error.message);

for (const [name, end] of ENDS) {
  const deadly: Behaviour = (message, worker) =>
    message.type === "encode" && message.request.texts.some((text) => text.startsWith("deadly"))
      ? end(message.id)
      : working(message, worker);

  test(`${name}: only the call with the text fails, and its message shows the text`, async () => {
    for (const workers of [1, 3]) {
      const { pool } = await open(deadly, { workers });
      pool.grow();
      const calls = ["a", "bc", "deadly potion", "def", "ghij"].map((text) => encode(pool, [text]));
      const outcomes = await Promise.allSettled(calls);
      const values = outcomes.map((outcome) => (outcome.status === "fulfilled" ? outcome.value[0] : "failed"));
      assert.deepEqual(values, [1, 2, "failed", 3, 4]);
      await assert.rejects(calls[2]!, isInternal(/"deadly potion"/));
      pool.terminate(new EmbervecError("disposed", ""));
    }
  });

  test(`${name}: the text is found among others, wherever it is, while another job goes on`, async () => {
    for (const count of [1, 2, 3, 63, 64]) {
      for (const at of new Set([0, count >> 1, count - 1])) {
        const { pool } = await open(deadly);
        const texts = Array.from({ length: count }, (_, i) => (i === at ? "deadly" : "x".repeat(i)));
        const others = [1, 2, 3].map((n) =>
          encode(
            pool,
            Array.from({ length: n }, () => "four"),
          ),
        );
        await assert.rejects(encode(pool, texts), isInternal(/"deadly"/));
        assert.deepEqual(await Promise.all(others), [[4], [4, 4], [4, 4, 4]]);
        // One for each half, and the first.
        assert.ok(started.length <= 2 + Math.ceil(Math.log2(count)), `${started.length} workers for ${count}`);
        // The embedder lives.
        assert.deepEqual(await encode(pool, ["alive"]), [5]);
        pool.terminate(new EmbervecError("disposed", ""));
      }
    }
  });

  test(`${name} that comes once is nobody's fault: halves that are encoded are put together again`, async () => {
    let times = 0;
    const { pool } = await open((message, worker) =>
      message.type === "encode" && times++ === 0 ? end(message.id) : working(message, worker),
    );
    assert.deepEqual(await encode(pool, ["a", "bb", "ccc", "dddd", "eeeee"]), [1, 2, 3, 4, 5]);
    assert.equal(started.length, 2);
  });

  test(`${name} of every worker: each call settles`, async () => {
    const { pool } = await open((message, worker) =>
      message.type === "encode" ? end(message.id) : working(message, worker),
    );
    const outcomes = await Promise.allSettled([1, 2, 3].map(() => encode(pool, Array(8).fill("text"))));
    assert.deepEqual(
      outcomes.map(({ status }) => status),
      ["rejected", "rejected", "rejected"],
    );
  });
}

test("a replacement that does not load fails all calls that wait for it, and no text is blamed; the next call has another one started", async () => {
  for (const fatal of [false, true]) {
    let loads = 0;
    const { pool } = await open((message, worker) => {
      if (message.type === "load" && ++loads === 2) return { type: "error", code: "integrity", message: "gone", fatal };
      if (message.type === "encode" && loads === 1) return "dies";
      return working(message, worker);
    });
    const calls = [encode(pool, ["a", "b"]), encode(pool, ["c"]), encode(pool, ["d"]), pool.tokenize("e")];
    const outcomes = await Promise.allSettled(calls);
    for (const outcome of outcomes) {
      assert.ok(outcome.status === "rejected" && outcome.reason instanceof EmbervecError);
      assert.deepEqual([outcome.reason.code, outcome.reason.message], ["integrity", "gone"]);
    }
    assert.deepEqual(await encode(pool, ["abc"]), [3]);
    assert.equal(loads, 3);
  }
});

test("a listener that disposes of the embedder when its GPU's worker ends: no worker is started any more", async () => {
  replaceWorker((message, worker) => {
    if (message.type === "useGpu") return { type: "result", result: { device: "webgpu", deviceReason: "" } };
    return message.type === "encode" ? "dies" : working(message, worker);
  });
  const reason = new EmbervecError("disposed", "over");
  let pool: WorkerPool | undefined;
  const onDevice = () => pool?.terminate(reason);
  ({ pool } = await WorkerPool.start(poolOptions({ workers: 4, onDevice }), {}));
  await pool.useGpu(false);
  await assert.rejects(encode(pool, ["a"]));
  pool.grow();
  await assert.rejects(encode(pool, ["a"]), (error) => error === reason);
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.ok(started.every(({ isTerminated }) => isTerminated));
});

test("a GPU that was not taken is not said to have failed with its worker", async () => {
  replaceWorker((message, worker) => {
    if (message.type === "useGpu") return { type: "result", result: { device: "cpu", deviceReason: "it is slower" } };
    return message.type === "encode" && message.request.texts.includes("dies") ? "dies" : working(message, worker);
  });
  const told: string[] = [];
  const onDevice = ({ deviceReason }: { deviceReason: string }) => void told.push(deviceReason);
  const { pool } = await WorkerPool.start(poolOptions({ workers: 1, onDevice }), {});
  await pool.useGpu(false);
  await assert.rejects(encode(pool, ["dies"]));
  assert.deepEqual(await encode(pool, ["abc"]), [3]);
  assert.deepEqual(told, []);
});

test("a worker that ends without a word during a GPU's trial: the text is found, not the trial", async () => {
  const { pool } = await open((message, worker) => {
    if (message.type === "useGpu") return "nothing";
    return message.type === "encode" && message.request.texts.includes("deadly") ? "dies" : working(message, worker);
  });
  const trial = pool.useGpu(false).catch(() => {});
  await assert.rejects(encode(pool, ["deadly"]), isInternal(/"deadly"/));
  await trial;
  assert.equal(started.length, 1);
});

test("a text that ends its worker while it is tokenized is named, and another one's tokens come", async () => {
  const { pool } = await open((message, worker) => {
    if (message.type !== "tokenize") return working(message, worker);
    return message.request.text === "deadly"
      ? "dies"
      : {
          type: "result",
          result: { inputIds: [1], tokenTypeIds: [0], tokens: ["a"], offsets: [[0, 1]], truncated: false },
        };
  });
  const [deadly, fine] = await Promise.allSettled([pool.tokenize("deadly"), pool.tokenize("fine")]);
  assert.ok(deadly.status === "rejected" && isInternal(/"deadly"/)(deadly.reason));
  assert.equal(fine.status, "fulfilled");
});

test("a text that ends its worker while its tokens are counted is found among others", async () => {
  const { pool } = await open((message, worker) => {
    if (message.type !== "tokenCounts") return working(message, worker);
    const { texts } = message.request;
    if (texts.includes("deadly")) return "dies";
    return { type: "result", result: Uint32Array.from(texts, ({ length }) => length) };
  });
  assert.deepEqual([...(await pool.tokenCounts(["a", "bb", "ccc"]))], [1, 2, 3]);
  await assert.rejects(pool.tokenCounts(["a", "bb", "deadly", "ccc"]), isInternal(/"deadly"/));
});

test("a worker that ends without a word: the request whose turn it was is at fault, though another one is older", async () => {
  let bulk: number | undefined;
  const { pool } = await open((message, worker) => {
    if (message.type !== "encode") return working(message, worker);
    const { texts } = message.request;
    if (texts.includes("deadly")) {
      worker.say({ type: "turn", id: message.id });
      return "dies";
    }
    // The first time it is still under way when the other one comes.
    if (bulk !== undefined) return working(message, worker);
    bulk = message.id;
    worker.say({ type: "turn", id: bulk });
    return "nothing";
  });
  const [older, deadly] = await Promise.allSettled([encode(pool, ["older"]), encode(pool, ["deadly"])]);
  assert.deepEqual(older, { status: "fulfilled", value: [5] });
  assert.ok(deadly.status === "rejected" && isInternal(/"deadly"/)(deadly.reason));
});

test("an abort ends a request with the signal's reason, and what comes then is answered", async () => {
  const { pool } = await open((message, worker) =>
    message.type === "encode" && message.request.texts[0] === "slow" ? "nothing" : working(message, worker),
  );
  const abort = new AbortController();
  const slow = pool.encode({ texts: ["slow"], options: {} }, abort.signal);
  setTimeout(() => abort.abort("enough"), 20);
  const begun = performance.now();
  await assert.rejects(slow, (error) => error === "enough");
  assert.ok(performance.now() - begun < 1000);
  assert.deepEqual(await encode(pool, ["fast"]), [4]);
});

test("calls that are made at once are spread over the workers", async () => {
  const asked = new Map<unknown, number>();
  const { pool } = await open(
    (message, worker) => {
      if (message.type === "encode") asked.set(worker, 1 + (asked.get(worker) ?? 0));
      return working(message, worker);
    },
    { workers: 4 },
  );
  pool.grow();
  while (pool.capacity < 8) await new Promise((resolve) => setTimeout(resolve, 5));
  await Promise.all(Array.from({ length: 40 }, () => encode(pool, ["a"])));
  assert.deepEqual([...asked.values()], [10, 10, 10, 10]);
});

test("one of several workers that cannot start: the limit is what is left", async () => {
  let loads = 0;
  const { pool, limits } = await open(
    (message, worker) =>
      message.type === "load" && ++loads === 2
        ? { type: "error", code: "internal", message: "no memory", fatal: true }
        : working(message, worker),
    { workers: 4 },
  );
  pool.grow();
  while (pool.capacity < 6) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.deepEqual([pool.limit, limits], [3, [3]]);
});

test("workers that are still starting end with the pool", async () => {
  let loads = 0;
  const { pool } = await open(
    (message, worker) => (message.type === "load" && ++loads > 1 ? "nothing" : working(message, worker)),
    { workers: 4 },
  );
  pool.grow();
  assert.equal(started.length, 4);
  const reason = new EmbervecError("disposed", "over");
  pool.terminate(reason);
  assert.deepEqual(
    started.map(({ isTerminated }) => isTerminated),
    [true, true, true, true],
  );
  await assert.rejects(encode(pool, ["a"]), (error) => error === reason);
  pool.grow();
  assert.equal(started.length, 4);
});

test("a call that waits for a replacement ends with the pool", async () => {
  let loads = 0;
  const { pool } = await open((message, worker) => {
    if (message.type === "load" && ++loads > 1) return "nothing";
    return message.type === "encode" ? "dies" : working(message, worker);
  });
  const call = encode(pool, ["a", "b"]);
  while (loads < 2) await new Promise((resolve) => setTimeout(resolve, 5));
  const reason = new EmbervecError("disposed", "over");
  pool.terminate(reason);
  await assert.rejects(call, (error) => error === reason);
  assert.ok(started.every(({ isTerminated }) => isTerminated));
});

test("an abort of a load that nobody answers: its reason within a second, and the worker is ended", async () => {
  const abort = new AbortController();
  setTimeout(() => abort.abort("enough"), 20);
  const begun = performance.now();
  await assert.rejects(
    open(() => "nothing", { signal: abort.signal }),
    (error) => error === "enough",
  );
  assert.ok(performance.now() - begun < 1000);
  assert.equal(started[0]?.isTerminated, true);
});

test("a browser that refuses to start another worker: the job goes on with those that are there", async () => {
  const { pool, limits } = await open(working, { workers: 4 });
  const { Worker } = globalThis;
  let asked = 0;
  const refuse = function () {
    asked += 1;
    throw new DOMException("no more", "SecurityError");
  };
  Object.assign(globalThis, { Worker: refuse });
  pool.grow();
  await new Promise((resolve) => setTimeout(resolve));
  pool.grow();
  Object.assign(globalThis, { Worker });
  assert.deepEqual([asked, pool.limit, limits.at(-1)], [3, 1, 1]);
  assert.deepEqual(await encode(pool, ["abc"]), [3]);
});

test("the number of workers follows the model's size, and what cannot start is told", async () => {
  const withMemory =
    (memoryBytes: number): Behaviour =>
    (message, worker) =>
      message.type === "load" ? { type: "result", result: { ...LOADED, memoryBytes } } : working(message, worker);
  Object.defineProperty(globalThis, "navigator", {
    value: { hardwareConcurrency: 8, deviceMemory: 8 },
    configurable: true,
  });
  for (const [bytes, workers] of [
    [30e6, 4],
    [600e6, 3],
    [1.4e9, 1],
    [4e9, 1],
  ] as const) {
    const { pool } = await open(withMemory(bytes), { workers: "auto" });
    assert.equal(pool.limit, workers, `${bytes}`);
  }
  assert.equal((await open(withMemory(4e9), { workers: 2 })).pool.limit, 2);

  let loads = 0;
  const { pool, limits } = await open(
    (message, worker) =>
      message.type === "load" && ++loads > 2
        ? { type: "error", code: "internal", message: "no memory", fatal: true }
        : working(message, worker),
    { workers: 4 },
  );
  pool.grow();
  while (limits.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(pool.limit, limits.at(-1));
  assert.ok(pool.limit <= 2);
});
