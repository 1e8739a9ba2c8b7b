// What a cache holds may have been damaged, or written by anybody.

import assert from "node:assert/strict";
import { test } from "node:test";

import { MemoryCache } from "../support/memory-cache.ts";
import { chunkKey, encodeRecord, parseChunkKey, parseRecord } from "../../pkg/src/cache/entries.ts";
import { sha256Of } from "../../pkg/src/cache/sha256.ts";
import { ModelStore } from "../../pkg/src/cache/store.ts";
import { EmbervecError } from "../../pkg/src/errors.ts";
import { CHUNK_BYTES, MAX_FILE_BYTES } from "../../pkg/src/limits.ts";
import { cacheSize, listModels } from "../../pkg/src/manage.ts";

const encode = (text: string) => new TextEncoder().encode(text);
const DIGEST = "0".repeat(64);
const FILE = { size: 1, version: "-", chunks: [DIGEST] };

test("timings that are damaged are none", async () => {
  const cache = new MemoryCache();
  const store = ModelStore.over(cache);
  const timings = [{ tokens: 8, cpu: 2, gpu: 1 }];
  await store.keepTimings("key", timings);
  assert.deepEqual(await store.timings("key", 0), timings);
  // A tiny model on a fast machine with a coarse clock.
  const unseen = [{ tokens: 8, cpu: 0, gpu: 168 }];
  await store.keepTimings("key", unseen);
  assert.deepEqual(await store.timings("key", 0), unseen);
  for (const damaged of [
    "",
    "{",
    "null",
    "{}",
    "[]",
    '[{"tokens":8,"cpu":2,"gpu":1}]',
    '{"measuredAt":1,"timings":[]}',
    '{"measuredAt":1,"timings":[null]}',
    '{"measuredAt":1,"timings":[{"tokens":8,"cpu":2}]}',
    '{"measuredAt":1,"timings":[{"tokens":8,"cpu":"2","gpu":1}]}',
    '{"measuredAt":1,"timings":[{"tokens":8,"cpu":2,"gpu":-1}]}',
    '{"measuredAt":1,"timings":[{"tokens":0,"cpu":2,"gpu":1}]}',
    '{"timings":[{"tokens":8,"cpu":2,"gpu":1}]}',
    '{"measuredAt":"1","timings":[{"tokens":8,"cpu":2,"gpu":1}]}',
    // In the future.
    '{"measuredAt":8e15,"timings":[{"tokens":8,"cpu":2,"gpu":1}]}',
  ]) {
    await cache.put("timings key", encode(damaged));
    assert.equal(await store.timings("key", 0), undefined, damaged);
  }
});

test("timings have an age", async () => {
  const store = ModelStore.over(new MemoryCache());
  const timings = [{ tokens: 8, cpu: 2, gpu: 1 }];
  await store.keepTimings("key", timings);
  assert.deepEqual(await store.timings("key", Date.now() - 60_000), timings);
  assert.equal(await store.timings("key", Date.now() + 1), undefined);
});

test("kernels are known by the key under which they were measured, and those of other keys are forgotten", async () => {
  const cache = new MemoryCache();
  const store = ModelStore.over(cache);
  await store.keepKernels("browser 1", "f32 5x8");
  assert.equal(await store.kernels("browser 1"), "f32 5x8");
  assert.equal(await store.kernels("browser 2"), undefined);
  await store.keepKernels("browser 2", "f32 5x16");
  assert.deepEqual(await cache.keys(""), ["kernels browser 2"]);
  for (const damaged of ["", "{", "null", "{}", '{"names":1}', '"f32 5x8"']) {
    await cache.put("kernels browser 2", encode(damaged));
    assert.equal(await store.kernels("browser 2"), undefined, damaged);
  }
});

const RECORD = { name: "m", files: { "config.json": FILE }, absent: ["modules.json"], storedAt: 1, usedAt: 1 };

test("a record is read as it was written", async () => {
  const cache = new MemoryCache();
  const store = ModelStore.over(cache);
  for (const absent of [new Set(["modules.json"]), "others"] as const) {
    const record = {
      name: "m",
      revision: "main",
      files: new Map([["config.json", FILE]]),
      absent,
      storedAt: 1,
      usedAt: 2,
    };
    await cache.put("model m ", encodeRecord(record));
    assert.deepEqual(await store.find("m"), record);
  }
  // A name that is special in JavaScript is a file like others.
  const files = new Map([
    ["__proto__", FILE],
    ["constructor", FILE],
  ]);
  const record = { name: "m", revision: undefined, files, absent: "others", storedAt: 0, usedAt: 0 } as const;
  assert.deepEqual(parseRecord(encodeRecord(record)), record);
});

