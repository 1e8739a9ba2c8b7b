// What a cache holds may have been damaged, or written by anybody.

import assert from "node:assert/strict";
import { test } from "node:test";

import { MemoryCache } from "../../pkg/src/cache/cache.ts";
import { ModelStore } from "../../pkg/src/cache/store.ts";

const encode = (text: string) => new TextEncoder().encode(text);
const DIGEST = "0".repeat(64);
const FILE = { size: 1, version: "-", chunks: [DIGEST] };

test("timings that are damaged are none", async () => {
  const cache = new MemoryCache();
  const store = ModelStore.over(cache);
  const timings = [{ tokens: 8, cpu: 2, gpu: 1 }];
  await store.keepTimings("key", timings);
  assert.deepEqual(await store.timings("key"), timings);
  // A tiny model on a fast machine with a coarse clock.
  const unseen = [{ tokens: 8, cpu: 0, gpu: 168 }];
  await store.keepTimings("key", unseen);
  assert.deepEqual(await store.timings("key"), unseen);
  for (const damaged of ["", "{", "null", "{}", "[]", "[null]", '[{"tokens":8,"cpu":2}]', '[{"tokens":8,"cpu":"2","gpu":1}]', '[{"tokens":8,"cpu":2,"gpu":-1}]', '[{"tokens":0,"cpu":2,"gpu":1}]']) {
    await cache.put("timings key", encode(damaged));
    assert.equal(await store.timings("key"), undefined, damaged);
  }
});

test("a record that is damaged is none", async () => {
  const cache = new MemoryCache();
  const store = ModelStore.over(cache);
  const record = (files: unknown) => JSON.stringify({ name: "m", files, storedAt: 1, usedAt: 1 });
  await cache.put("model m ", encode(record({ "config.json": FILE })));
  assert.deepEqual((await store.find("m"))?.files, { "config.json": FILE });
  const damaged = [
    "",
    "{",
    "null",
    "[]",
    record(null),
    record({}),
    record({ "config.json": { ...FILE, size: 2 ** 30 } }),
    record({ "config.json": { ...FILE, chunks: [DIGEST.slice(1)] } }),
    record({ "config.json": { ...FILE, version: 1 } }),
  ];
  for (const text of damaged) {
    await cache.put("model m ", encode(text));
    assert.equal(await store.find("m"), undefined, text);
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
