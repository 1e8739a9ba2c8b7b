// An index that several tabs have open: what one has stored the others take up, and they read nothing else for it.

import assert from "node:assert/strict";
import { test } from "node:test";

import { type SearchDocument, SearchIndex } from "embervec/search";

import { MemoryCache } from "../support/memory-cache.ts";
import { random } from "../support/random.ts";

const DIMENSION = 24;
const WORDS = ["bread", "train", "kitten", "market", "dough", "window", "sun", "berlin"];

const vectorOf = (next: () => number) => Float32Array.from({ length: DIMENSION }, () => next() - 0.5);

const documents = (prefix: string, count: number, seed = 1): SearchDocument[] => {
  const next = random(seed);
  return Array.from({ length: count }, (_, i) => ({
    id: `${prefix}${i}`,
    text: `${WORDS[i % WORDS.length]} number ${i} of ${prefix}`,
    metadata: { prefix, i },
    vector: vectorOf(next),
  }));
};

/** A tab's view of a cache that all share; notes what is read through it. */
function view(shared: MemoryCache) {
  const read: { key: string; bytes: number }[] = [];
  return {
    read,
    cache: {
      get: async (key: string) => {
        const bytes = await shared.get(key);
        read.push({ key, bytes: bytes?.byteLength ?? 0 });
        return bytes;
      },
      put: (key: string, bytes: Uint8Array<ArrayBuffer>) => shared.put(key, bytes),
      delete: (prefix: string) => shared.delete(prefix),
      keys: (prefix: string) => shared.keys(prefix),
      room: () => shared.room(),
    },
    /** Numbers of the segments that were read since the last time. */
    segments: () =>
      [...new Set(read.splice(0).flatMap(({ key }) => /^part \S+ \d+ (?:scan|rows|terms) (\d+) /.exec(key)?.[1] ?? []))]
        .map(Number)
        .sort((a, b) => a - b),
  };
}

async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isSo())) await new Promise((resolve) => setTimeout(resolve, 5));
}

const sizeIs = (index: SearchIndex, size: number) => until(async () => (await index.documents()).length === size);

test("what another tab adds is read, and nothing else", async () => {
  const shared = new MemoryCache();
  const own = view(shared);
  const index = await SearchIndex.open("tabs", { cache: own.cache });
  const other = await SearchIndex.open("tabs", { cache: shared });
  await index.add(documents("first", 5000));
  await sizeIs(other, 5000);
  const known = Math.max(...own.segments(), ...(await segmentsOf(shared)));
  await other.add(documents("second", 100, 2));
  own.read.length = 0;
  await sizeIs(index, 5100);
  const bytes = own.read.reduce((sum, { bytes }) => sum + bytes, 0);
  const segments = own.segments();
  assert.ok(segments.length > 0 && segments.every((number) => number > known), `${segments} beside ${known}`);
  assert.ok(bytes < 100_000, `${bytes} bytes`);
  // Among so many small ones there are some that become one.
  for (let i = 0; i < 40; i++) {
    await other.add(documents(`small${i} `, 3, i));
    await sizeIs(index, 5100 + 3 * (i + 1));
  }
  const later = own.segments();
  assert.ok(
    later.every((number) => number > known),
    `${later} beside ${known}`,
  );
  await other.remove(["first7", "small3 1", "small39 2"]);
  await sizeIs(index, 5217);
  assert.deepEqual(own.segments(), []);
  await same(index, shared);
  // All rows are others now.
  await other.compact();
  await until(async () => (await index.documents(), own.read.some(({ key }) => / 1 scan 1 /.test(key))));
  await same(index, shared);
  await Promise.all([index.close(), other.close()]);
});

async function segmentsOf(cache: MemoryCache): Promise<number[]> {
  return (await cache.keys("part ")).flatMap((key) => Number(/ scan (\d+) /.exec(key)?.[1] ?? 0));
}