test("a record that is damaged is none", async () => {
  const cache = new MemoryCache();
  const store = ModelStore.over(cache);
  const record = (change: object) => JSON.stringify({ ...RECORD, ...change });
  const file = (change: object) => record({ files: { "config.json": { ...FILE, ...change } } });
  await cache.put("model m ", encode(record({})));
  assert.deepEqual([...(await store.find("m"))!.files], [["config.json", FILE]]);
  const damaged = [
    "",
    "{",
    "null",
    "[]",
    "[".repeat(100_000),
    record({ files: null }),
    record({ files: {} }),
    record({ files: "text" }),
    file({ size: 2 ** 30 }),
    file({ size: MAX_FILE_BYTES + 1, chunks: Array(MAX_FILE_BYTES / CHUNK_BYTES + 1).fill(DIGEST) }),
    file({ size: -1, chunks: [] }),
    file({ size: 0.5 }),
    file({ size: "1" }),
    file({ chunks: [DIGEST.slice(1)] }),
    file({ chunks: [{ toString: null }] }),
    file({ chunks: { length: 1, 0: DIGEST } }),
    file({ version: 1 }),
    file({ version: "" }),
    file({ version: "\ud800" }),
    record({ files: { "../config.json": FILE } }),
    record({ files: { "": FILE } }),
    record({ files: { "a/\ud800": FILE } }),
    record({ name: undefined }),
    record({ name: { toString: null } }),
    record({ revision: 7 }),
    // Of an earlier version of the package, which has not looked for all that this one does.
    record({ absent: undefined }),
    record({ absent: "none" }),
    record({ absent: [1] }),
    record({ storedAt: "yesterday" }),
    record({ storedAt: 9e15 }),
    record({ usedAt: -1 }),
    record({ usedAt: null }),
  ];
  for (const text of damaged) {
    await cache.put("model m ", encode(text));
    assert.equal(await store.find("m"), undefined, text.slice(0, 200));
    assert.deepEqual(await listModels({ cache }), [], text.slice(0, 200));
  }
});

/** What is no bytes, and what is too many. */
const NO_BYTES: unknown[] = [
  null,
  true,
  7,
  "text",
  [1],
  {},
  { byteLength: 1 },
  new Uint16Array(1),
  new DataView(new ArrayBuffer(1)),
  new ArrayBuffer(1),
  new Uint8Array(CHUNK_BYTES + 1),
  new Blob(["a"]),
  () => {},
];

test("a record, timings or a chunk that are no bytes are none", async () => {
  const cache = new MemoryCache();
  const store = ModelStore.over(cache);
  const file = { size: 1, version: "-", chunks: [DIGEST] };
  for (const value of NO_BYTES) {
    await cache.put("model m ", value as never);
    await cache.put("timings key", value as never);
    const key = chunkKey("m", "config.json", "-", 0, DIGEST);
    await cache.put(key, value as never);
    assert.equal(await store.find("m"), undefined);
    assert.equal(await store.timings("key", 0), undefined);
    const stored = (await store.versions("m", "config.json")).get("-");
    assert.equal(await stored?.read(0, undefined, undefined), undefined);
    await cache.put(key, value as never);
    const read = async () => {
      for await (const chunk of store.chunks("m", "config.json", file)) assert.fail(String(chunk));
    };
    await assert.rejects(read, (error) => error instanceof EmbervecError && error.code === "integrity");
  }
  assert.equal(store.unusable, undefined);
});

test("bytes in memory that is shared or changes its size are taken over", async () => {
  const cache = new MemoryCache();
  const store = ModelStore.over(cache);
  const plain = encode("a chunk");
  const digest = await sha256Of(plain);
  const file = { size: plain.length, version: "-", chunks: [digest] };
  // Newer than this project's types.
  const Resizable = ArrayBuffer as unknown as new (length: number, options: { maxByteLength: number }) => ArrayBuffer;
  for (const buffer of [new SharedArrayBuffer(plain.length), new Resizable(plain.length, { maxByteLength: 100 })]) {
    const bytes = new Uint8Array(buffer);
    bytes.set(plain);
    await cache.put(chunkKey("m", "config.json", "-", 0, digest), bytes as never);
    for await (const chunk of store.chunks("m", "config.json", file)) {
      assert.deepEqual(chunk, plain);
      assert.ok(chunk.buffer instanceof ArrayBuffer);
    }
  }
});

