// What the page's half does with texts, with something in the workers' place.

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { Embedder } from "../../pkg/src/embedder.ts";
import { EmbervecError } from "../../pkg/src/errors.ts";
import type { EmbedderInfo, LoadOptions } from "../../pkg/src/types.ts";
import { type Behaviour, FakeWorker, LOADED, lengths, replaceWorker, started } from "../support/fake-worker.ts";

const { Worker } = globalThis;
after(() => void Object.assign(globalThis, { Worker }));

/** Texts of more than five characters are cut. */
const working: Behaviour = (message) => {
  if (message.type === "load") return { type: "result", result: { ...LOADED, prompts: { query: "" } } };
  if (message.type !== "encode") return "nothing";
  const { texts } = message.request;
  return {
    type: "result",
    result: { ...lengths(texts), truncated: Uint8Array.from(texts, ({ length }) => Number(length > 5)) },
  };
};

function load(behaviour = working, options: LoadOptions = {}): Promise<Embedder> {
  replaceWorker(behaviour);
  return Embedder.load("https://host.example/m/", options);
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

test("a live source: each result comes within 100 ms of its text, however slow or fast the texts come", async () => {
  const embedder = await load();
  /** The longest that a result lets wait for itself. */
  const worst = async (pause: number) => {
    const given: number[] = [];
    async function* source() {
      for (let i = 0; i < 30; i++) {
        if (pause > 0) await sleep(pause);
        given.push(performance.now());
        yield "x".repeat(1 + (i % 5));
      }
    }
    const delays: number[] = [];
    for await (const { index, embedding } of embedder.encodeStream(source())) {
      assert.deepEqual([...embedding], [1 + (index % 5)]);
      delays.push(performance.now() - given[index]!);
    }
    assert.equal(delays.length, 30);
    return Math.max(...delays);
  };
  for (const pause of [0, 1, 7, 30, 150]) {
    const seen: number[] = [];
    // On a busy machine a timer alone may take as long, but not each time.
    while (seen.length < 5 && !(seen.at(-1)! < 100)) seen.push(await worst(pause));
    assert.ok(seen.at(-1)! < 100, `${pause} ms: ${seen.map(Math.round)}`);
  }
  await embedder.dispose();
});

/** Gives one text, and then nothing more, ever. */
function idleSource() {
  let isClosed = false;
  const iterator: AsyncIterableIterator<string> = {
    [Symbol.asyncIterator]: () => iterator,
    next: (() => {
      let asked = 0;
      return () =>
        asked++ === 0 ? Promise.resolve({ value: "first", done: false as const }) : new Promise<never>(() => {});
    })(),
    return: async () => ((isClosed = true), { value: undefined, done: true }),
  };
  return { iterator, isClosed: () => isClosed };
}

const ENDS: [name: string, end: (embedder: Embedder, abort: AbortController) => void, error: unknown][] = [
  ["an abort", (_, abort) => abort.abort("enough"), "enough"],
  ["dispose", (embedder) => void embedder.dispose(), "disposed"],
];

for (const [name, end, expected] of ENDS) {
  test(`${name} while the source of a stream is idle ends the stream, and gives the source back`, async () => {
    const embedder = await load();
    const abort = new AbortController();
    const { iterator, isClosed } = idleSource();
    const seen: number[] = [];
    const begun = performance.now();
    const stream = (async () => {
      for await (const { index } of embedder.encodeStream(iterator, { signal: abort.signal })) {
        seen.push(index);
        setTimeout(() => end(embedder, abort), 50);
      }
    })();
    const error = await stream.then(
      () => "none",
      (error: unknown) => (error instanceof EmbervecError ? error.code : error),
    );
    assert.deepEqual([error, seen, isClosed()], [expected, [0], true]);
    assert.ok(performance.now() - begun < 1000);
    await embedder.dispose();
  });
}

test("a source that throws, a consumer that breaks off, and a text that is none: the source is given back", async () => {
  const embedder = await load();
  let closed = 0;
  async function* source(last: () => string) {
    try {
      yield "one";
      yield last();
    } finally {
      closed += 1;
    }
  }
  const all = async (texts: AsyncIterable<string>) => {
    const seen: number[] = [];
    for await (const { index } of embedder.encodeStream(texts)) seen.push(index);
    return seen;
  };
  const thrown = new Error("the file is gone");
  const throws = () => {
    throw thrown;
  };
  await assert.rejects(all(source(throws)), (error) => error === thrown);
  await assert.rejects(all(source(() => 7 as unknown as string)), /texts\[1\] must be a string, not 7/);
  for await (const _ of embedder.encodeStream(source(() => "two"))) break;
  assert.deepEqual(await all(source(() => "two")), [0, 1]);
  await sleep(0);
  assert.equal(closed, 4);
  await embedder.dispose();
});

test("what nobody waits for any more after an abort or dispose is no unhandled rejection, and a source's end hides no reason", async () => {
  const unhandled: unknown[] = [];
  const listen = (reason: unknown) => void unhandled.push(reason);
  process.on("unhandledRejection", listen);
  const texts = Array.from({ length: 300 }, () => "text");
  const first = await load();
  const disposed = async () => {
    for await (const _ of first.encodeStream(texts)) await first.dispose();
  };
  await assert.rejects(disposed(), (error) => error instanceof EmbervecError && error.code === "disposed");
  const second = await load();
  const abort = new AbortController();
  const progress = () => abort.abort("enough");
  await assert.rejects(second.encode(texts, { signal: abort.signal, progress }), (error) => error === "enough");
  await second.dispose();

  const third = await load((message, worker) => (message.type === "encode" ? "nothing" : working(message, worker)));
  const source: Iterable<string> = {
    [Symbol.iterator]: () => ({
      next: () => ({ value: "text", done: false }),
      return: () => {
        throw new Error("it does not end");
      },
    }),
  };
  const controller = new AbortController();
  const { signal } = controller;
  setTimeout(() => controller.abort("enough"), 50);
  const read = async () => {
    for await (const _ of third.encodeStream(source, { signal })) assert.fail();
  };
  await assert.rejects(read(), (error) => error === signal.reason);
  await third.dispose();
  await sleep(50);
  process.off("unhandledRejection", listen);
  assert.deepEqual(unhandled, []);
});

test("a consumer that is slow is waited for: the source is not read to its end meanwhile", async () => {
  const embedder = await load();
  let read = 0;
  function* source() {
    for (; read < 10_000; read++) yield "some text";
  }
  for await (const { index } of embedder.encodeStream(source())) {
    if (index === 0) await sleep(50);
    if (index === 10) break;
  }
  assert.ok(read < 1000, `${read} texts were read`);
  await embedder.dispose();
});

test("onTruncated gets the positions of what was cut; where nobody asks, the console says so once", async (t) => {
  const warnings: string[] = [];
  t.mock.method(console, "warn", (text: string) => warnings.push(text));
  const embedder = await load();
  const texts = Array.from({ length: 200 }, (_, i) => (i % 50 === 7 ? "far too long" : "short"));
  const calls: number[][] = [];
  const onTruncated = (indices: number[]) => void calls.push(indices);
  await embedder.encode(texts, { onTruncated });
  await embedder.encode("far too long", { onTruncated });
  await embedder.encodeQuery(["short"], { onTruncated });
  assert.deepEqual(calls, [[7, 57, 107, 157], [0]]);
  assert.deepEqual(warnings, []);
  await embedder.encode(["short"]);
  assert.deepEqual(warnings, []);
  await embedder.encode(texts);
  await embedder.encode("far too long");
  assert.equal(warnings.length, 1);
  assert.match(warnings[0]!, /4 texts, such as texts\[7\], have more than the 256 tokens that .*onTruncated/);
  await embedder.dispose();
});

test("info cannot be written to, and its changes come with an event", async () => {
  const embedder = await load();
  const before = embedder.info;
  for (const change of [
    () => ((before as { device: string }).device = "webgpu"),
    () => ((before.prompts as Record<string, string>)["query"] = "x"),
    () => ((embedder as { info: EmbedderInfo }).info = before),
  ])
    assert.throws(change, TypeError);
  const seen: EmbedderInfo[] = [];
  embedder.addEventListener("device", () => seen.push(embedder.info));
  const choice = { device: "webgpu" as const, deviceReason: "it is faster" };
  started[0]!.say({ type: "device", ...choice });
  assert.deepEqual(seen, [{ ...before, ...choice }]);
  assert.equal(before.device, "cpu");
  assert.ok(Object.isFrozen(embedder.info));
  await embedder.dispose();
});

test("embeddingSpace is a plain object of what the vectors depend on, and cannot be written to", async () => {
  const embedder = await load();
  const { embeddingSpace } = embedder.info;
  const { weights, version } = LOADED;
  const space = { model: "https://host.example/m/", revision: undefined, dtype: "q8", weights, dimension: 1, version };
  assert.deepEqual(embeddingSpace, { ...space, pooling: [], prompts: { query: "" }, normalize: false });
  assert.deepEqual(JSON.parse(JSON.stringify(embeddingSpace)).weights, weights);
  for (const part of [embeddingSpace, embeddingSpace.pooling, embeddingSpace.prompts]) assert.ok(Object.isFrozen(part));
  await embedder.dispose();
});

test("tokenCounts: in slices that are not large, in order, and nothing is asked for no texts", async () => {
  const sizes: number[] = [];
  const embedder = await load((message, worker) => {
    if (message.type !== "tokenCounts") return working(message, worker);
    const { texts } = message.request;
    sizes.push(texts.reduce((sum, { length }) => sum + length, 0));
    return { type: "result", result: Uint32Array.from(texts, ({ length }) => length) };
  });
  const texts = Array.from({ length: 3000 }, (_, i) => "x".repeat(i % 600));
  const counts = await embedder.tokenCounts(texts);
  assert.ok(counts instanceof Uint32Array);
  assert.deepEqual(
    [...counts],
    texts.map(({ length }) => length),
  );
  assert.ok(sizes.length > 3 && sizes.every((size) => size < (1 << 18) + 600), sizes.join(" "));
  sizes.length = 0;
  assert.deepEqual([...(await embedder.tokenCounts([]))], []);
  assert.deepEqual(sizes, []);
  const wrong = ["a", 1] as unknown as string[];
  await assert.rejects(embedder.tokenCounts(wrong), (error) => /texts\[1\]/.test(String(error)));
  await assert.rejects(embedder.tokenCounts("a" as unknown as string[]), (error) =>
    /tokenCounts takes an array/.test(String(error)),
  );
  const counting = embedder.tokenCounts(texts);
  await embedder.dispose();
  await assert.rejects(counting, (error) => error instanceof EmbervecError && error.code === "disposed");
});

test("more vectors than one buffer takes: the error says what to do", async () => {
  const embedder = await load((message, worker) => {
    if (message.type !== "encode") return working(message, worker);
    return { type: "result", result: { ...lengths(message.request.texts), dimension: 2 ** 50 } };
  });
  await assert.rejects(
    embedder.encode(["a"]),
    (error) => error instanceof EmbervecError && error.code === "invalid_input" && /encodeStream/.test(error.message),
  );
  await embedder.dispose();
});

test("a demanded GPU whose worker ends is demanded of the next one, and lost where it cannot be had", async () => {
  let gpus = 0;
  let hasGpu = true;
  const behaviour: Behaviour = (message, worker: FakeWorker) => {
    if (message.type === "useGpu") {
      gpus += 1;
      if (!hasGpu) return { type: "error", code: "unsupported_device", message: "there is no GPU", fatal: false };
      return { type: "result", result: { device: "webgpu", deviceReason: "as demanded" } };
    }
    if (message.type === "encode" && message.request.texts.includes("dies")) return "dies";
    return working(message, worker);
  };
  const embedder = await load(behaviour, { device: "webgpu" });
  assert.equal(embedder.info.device, "webgpu");
  await assert.rejects(embedder.encode("dies"));
  assert.deepEqual([...(await embedder.encode("three"))], [5]);
  assert.equal(gpus, 2);
  hasGpu = false;
  await assert.rejects(embedder.encode("dies"));
  await assert.rejects(
    embedder.encode("three"),
    (error) => error instanceof EmbervecError && error.code === "device_lost",
  );
  await embedder.dispose();
});