test("what is pending here stays, and comes behind what another tab has stored meanwhile", async () => {
  const shared = new MemoryCache();
  const own = view(shared);
  const index = await SearchIndex.open("tabs", { cache: own.cache });
  const other = await SearchIndex.open("tabs", { cache: shared });
  await index.add(documents("first", 3000));
  await sizeIs(other, 3000);
  const known = Math.max(...(await segmentsOf(shared)));
  own.segments();
  let finish = () => {};
  const isOver = new Promise<void>((resolve) => (finish = resolve));
  async function* slow() {
    yield* documents("mine", 64, 3);
    await isOver;
    yield* documents("more", 10, 4);
  }
  let isPending = false;
  const adding = index.add(slow(), { progress: ({ documents }) => void (isPending ||= documents >= 64) });
  await until(() => isPending);
  await other.add(documents("theirs", 50, 5));
  await until(async () => (await index.get("theirs0")) !== undefined);
  const { hits } = await index.search(documents("mine", 8, 3)[7]!.vector!, { topK: 1 });
  assert.equal(hits[0]!.id, "mine7");
  assert.equal(hits[0]!.text, "berlin number 7 of mine");
  finish();
  await adding;
  const segments = own.segments();
  assert.ok(
    segments.every((number) => number > known),
    `${segments} beside ${known}`,
  );
  assert.equal(index.size, 3124);
  await same(index, shared);
  await same(other, shared);
  await Promise.all([index.close(), other.close()]);
});

test("whatever several tabs do, each has what is stored", async () => {
  for (let seed = 0; seed < 4; seed++) {
    const shared = new MemoryCache();
    const next = random(seed);
    const below = (count: number) => Math.floor(next() * count);
    const tabs = [0, 1, 2].map(() => view(shared));
    const indexes = await Promise.all(tabs.map(({ cache }) => SearchIndex.open("tabs", { cache })));
    await indexes[0]!.add(documents("base", 300 + below(1500), seed));
    const act = async (index: SearchIndex, turn: number) => {
      const kind = below(10);
      const prefix = ["base", "a", "b", "c"][below(4)]!;
      if (kind < 5) await index.add(documents(prefix, 1 + below(20), 100 * seed + turn));
      else if (kind < 7) await index.remove(Array.from({ length: 1 + below(5) }, () => `${prefix}${below(40)}`));
      else if (kind < 9) await index.search(`${WORDS[below(8)]} number`, { mode: "keyword" });
      else if (below(4) === 0) await index.compact();
      else await index.add([longDocument(prefix, below(3), next)]);
    };
    for (let turn = 0; turn < 30; turn++)
      await Promise.all(indexes.filter(() => below(3) > 0).map((index) => act(index, turn)));
    for (const index of indexes) await same(index, shared);
    await Promise.all(indexes.map((index) => index.close()));
  }
});

/** One of another text under an id that others have, too. */
const longDocument = (prefix: string, number: number, next: () => number): SearchDocument => ({
  id: `${prefix}${number}`,
  text: `${WORDS[Math.floor(8 * next())]} `.repeat(20),
  metadata: { prefix, i: number },
  vector: vectorOf(next),
});

/** Compares an index with one that is opened now. */
async function same(index: SearchIndex, shared: MemoryCache): Promise<void> {
  const fresh = await SearchIndex.open(index.info.name, { cache: shared });
  const all = async (index: SearchIndex) => {
    const listed = (await index.documents()).sort((a, b) => (a.id < b.id ? -1 : 1));
    return JSON.stringify(listed);
  };
  const wanted = await all(fresh);
  // The other tab's message may be on its way.
  for (let tries = 0; tries < 100 && (await all(index)) !== wanted; tries++)
    await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(await all(index), wanted);
  const next = random(9);
  const found = async (index: SearchIndex, query: string | Float32Array, options: object) => {
    const { hits } = await index.search(query, { topK: 30, ...options });
    return hits
      .map(({ id, score, text, metadata }) => ({ id, score: score.toFixed(5), text, metadata }))
      .sort((a, b) => (a.score === b.score ? (a.id < b.id ? -1 : 1) : Number(b.score) - Number(a.score)));
  };
  const queries = [...Array.from({ length: 5 }, () => vectorOf(next)), "number 7 of", "bread dough", "smal"];
  for (const query of queries) {
    for (const options of [{}, { filter: { i: { $lt: 20 } } }]) {
      const [own, expected] = [await found(index, query, options), await found(fresh, query, options)];
      // Where several have the last score, which of them are shown is in the order of rows, and that may be another.
      const last = expected.at(-1)?.score;
      const sure = <T extends { score: string }>(hits: T[]) => hits.filter(({ score }) => score !== last);
      assert.deepEqual(sure(own), sure(expected));
      assert.equal(own.length, expected.length);
    }
  }
  const { places, vectors } = await index.vectors({ limit: 20_000 });
  const theirs = await fresh.vectors({ limit: 20_000 });
  const byId = new Map(theirs.places.map(({ id, start }, i) => [`${id} ${start}`, theirs.vectors[i]!]));
  assert.equal(places.length, byId.size);
  for (const [i, { id, start }] of places.entries()) assert.deepEqual(vectors[i], byId.get(`${id} ${start}`));
  await fresh.close();
}