test("a chunk of another length than the record's is damaged", async () => {
  const cache = new MemoryCache();
  const store = ModelStore.over(cache);
  const bytes = encode("a chunk");
  const digest = await sha256Of(bytes);
  for (const [size, chunks] of [
    [1, [digest]],
    [8, [digest]],
    [CHUNK_BYTES + 7, [digest, digest]],
  ] as const) {
    for (let index = 0; index < chunks.length; index++)
      await cache.put(chunkKey("m", "file", "-", index, digest), bytes);
    const read = async () => {
      let got = 0;
      for await (const chunk of store.chunks("m", "file", { size, version: "-", chunks })) got += chunk.length;
      return got;
    };
    await assert.rejects(read, (error) => error instanceof EmbervecError && error.code === "integrity", String(size));
  }
});

test("a key that nobody of embervec has written spoils nothing", async () => {
  const cache = new MemoryCache();
  const store = ModelStore.over(cache);
  await cache.put("model m ", encode(JSON.stringify(RECORD)));
  await cache.put(chunkKey("m", "config.json", "-", 0, DIGEST), encode("a"));
  const foreign = [
    "model ",
    "model  ",
    "model m",
    "model m x ",
    "chunk ",
    "chunk m",
    `chunk m %zz - 0 ${DIGEST}`,
    `chunk m config.json % 0 ${DIGEST}`,
    `chunk m config.json - 0x1 ${DIGEST}`,
    `chunk m config.json - -1 ${DIGEST}`,
    `chunk m config.json - 1e3 ${DIGEST}`,
    `chunk m config.json - 01 ${DIGEST}`,
    `chunk m config.json - 99999999999999999999 ${DIGEST}`,
    `chunk m config.json - 32768 ${DIGEST}`,
    `chunk m config.json - 0 ${DIGEST.slice(1)}`,
    `chunk m config.json - 0 ${DIGEST} more`,
    `chunk  config.json - 0 ${DIGEST}`,
  ];
  for (const key of foreign) {
    assert.equal(parseChunkKey(key), undefined, key);
    await cache.put(key, encode("x"));
  }
  assert.equal(await cacheSize({ cache }), 1);
  assert.deepEqual(
    (await listModels({ cache })).map(({ model, size, complete }) => [model, size, complete]),
    [["m", 1, true]],
  );
  assert.deepEqual([...(await store.versions("m", "config.json")).keys()], ["-"]);
  // And goes with the model.
  await store.delete("m");
  assert.equal(await cacheSize({ cache }), 0);
});

test("a chunk behind its file's end is counted as one, not as less than nothing", async () => {
  const cache = new MemoryCache();
  await cache.put("model m ", encode(JSON.stringify(RECORD)));
  for (const index of [0, 1, 32_767]) await cache.put(chunkKey("m", "config.json", "-", index, DIGEST), encode("a"));
  assert.equal(await cacheSize({ cache }), 1 + 2 * CHUNK_BYTES);
});

test("keys that are no list of texts are none", async () => {
  const cache = new MemoryCache();
  for (const keys of [undefined, null, 7, "model m ", {}, [7, null, { toString: null }, "other "]]) {
    cache.keys = async () => keys as never;
    assert.deepEqual(await listModels({ cache }), []);
    assert.equal(await cacheSize({ cache }), 0);
  }
});

test("a cache that fails is done without", async () => {
  const cache = new MemoryCache();
  cache.get = () => Promise.reject(new Error("it is gone"));
  const store = ModelStore.over(cache);
  assert.equal(await store.find("m"), undefined);
  assert.equal(store.unusable, "because it is gone");
  assert.equal(await store.keep("m", "key", encode("bytes")), false);
});

test("whatever a cache throws, there is a message", async () => {
  for (const thrown of [
    undefined,
    null,
    7,
    "text",
    Symbol("s"),
    Object.create(null),
    { message: {} },
    new Error("gone"),
  ]) {
    const cache = new MemoryCache();
    // Some throw at once.
    cache.keys = () => {
      throw thrown;
    };
    await assert.rejects(listModels({ cache }), (error) => error instanceof EmbervecError && error.code === "storage");
  }
});
