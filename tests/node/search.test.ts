// A search index in Node: what it finds, and that nothing is lost.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { Embedder, EmbervecError } from "embervec";
import { SearchIndex, type Filter, type SearchDocument } from "embervec/search";
import MiniSearch from "minisearch";

import { Thread } from "../../pkg/src/platform/node/thread.ts";
import { writeTar } from "../../pkg/src/tar.ts";
import { MemoryCache } from "../support/memory-cache.ts";
import { random } from "../support/random.ts";
import { temporaryFolder } from "../support/temporary.ts";

const model = (name: string) => fileURLToPath(new URL(`../fixtures/models/${name}`, import.meta.url));

let embedder: Embedder;
let count = 0;

before(async () => {
  process.env["EMBERVEC_CACHE"] = join(await temporaryFolder(), "cache");
  embedder = await Embedder.load(model("tiny-no-modules"), { dtype: "fp32" });
});
after(() => embedder.dispose());

function randomVectors(rows: number, dimension: number, seed = 1): Float32Array[] {
  const next = random(seed);
  const normal = () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
  return Array.from({ length: rows }, () => Float32Array.from({ length: dimension }, normal));
}

const dot = (a: Float32Array, b: Float32Array) => a.reduce((sum, x, i) => sum + x * b[i]!, 0);

const SCORES = {
  dot,
  cosine: (a: Float32Array, b: Float32Array) => dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b)),
  euclidean: (a: Float32Array, b: Float32Array) => -Math.sqrt(a.reduce((sum, x, i) => sum + (x - b[i]!) ** 2, 0)),
};

function best(scores: readonly number[], topK: number): { row: number; score: number }[] {
  return scores
    .map((score, row) => ({ row, score }))
    .sort((a, b) => b.score - a.score || a.row - b.row)
    .slice(0, topK);
}

const documentsOf = (vectors: readonly Float32Array[]): SearchDocument[] =>
  vectors.map((vector, i) => ({
    id: String(i),
    text: `text ${i}`,
    metadata: { parity: i % 2 === 0 ? "even" : "odd", i },
    vector,
  }));

const newName = () => `test ${count++}`;

const isError = (code: string, pattern: RegExp) => (error: unknown) => {
  assert.ok(error instanceof EmbervecError, String(error));
  assert.equal(`${error.code}: ${pattern.test(error.message) ? "" : error.message}`, `${code}: `);
  return true;
};

for (const similarity of ["cosine", "dot", "euclidean"] as const) {
  test(`finds what an exact scan in 32 bits finds, by ${similarity}`, async () => {
    const vectors = randomVectors(3000, 48);
    const queries = randomVectors(20, 48, 2);
    const index = await SearchIndex.open(newName(), { similarity });
    await index.add(documentsOf(vectors));
    const compare = async (index: SearchIndex, isThere: (row: number) => boolean, filter?: Filter) => {
      for (const query of queries) {
        const { hits, exact } = await index.search(query, filter ? { filter } : {});
        const scores = vectors.map((vector, row) => (isThere(row) ? SCORES[similarity](query, vector) : -Infinity));
        const expected = best(scores, 10);
        assert.equal(exact, true);
        assert.deepEqual(
          hits.map(({ id }) => id),
          expected.map(({ row }) => String(row)),
        );
        for (const [i, { score }] of hits.entries()) assert.ok(Math.abs(score - expected[i]!.score) < 1e-5);
      }
    };
    await compare(index, () => true);
    await compare(index, (row) => row % 2 === 0 && row < 1000, { parity: "even", i: { $lt: 1000 } });
    await index.remove({ filter: { i: { $gte: 100, $lt: 2000 } } });
    assert.equal(index.size, 1100);
    await compare(index, (row) => row < 100 || row >= 2000);
    await index.compact();
    await compare(index, (row) => row < 100 || row >= 2000);
    const file = await index.export();
    const { name } = index.info;
    await index.close();
    const again = await SearchIndex.open(name);
    await compare(again, (row) => row < 100 || row >= 2000);
    await again.close();
    const copy = await SearchIndex.import(file, { name: newName(), cache: "memory" });
    await compare(copy, (row) => row < 100 || row >= 2000);
    await copy.close();
  });
}

test("equal scores come in the order of adding", async () => {
  const index = await SearchIndex.open(newName(), { cache: "memory" });
  const vector = Float32Array.of(1, 0, 0);
  const ids = Array.from({ length: 40 }, (_, i) => `d${i}`);
  await index.add(ids.map((id) => ({ id, text: "the same words", vector })));
  for (const search of [() => index.search(vector, { topK: 40 }), () => index.search("same", { topK: 40 })]) {
    const { hits } = await search();
    assert.deepEqual(
      hits.map(({ id }) => id),
      ids,
    );
  }
  await index.close();
});

const SENTENCES = [
  "The cat sleeps on the warm windowsill all day.",
  "A kitten naps where the sun falls.",
  "Stock markets fell sharply on Tuesday.",
  "Shares lost value as investors sold.",
  "Bake the bread for forty minutes.",
  "Knead the dough and let it rise.",
  "The train to Berlin leaves at nine.",
  "Trains are late again this morning.",
];
const TEXTS: SearchDocument[] = SENTENCES.map((text, i) => ({ id: `s${i}`, text, metadata: { i } }));

test("words score as minisearch scores them", async () => {
  const index = await SearchIndex.open(newName(), { embedder, cache: "memory" });
  await index.add(TEXTS);
  const words = (text: string) => text.toLowerCase().match(/\p{L}+/gu) ?? [];
  const mini = new MiniSearch<{ id: string; text: string }>({
    fields: ["text"],
    tokenize: words,
    processTerm: (word) => word,
  });
  mini.addAll(TEXTS.map(({ id, text }) => ({ id, text })));
  for (const query of ["train to berlin", "bread", "the dough", "tra", "sun shares kitten"]) {
    const { hits } = await index.search(query, { mode: "keyword" });
    const expected = mini.search(query, { prefix: (_, i, terms) => i === terms.length - 1 });
    assert.deepEqual(new Set(hits.map(({ id }) => id)), new Set(expected.map(({ id }) => id as string)), query);
    for (const { id, score } of hits) {
      assert.ok(Math.abs(score - expected.find((other) => other.id === id)!.score) < 1e-6, `${query}: ${id} ${score}`);
    }
  }
  const { hits } = await index.search("trains", { mode: "keyword" });
  assert.deepEqual(hits[0]?.words, ["trains"]);
  await index.close();
});

test("both lists are joined by reciprocal rank, and both scores are told", async () => {
  const index = await SearchIndex.open(newName(), { embedder, cache: "memory" });
  await index.add(TEXTS);
  const query = "bread and dough";
  const [semantic, keyword, hybrid] = await Promise.all(
    (["semantic", "keyword", "hybrid"] as const).map((mode) => index.search(query, { mode, topK: 8 })),
  );
  const rank = (hits: { id: string }[], id: string) => hits.findIndex((hit) => hit.id === id);
  for (const { id, score, scores } of hybrid!.hits) {
    const parts = [rank(semantic!.hits, id), rank(keyword!.hits, id)].filter((rank) => rank >= 0);
    const expected = parts.reduce((sum, rank) => sum + 1 / (60 + rank + 1), 0);
    assert.ok(Math.abs(score - expected) < 1e-12, `${id}: ${score}, not ${expected}`);
    assert.ok(Math.abs(scores.semantic! - semantic!.hits.find((hit) => hit.id === id)!.score) < 1e-6);
    assert.equal(scores.keyword, keyword!.hits.find((hit) => hit.id === id)?.score ?? 0);
  }
  const shown = await index.search(query, { minScore: { keyword: 0.01 }, topK: 8 });
  assert.equal(shown.hits.length + shown.hidden, 8);
  assert.ok(shown.hits.every(({ scores }) => scores.keyword! >= 0.01));
  await index.close();
});

test("vectors are those of the embedder", async () => {
  const index = await SearchIndex.open(newName(), { embedder, cache: "memory" });
  await index.add(TEXTS);
  const { places, vectors } = await index.vectors();
  assert.equal(places.length, TEXTS.length);
  for (const [i, { id }] of places.entries()) {
    const expected = await embedder.encodeDocument(TEXTS.find((text) => text.id === id)!.text);
    assert.deepEqual(vectors[i], expected);
  }
  await index.close();
});

test("long texts are split at sentences, by the model's tokens", async () => {
  const index = await SearchIndex.open(newName(), {
    embedder,
    cache: "memory",
    passages: { maxTokens: 40, overlap: 12 },
  });
  const text = Array.from({ length: 60 }, (_, i) => SENTENCES[i % SENTENCES.length]).join(i60());
  await index.add([
    { id: "long", text },
    { id: "no blank", text: ",".repeat(5000) },
    { id: "blank", text: " \n " },
    { id: "none", text: "" },
  ]);
  const { passages, text: whole } = (await index.get("long"))!;
  assert.equal(whole.trimEnd(), text.trimEnd());
  assert.ok(passages.length > 10, `${passages.length} passages`);
  const counts = await embedder.tokenCounts(passages.map(({ start, end }) => text.slice(start, end)));
  assert.ok(
    [...counts].every((tokens) => tokens <= 40),
    String(counts),
  );
  for (const [i, { start }] of passages.entries()) {
    const before = passages[i - 1];
    if (!before) continue;
    assert.ok(start <= before.end && start > before.start, "they cover the text");
    // A passage begins where a sentence begins.
    assert.match(text.slice(0, start), /(^|[.]\s+)$/);
  }
  const parts = (await index.get("no blank"))!;
  assert.ok(parts.passages.length > 5000 / 40, `${parts.passages.length} passages`);
  assert.equal(parts.text, ",".repeat(5000));
  const { hits } = await index.search("bread", { context: 1 });
  const hit = hits.find(({ id }) => id === "long")!;
  assert.equal(text.slice(hit.start, hit.end), hit.text);
  assert.ok(hit.before!.length + hit.after!.length >= 1, "there are neighbours");
  await index.close();
});

/** Between sentences, among others a line break. */
function i60(): string {
  return " \n";
}

test("what is there already costs nothing, and of what changed only what is new is encoded", async () => {
  const name = newName();
  const index = await SearchIndex.open(name, { embedder, passages: { maxTokens: 32 } });
  const long = Array.from({ length: 30 }, (_, i) => `Sentence number ${i} speaks of ${SENTENCES[i % 8]}`);
  const documents = [{ id: "a", text: long.join(" "), metadata: { n: 1 } }, ...TEXTS];
  const first = await index.add(documents);
  assert.equal(first.added, documents.length);
  assert.deepEqual(await index.add(documents), { added: 0, unchanged: documents.length, encoded: 0 });
  await index.close();
  const again = await SearchIndex.open(name, { embedder });
  assert.deepEqual(await again.add(documents), { added: 0, unchanged: documents.length, encoded: 0 });
  // Other metadata: no vector is computed.
  assert.deepEqual(await again.add([{ ...documents[0]!, metadata: { n: 2 } }]), { added: 1, unchanged: 0, encoded: 0 });
  assert.deepEqual((await again.get("a"))!.metadata, { n: 2 });
  long[15] = "Something else stands here.";
  const { encoded } = await again.add([{ id: "a", text: long.join(" ") }]);
  assert.ok(encoded > 0 && encoded < 5, `${encoded} passages`);
  assert.equal(again.size, documents.length);
  assert.equal((await again.get("a"))!.text, long.join(" "));
  await again.close();
});

test("an index refuses another model, and says which one it needs", async () => {
  const name = newName();
  const index = await SearchIndex.open(name, { embedder });
  await index.add(TEXTS);
  await index.close();
  const other = await Embedder.load(model("tiny-cls"), { dtype: "fp32" });
  try {
    await assert.rejects(
      SearchIndex.open(name, { embedder: other }),
      isError("model_mismatch", /needs the model ".*tiny-no-modules/),
    );
    const open = await SearchIndex.open(name);
    await assert.rejects(open.attach(other), isError("model_mismatch", /cosine|dimensions/));
    const { hits, mode } = await open.search("train");
    assert.equal(mode, "keyword");
    assert.ok(hits.length > 0);
    await assert.rejects(open.search("train", { mode: "semantic" }), isError("invalid_input", /embedder/));
    await open.attach(embedder);
    assert.equal((await open.search("train")).mode, "hybrid");
    await open.close();
  } finally {
    await other.dispose();
  }
});

test("an index of the first dimensions opens again with its model, and refuses another", async () => {
  const cache = new MemoryCache();
  const index = await SearchIndex.open("cut", { embedder, cache, truncateDim: 16 });
  await index.add(TEXTS);
  const { hits } = await index.search("train");
  const { vectors } = await index.vectors();
  assert.equal(index.info.dimension, 16);
  assert.deepEqual(vectors[0], await embedder.encodeDocument(SENTENCES[0]!, { truncateDim: 16 }));
  await index.close();
  const again = await SearchIndex.open("cut", { embedder, cache });
  assert.deepEqual((await again.search("train")).hits, hits);
  await again.add([{ id: "new", text: "One more train." }]);
  await again.attach(embedder);
  await again.close();
  const other = await Embedder.load(model("tiny-cls"), { dtype: "fp32" });
  await assert.rejects(
    SearchIndex.open("cut", { embedder: other, cache }),
    isError("model_mismatch", /needs the model/),
  );
  await other.dispose();
  // Vectors of one's own, made by the same model.
  const own = await SearchIndex.open("own", { cache, truncateDim: 16 });
  await own.add([{ id: "a", text: SENTENCES[0]!, vector: vectors[0]! }]);
  await own.attach(embedder);
  assert.equal((await own.search(SENTENCES[0]!, { mode: "semantic" })).hits[0]!.id, "a");
  await own.close();
});

test("two of the same index see each other's documents", async () => {
  const name = newName();
  const [a, b] = [await SearchIndex.open(name, { embedder }), await SearchIndex.open(name, { embedder })];
  await Promise.all([
    a.add(TEXTS.slice(0, 4)),
    b.add(TEXTS.slice(4)),
    a.add([{ id: "x", text: "of a" }]),
    b.add([{ id: "y", text: "of b" }]),
  ]);
  await b.remove("s0");
  const expected = ["s1", "s2", "s3", "s4", "s5", "s6", "s7", "x", "y"];
  for (const index of [a, b]) {
    const ids = (await index.documents()).map(({ id }) => id).sort();
    assert.deepEqual(ids, expected);
  }
  await Promise.all([a.close(), b.close()]);
  const again = await SearchIndex.open(name, { embedder });
  assert.deepEqual((await again.documents()).map(({ id }) => id).sort(), expected);
  await again.close();
});

const idsOf = async (index: SearchIndex) => (await index.documents()).map(({ id }) => id).sort();

test("an index that is made anew under a name is another one, however many changes both have had", async () => {
  const name = newName();
  const vector = [1, 0];
  const old = await SearchIndex.open(name);
  await old.add([{ id: "old", text: "of the one before", vector }]);
  await SearchIndex.delete(name);
  const index = await SearchIndex.open(name);
  await index.add([{ id: "new", text: "of the one that is there", vector }]);
  await old.add([{ id: "late", text: "of a tab that was open", vector }]);
  await Promise.all([old.close(), index.close()]);
  const again = await SearchIndex.open(name);
  assert.deepEqual(await idsOf(again), ["late", "new"]);
  assert.equal((await again.get("new"))!.text, "of the one that is there");
  await again.close();
});

test("an index that was deleted is not made anew by one that was open, though it was empty", async () => {
  const name = newName();
  const index = await SearchIndex.open(name);
  await SearchIndex.delete(name);
  await assert.rejects(
    index.add([{ id: "a", text: "a", vector: [1, 0] }]),
    isError("storage", /is not stored any more/),
  );
  await index.close();
  assert.ok(!(await SearchIndex.list()).some((stored) => stored.name === name), "it is not there again");
});

test("what another tab adds again is not removed by one that removed it long ago", async () => {
  const name = newName();
  const vector = [1, 0];
  const [a, b] = [await SearchIndex.open(name), await SearchIndex.open(name)];
  const many = Array.from({ length: 64 }, (_, i) => ({ id: `d${i}`, text: `text ${i}`, vector }));
  await a.add([...many, { id: "x", text: "x", vector }]);
  await a.remove("x");
  const gate = () => {
    let open = () => {};
    return { isOpen: new Promise<void>((resolve) => (open = resolve)), open: () => open() };
  };
  const [appended, added] = [gate(), gate()];
  // A group of 64 documents is on its way at once; the call is over when the other tab has stored its own.
  async function* replacing() {
    for (const document of many) yield { ...document, text: `${document.text} anew` };
    await added.isOpen;
  }
  const replaced = a.add(replacing(), { progress: ({ documents }) => void (documents === 64 && appended.open()) });
  await appended.isOpen;
  await b.add([{ id: "x", text: "x is there again", vector }]);
  added.open();
  await replaced;
  for (const index of [a, b]) assert.equal((await index.get("x"))?.text, "x is there again");
  assert.equal((await a.get("d7"))!.text, "text 7 anew");
  await Promise.all([a.close(), b.close()]);
});

/** An embedder of another model, whose vectors have the same length. */
function strangeEmbedder(encoded: (texts: readonly string[]) => void | Promise<void> = () => {}): Embedder {
  const turned = (vector: Float32Array) => vector.slice().reverse();
  const { embeddingSpace } = embedder.info;
  return {
    info: { ...embedder.info, embeddingSpace: { ...embeddingSpace, model: "strange", weights: undefined } },
    tokenCounts: (texts: string[]) => embedder.tokenCounts(texts),
    encodeQuery: async (text: string) => {
      await encoded([text]);
      return turned(await embedder.encodeQuery(text));
    },
    encodeDocument: async (texts: string[]) => {
      await encoded(texts);
      return (await embedder.encodeDocument(texts)).map(turned);
    },
  } as unknown as Embedder;
}

test("an embedder that is refused has made no vector of the index, and of no query", async () => {
  const index = await SearchIndex.open(newName(), { embedder, cache: "memory" });
  await index.add(TEXTS);
  const seen: string[] = [];
  const strange = strangeEmbedder(async (texts) => {
    seen.push(...texts);
    await new Promise((resolve) => setTimeout(resolve, 300));
  });
  const many = Array.from({ length: 100 }, (_, i) => ({ id: `m${i}`, text: `${SENTENCES[i % 8]} Number ${i}.` }));
  let attached: Promise<void> | undefined;
  const begun = new Promise<void>((resolve) => {
    const progress = () => {
      attached ??= index.attach(strange);
      attached.catch(() => {});
      resolve();
    };
    void index.add(many, { progress });
  });
  await begun;
  await index.search("bread");
  await assert.rejects(attached!, isError("model_mismatch", /this embedder is "strange"/));
  await index.add(many);
  assert.deepEqual(
    seen.filter((text) => text === "bread" || many.some((document) => document.text === text)),
    [],
  );
  const { places, vectors } = await index.vectors();
  assert.equal(places.length, 108);
  for (const i of [0, 8, 9, 50, 107]) {
    const text = (await index.get(places[i]!.id))!.text;
    assert.ok(SCORES.cosine(vectors[i]!, await embedder.encodeDocument(text)) > 0.99999, text);
  }
  await index.close();
});

test("an index that another tab has given a model refuses another one", async () => {
  const name = newName();
  const a = await SearchIndex.open(name, { embedder });
  const b = await SearchIndex.open(name, { embedder: strangeEmbedder() });
  await a.add(TEXTS.slice(0, 4));
  await assert.rejects(b.add(TEXTS.slice(4)), isError("model_mismatch", /this embedder is "strange"/));
  await assert.rejects(b.search("bread"), isError("model_mismatch", /this embedder is "strange"/));
  assert.equal((await b.search("train", { mode: "keyword" })).mode, "keyword");
  await Promise.all([a.close(), b.close()]);
  const again = await SearchIndex.open(name, { embedder });
  assert.deepEqual(await idsOf(again), ["s0", "s1", "s2", "s3"]);
  await again.close();
});

test("of two models that begin an index at once one is refused", async () => {
  const name = newName();
  const embedders = [embedder, strangeEmbedder()] as const;
  const indexes = await Promise.all(embedders.map((embedder) => SearchIndex.open(name, { embedder })));
  const added = await Promise.allSettled(indexes.map((index) => index.add(TEXTS)));
  const [winner, ...others] = [0, 1].filter((i) => added[i]!.status === "fulfilled");
  assert.deepEqual([winner === undefined, others], [false, []], "one has added, and one has not");
  const { reason } = added[1 - winner!] as PromiseRejectedResult;
  assert.ok(isError("model_mismatch", /needs the model/)(reason), "the other one is told why");
  await Promise.all(indexes.map((index) => index.close()));
  const again = await SearchIndex.open(name, { embedder: embedders[winner!]! });
  assert.equal(again.size, 8);
  const { places, vectors } = await again.vectors();
  const [own] = await embedders[winner!]!.encodeDocument([TEXTS[Number(places[3]!.id.slice(1))]!.text]);
  assert.ok(SCORES.cosine(vectors[3]!, own!) > 0.99999, "its vectors are the model's");
  await again.close();
});

test("passages of a model that takes less overlap by the same share", async () => {
  const name = newName();
  const most = embedder.info.maxSeqLength - embedder.info.specialTokens;
  const index = await SearchIndex.open(name, { passages: { maxTokens: 2 * most, overlap: most } });
  await index.attach(embedder);
  assert.deepEqual(index.info.passageOptions, { maxTokens: most, overlap: Math.floor(most / 2) });
  await index.add(TEXTS);
  await index.close();
  const again = await SearchIndex.open(name, { embedder });
  assert.equal(again.size, 8);
  await again.close();
  const passages = { overlap: 100 };
  for (const options of [{ passages }, { embedder, passages }]) {
    const other = newName();
    const first = await SearchIndex.open(other, options);
    await first.add([{ id: "a", text: "a", vector: new Float32Array(embedder.info.dimension).fill(1) }]);
    await first.close();
    const { info } = await SearchIndex.open(other).then(async (index) => (await index.close(), index));
    assert.ok(info.passageOptions.overlap < info.passageOptions.maxTokens, JSON.stringify(info.passageOptions));
  }
});

test("while it is written anew, what is there can be read", async () => {
  let arrived = () => {};
  let goOn = () => {};
  const isWritten = new Promise<void>((resolve) => (arrived = resolve));
  const isMissed = new Promise<void>((resolve) => (goOn = resolve));
  /** Gives the parts that are written anew only after one has been missed that was there before. */
  class SlowCache extends MemoryCache {
    override async get(key: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
      if (key.endsWith(" 1 scan 1 0 ")) {
        arrived();
        await Promise.race([isMissed, new Promise((resolve) => setTimeout(resolve, 1000))]);
      }
      const bytes = await super.get(key);
      if (!bytes && / 0 block /.test(key)) goOn();
      return bytes;
    }
  }
  const index = await SearchIndex.open("slow", { cache: new SlowCache() });
  // More than is kept of what was read.
  const dimension = 16_384;
  const vectorOf = (i: number) => Float32Array.from({ length: dimension }, (_, at) => (at === i ? 1 : 0));
  await index.add(Array.from({ length: 300 }, (_, i) => ({ id: `${i}`, text: `text ${i}`, vector: vectorOf(i) })));
  const compacted = index.compact();
  await isWritten;
  const { hits } = await index.search(vectorOf(0), { topK: 1 });
  assert.equal(hits[0]!.text, "text 0");
  await compacted;
  await index.close();
});

/** Threads that a test has at hand, as `createWorker` gives them. */
function threads(): { all: (Thread & { isOver?: boolean })[]; createWorker: (url: URL) => Worker } {
  const all: (Thread & { isOver?: boolean })[] = [];
  const createWorker = (url: URL) => {
    const thread: Thread & { isOver?: boolean } = new Thread(url);
    const terminate = thread.terminate.bind(thread);
    thread.terminate = () => {
      thread.isOver = true;
      terminate();
    };
    all.push(thread);
    return thread as unknown as Worker;
  };
  return { all, createWorker };
}

test("one worker takes the place of one that has failed, whatever the index was opened with", async () => {
  const cache = new MemoryCache();
  const before = await SearchIndex.open("before", { embedder, cache });
  await before.add(TEXTS);
  const file = await before.export();
  await before.close();
  const { all, createWorker } = threads();
  const controller = new AbortController();
  const options = { embedder, cache, signal: controller.signal, createWorker: createWorker as never };
  const index = await SearchIndex.import(file, { name: "imported", ...options });
  controller.abort(new Error("after it was opened"));
  await index.add([{ id: "more", text: "more than was imported" }]);
  all[0]!.onerror!({ message: "a test", error: undefined });
  const answers = await Promise.all([index.documents(), index.search("bread"), index.get("more")]);
  assert.equal(answers[0].length, 9);
  assert.equal(answers[2]!.text, "more than was imported");
  assert.deepEqual(
    all.map(({ isOver = false }) => isOver),
    [true, false],
  );
  all[1]!.onerror!({ message: "a test", error: undefined });
  const late = assert.rejects(index.documents(), isError("disposed", /closed/));
  await index.close();
  await late;
  assert.ok(
    all.every(({ isOver }) => isOver),
    "no worker is left",
  );
});

test("long metadata are there after it is opened again", async () => {
  const name = newName();
  const index = await SearchIndex.open(name);
  const html = "x".repeat(1_000_000);
  const vectorOf = (i: number) => Float32Array.from({ length: 64 }, (_, at) => (at === i ? 1 : 0.01));
  await index.add(
    Array.from({ length: 40 }, (_, i) => ({
      id: `${i}`,
      text: `text ${i}`,
      metadata: { i, html },
      vector: vectorOf(i),
    })),
  );
  await index.close();
  const again = await SearchIndex.open(name);
  for (const i of [0, 15, 16, 17, 31, 39]) {
    const { hits } = await again.search(vectorOf(i), { topK: 1 });
    assert.deepEqual([hits[0]!.id, hits[0]!.metadata["i"]], [`${i}`, i]);
    assert.deepEqual(
      (await again.documents({ filter: { i } })).map(({ id }) => id),
      [`${i}`],
    );
  }
  await again.close();
});

test("a search does not wait until what another tab has stored is loaded", async () => {
  const shared = new MemoryCache();
  let isSlow = false;
  const slow = {
    get: async (key: string) => {
      if (isSlow && key.includes(" scan ")) await new Promise((resolve) => setTimeout(resolve, 2000));
      return shared.get(key);
    },
    put: async (key: string, bytes: Uint8Array<ArrayBuffer>) => shared.put(key, bytes),
    delete: async (prefix: string) => shared.delete(prefix),
    keys: async (prefix: string) => shared.keys(prefix),
    room: async () => Infinity,
  };
  const vector = [1, 0];
  const [a, b] = [await SearchIndex.open("tabs", { cache: slow }), await SearchIndex.open("tabs", { cache: shared })];
  await a.add([{ id: "a", text: "of a", vector }]);
  await b.add([{ id: "b", text: "of b", vector }]);
  isSlow = true;
  let found = 0;
  // No search waits for the 2 seconds and more that it takes to load what `b` has added.
  for (let i = 0; i < 200 && found < 2; i++) {
    const begun = performance.now();
    const { hits } = await a.search(vector);
    const waited = performance.now() - begun;
    assert.ok(waited < 1500, `it came after ${waited} ms`);
    assert.equal(hits[0]!.id, "a");
    found = hits.length;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.equal(found, 2);
  await Promise.all([a.close(), b.close()]);
});

test("an index in memory is there after it was given another name", async () => {
  const index = await SearchIndex.open("one name", { embedder, cache: "memory" });
  await index.add(TEXTS);
  await index.rename("another name");
  assert.equal(index.info.name, "another name");
  assert.equal((await index.search("bread")).hits.length, 8);
  await index.add([{ id: "more", text: "more" }]);
  const copy = await SearchIndex.import(await index.export(), { name: "copy", embedder, cache: "memory" });
  assert.equal(copy.size, 9);
  await Promise.all([index.close(), copy.close()]);
});

test("the answer to an abort does not wait for the storage", async () => {
  let isSlow = false;
  class SlowCache extends MemoryCache {
    override async put(key: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
      if (isSlow) await new Promise((resolve) => setTimeout(resolve, 2500));
      return super.put(key, bytes);
    }
  }
  const index = await SearchIndex.open("slow to store", { cache: new SlowCache() });
  await index.add([{ id: "a", text: "a", vector: [1, 0] }]);
  isSlow = true;
  const controller = new AbortController();
  const reason = new Error("enough");
  let aborted = 0;
  async function* endless() {
    for (let i = 0; ; i++) {
      if (i === 64) {
        await new Promise((resolve) => setTimeout(resolve, 500));
        aborted = performance.now();
        controller.abort(reason);
      }
      yield { id: `d${i}`, text: "text", vector: [0, 1] };
    }
  }
  await assert.rejects(index.add(endless(), { signal: controller.signal }), (error) => error === reason);
  const waited = performance.now() - aborted;
  assert.ok(waited < 1500, `it came after ${waited} ms`);
  await index.close();
});

test("pairs and groups are those of sentence-transformers", async () => {
  const vectors = randomVectors(60, 8, 5);
  const index = await SearchIndex.open(newName(), { cache: "memory" });
  await index.add(documentsOf(vectors));
  const threshold = 0.5;
  const pairs: [number, number, number][] = [];
  for (let a = 0; a < 60; a++) {
    for (let b = a + 1; b < 60; b++) {
      const score = SCORES.cosine(vectors[a]!, vectors[b]!);
      if (score >= threshold) pairs.push([a, b, score]);
    }
  }
  pairs.sort((x, y) => y[2] - x[2]);
  const found = await index.duplicates(threshold);
  assert.deepEqual(
    found.map(({ a, b }) => [Number(a.id), Number(b.id)]),
    pairs.map(([a, b]) => [a, b]),
  );
  const near = vectors.map((vector) =>
    best(
      vectors.map((other) => SCORES.cosine(vector, other)),
      60,
    )
      .filter(({ score }) => score >= threshold || score > 0.9999)
      .map(({ row }) => row),
  );
  const groups = near.filter((group) => group.length >= 4).sort((a, b) => b.length - a.length);
  const taken = new Set<number>();
  const expected: number[][] = [];
  for (const group of groups) {
    const left = group.filter((row) => !taken.has(row));
    if (left.length < 4) continue;
    for (const row of left) taken.add(row);
    expected.push(left);
  }
  expected.sort((a, b) => b.length - a.length);
  const clusters = await index.clusters({ threshold, minSize: 4 });
  assert.deepEqual(
    clusters.map((group) => group.map(({ id }) => Number(id))),
    expected,
  );
  await index.close();
});

for (const similarity of ["dot", "euclidean"] as const) {
  test(`pairs and groups are compared by cosine in an index of ${similarity}, too`, async () => {
    const vectors = randomVectors(1100, 8, 5).map((vector, i) => vector.map((x) => x * (1 + (i % 7))));
    const [index, cosine] = [
      await SearchIndex.open(newName(), { cache: "memory", similarity }),
      await SearchIndex.open(newName(), { cache: "memory" }),
    ];
    for (const each of [index, cosine]) {
      await each.add(documentsOf(vectors));
      await each.remove({ filter: { i: { $lt: 40 } } });
    }
    const ids = (pairs: { a: { id: string }; b: { id: string } }[]) => pairs.map(({ a, b }) => `${a.id} ${b.id}`);
    const pairs = await cosine.duplicates(0.8);
    assert.ok(pairs.length > 100 && pairs.every(({ score }) => score >= 0.8 && score <= 1), `${pairs.length} pairs`);
    assert.deepEqual(ids(await index.duplicates(0.8)), ids(pairs));
    assert.deepEqual(ids(await index.duplicates(0.8, { topK: 7 })), ids(pairs.slice(0, 7)));
    const options = { threshold: 0.8, minSize: 4 };
    const groups = await cosine.clusters(options);
    assert.ok(groups.length > 10, `${groups.length} groups`);
    assert.deepEqual(await index.clusters(options), groups);
    await Promise.all([index.close(), cosine.close()]);
  });
}

test("what is liked moves the query, which keeps more than half", async () => {
  const vectors = randomVectors(200, 16, 7);
  const index = await SearchIndex.open(newName(), { cache: "memory" });
  await index.add(documentsOf(vectors));
  const [query] = randomVectors(1, 16, 8);
  const plain = await index.search(query!);
  const moved = await index.search(query!, { liked: ["7", "9"], disliked: [plain.hits[0]!.id] });
  assert.equal(plain.queryShare, undefined);
  assert.ok(moved.queryShare! > 0.5 && moved.queryShare! < 0.6);
  const rank = (hits: { id: string }[], id: string) => (hits.findIndex((hit) => hit.id === id) + 201) % 201;
  const all = (options: object) => index.search(query!, { topK: 200, ...options });
  const [before, after] = [await all({}), await all({ liked: ["7"] })];
  assert.ok(rank(after.hits, "7") < rank(before.hits, "7"));
  const like = await index.search({ like: "7" });
  assert.ok(like.hits.every(({ id }) => id !== "7"));
  await index.close();
});

test("of a document only the best passage, if asked", async () => {
  const index = await SearchIndex.open(newName(), { embedder, cache: "memory", passages: { maxTokens: 16 } });
  await index.add([
    { id: "trains", text: SENTENCES.slice(6).join(" ").repeat(4) },
    { id: "bread", text: SENTENCES.slice(4, 6).join(" ").repeat(4) },
    { id: "cats", text: SENTENCES.slice(0, 2).join(" ").repeat(4) },
  ]);
  for (const mode of ["semantic", "keyword", "hybrid"] as const) {
    const { hits } = await index.search("bread trains cat", { mode, groupBy: "document" });
    assert.equal(new Set(hits.map(({ id }) => id)).size, hits.length);
    assert.equal(hits.length, 3);
  }
  await index.close();
});

test("both lists are as long as what is wanted, and hold each document once if that is wanted", async () => {
  const index = await SearchIndex.open(newName(), { embedder, cache: "memory", passages: { maxTokens: 16 } });
  const many = Array.from({ length: 140 }, (_, i) => ({ id: `n${i}`, text: `Number ${i}.` }));
  await index.add([{ id: "long", text: `${SENTENCES[6]} `.repeat(130) }, ...TEXTS, ...many]);
  const { passages, documents } = index.info;
  assert.ok((await index.get("long"))!.passages.length > 100, "it fills a list alone");
  const all = await index.search("nothing of it", { topK: 1000 });
  assert.equal(all.mode, "hybrid");
  assert.equal(all.hits.length, passages);
  const query = "bread dough";
  const [semantic, keyword, hybrid] = await Promise.all(
    (["semantic", "keyword", "hybrid"] as const).map((mode) =>
      index.search(query, { mode, topK: documents, groupBy: "document" }),
    ),
  );
  assert.equal(hybrid!.hits.length, documents);
  assert.equal(new Set(hybrid!.hits.map(({ id }) => id)).size, documents);
  const rankOf = (hits: { id: string }[], id: string) => hits.findIndex((hit) => hit.id === id);
  for (const { id, score } of hybrid!.hits) {
    const ranks = [semantic!, keyword!].map(({ hits }) => rankOf(hits, id)).filter((rank) => rank >= 0);
    const expected = ranks.reduce((sum, rank) => sum + 1 / (60 + rank + 1), 0);
    assert.ok(Math.abs(score - expected) < 1e-12, `${id}: ${score}, not ${expected}`);
  }
  assert.equal((await index.search(SENTENCES[6]!, { groupBy: "document" })).hits.length, 10);
  await index.close();
});

test("an abort ends adding, and the same call goes on later", async () => {
  const index = await SearchIndex.open(newName(), { embedder });
  const many = Array.from({ length: 400 }, (_, i) => ({
    id: `m${i}`,
    text: `${SENTENCES[i % 8]} Number ${i}.`.repeat(3),
  }));
  const controller = new AbortController();
  const reason = new Error("enough");
  await assert.rejects(
    index.add(many, {
      signal: controller.signal,
      progress: ({ documents }) => void (documents >= 20 && controller.abort(reason)),
    }),
    (error) => error === reason,
  );
  const { size } = index;
  assert.ok(size >= 20 && size < 400, `${size} documents`);
  const { added, unchanged } = await index.add(many);
  assert.equal(added + unchanged, 400);
  assert.ok(unchanged >= 20);
  await index.close();
});

test("what is removed while it is added is not added on, and the newest goes first", async () => {
  const index = await SearchIndex.open(newName(), { embedder, cache: "memory" });
  const many = (prefix: string, count: number) =>
    Array.from({ length: count }, (_, i) => ({
      id: `${prefix}${i}`,
      text: `${SENTENCES[i % 8]} ${prefix} ${i}.`.repeat(4),
    }));
  const order: string[] = [];
  const first = index.add(many("first", 300)).then(() => order.push("first"));
  await new Promise((resolve) => setTimeout(resolve, 100));
  const second = index.add(many("second", 5)).then(() => order.push("second"));
  const long = index.add([{ id: "gone", text: SENTENCES.join(" ").repeat(300) }]);
  await new Promise((resolve) => setTimeout(resolve, 50));
  await index.remove("gone");
  await Promise.all([first, second, long]);
  assert.deepEqual(order, ["second", "first"]);
  assert.equal(await index.get("gone"), undefined);
  assert.equal(index.size, 305);
  await index.close();
});

/** The embedder, which waits before it encodes a text that is held, and notes what it has encoded. */
function holding(isHeld: (text: string) => boolean) {
  const encoded: string[] = [];
  const waiting: string[] = [];
  let release!: () => void;
  const released = new Promise<void>((resolve) => (release = resolve));
  const own = {
    info: embedder.info,
    tokenCounts: (texts: string[]) => embedder.tokenCounts(texts),
    encodeQuery: (text: string) => embedder.encodeQuery(text),
    encodeDocument: async (texts: string[]) => {
      if (texts.some(isHeld)) {
        waiting.push(...texts);
        await released;
      }
      encoded.push(...texts);
      return embedder.encodeDocument(texts);
    },
  };
  return { embedder: own as unknown as Embedder, encoded, waiting, release };
}

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** Until the worker has had what was asked before. */
const reached = (index: SearchIndex) => index.documents();

test("after an abort the same call adds all, at once", async () => {
  const held = holding((text) => SENTENCES.includes(text));
  const index = await SearchIndex.open(newName(), { embedder: held.embedder, cache: "memory" });
  const controller = new AbortController();
  const aborted = index.add(TEXTS, { signal: controller.signal });
  await until(() => held.waiting.length > 0);
  controller.abort();
  await assert.rejects(aborted, { name: "AbortError" });
  const again = index.add(TEXTS);
  await reached(index);
  held.release();
  const { added, unchanged } = await again;
  assert.deepEqual({ added, unchanged, size: index.size }, { added: 8, unchanged: 0, size: 8 });
  await index.close();
});

test("of two calls with the same documents one can be aborted", async () => {
  for (const which of [0, 1]) {
    const held = holding((text) => SENTENCES.includes(text));
    const index = await SearchIndex.open(newName(), { embedder: held.embedder, cache: "memory" });
    const controllers = [new AbortController(), new AbortController()];
    const calls: Promise<unknown>[] = [];
    for (const { signal } of controllers) {
      calls.push(index.add(TEXTS, { signal }));
      const before = held.waiting.length;
      await until(() => held.waiting.length > before);
    }
    controllers[which]!.abort();
    await assert.rejects(calls[which]!, { name: "AbortError" });
    held.release();
    await calls[1 - which];
    assert.equal((await index.documents()).length, 8, `the other is aborted: ${which}`);
    await index.close();
  }
});

test("what a newer call adds or removes is not undone by an older one that comes to it later", async () => {
  const held = holding((text) => text.startsWith("bulk"));
  const index = await SearchIndex.open(newName(), { embedder: held.embedder, cache: "memory" });
  await index.add([{ id: "before", text: "there already", metadata: { kind: "good" } }]);
  const bulk: SearchDocument[] = Array.from({ length: 200 }, (_, i) => ({ id: `b${i}`, text: `bulk ${i}` }));
  bulk.push({ id: "x", text: "bulk: old" }, { id: "removed", text: "bulk: removed" });
  bulk.push({ id: "filtered", text: "bulk: filtered", metadata: { kind: "bad" } });
  const adding = index.add(bulk);
  await until(() => held.waiting.length > 0);
  await index.add([{ id: "x", text: "new" }]);
  await index.remove("removed");
  await index.remove({ filter: { kind: "bad" } });
  await assert.rejects(index.remove({ filter: { kind: { $near: 1 } } }), isError("invalid_input", /\$near/));
  held.release();
  await adding;
  assert.equal((await index.get("x"))?.text, "new");
  assert.equal(await index.get("removed"), undefined);
  assert.equal(await index.get("filtered"), undefined);
  assert.equal(index.size, 202);
  await index.close();
});

test("a stream adds again what was removed before it gave it", async () => {
  const index = await SearchIndex.open(newName(), { embedder, cache: "memory" });
  async function* stream() {
    for (let i = 0; i < 64; i++) yield { id: `s${i}`, text: `text ${i}` };
    await until(() => index.size === 64);
    await index.remove(["s1", "s2"]);
    yield { id: "s1", text: "again" };
  }
  await index.add(stream());
  assert.equal((await index.get("s1"))?.text, "again");
  assert.equal(index.size, 63);
  await index.close();
});

test("a document that comes twice in a call is added as it came last", async () => {
  const index = await SearchIndex.open(newName(), { embedder, cache: "memory" });
  await index.add([{ id: "a", text: "stored" }]);
  // Its hash takes longer.
  await index.add([
    { id: "a", text: "long ".repeat(100_000), vector: (await embedder.encode("long")) as Float32Array },
    { id: "a", text: "stored" },
    { id: "b", text: "first" },
    { id: "b", text: "second" },
  ]);
  assert.equal((await index.get("a"))?.text, "stored");
  assert.equal((await index.get("b"))?.text, "second");
  await index.close();
});

test("a newer call that waits for its source does not hold up an older one", async () => {
  const held = holding((text) => text.startsWith("held"));
  const index = await SearchIndex.open(newName(), { embedder: held.embedder, cache: "memory" });
  const older = index.add([
    { id: "held", text: "held" },
    ...Array.from({ length: 100 }, (_, i) => ({ id: `o${i}`, text: `older ${i}` })),
  ]);
  await until(() => held.waiting.length > 0);
  async function* stream() {
    await older;
    yield { id: "newer", text: "newer" };
  }
  const newer = index.add(stream());
  await reached(index);
  held.release();
  await Promise.all([older, newer]);
  assert.equal(index.size, 102);
  await index.close();
});

test("what is not to be added any more is not encoded, and the newest call is encoded first", async () => {
  const held = holding((text) => text.includes("older"));
  const index = await SearchIndex.open(newName(), { embedder: held.embedder, cache: "memory" });
  await index.add([{ id: "first", text: "first" }]);
  // Of each of 60 documents two times 8 passages wait.
  const long = Array.from({ length: 400 }, (_, i) => `The older text has a sentence with the number ${i}.`).join(" ");
  const documents = (prefix: string) => Array.from({ length: 30 }, (_, i) => ({ id: `${prefix}${i}`, text: long }));
  const controller = new AbortController();
  const aborted = index.add(documents("aborted"), { signal: controller.signal });
  await until(() => held.waiting.length > 0);
  const removed = index.add(documents("removed"));
  await new Promise((resolve) => setTimeout(resolve, 200));
  controller.abort();
  await assert.rejects(aborted, { name: "AbortError" });
  await index.remove(documents("removed").map(({ id }) => id));
  const older = index.add([{ id: "older", text: long }]);
  await new Promise((resolve) => setTimeout(resolve, 200));
  const countOlder = (texts: string[]) => texts.filter((text) => text.includes("older")).length;
  const underWay = countOlder(held.waiting);
  const newer = index.add([{ id: "newer", text: "newer" }]);
  await new Promise((resolve) => setTimeout(resolve, 100));
  held.release();
  await Promise.all([removed, older, newer]);
  const first = countOlder(held.encoded.slice(0, held.encoded.indexOf("newer")));
  assert.ok(first <= underWay, `${first} passages were encoded before the newest, and ${underWay} were under way`);
  const { passages } = (await index.get("older"))!;
  const texts = passages.map(({ start, end }) => long.slice(start, end));
  // What was under way may have been the older one's own.
  const needless = countOlder(held.encoded) - countOlder(texts);
  assert.ok(needless >= 0 && needless <= underWay, `${needless} passages were encoded for nothing`);
  assert.equal(index.size, 3);
  await index.close();
});

test("when the source fails nothing of it is added any more", async () => {
  const held = holding((text) => text.startsWith("held"));
  const index = await SearchIndex.open(newName(), { embedder: held.embedder, cache: "memory" });
  function* source() {
    for (let i = 0; i < 64; i++) yield { id: `s${i}`, text: `held ${i}` };
    throw new Error("no more");
  }
  await assert.rejects(index.add(source()), /no more/);
  held.release();
  await index.add([{ id: "other", text: "other" }]);
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.equal((await index.documents()).length, 1);
  await index.close();
});

/** A cache that fails as it is told. */
class FailingCache extends MemoryCache {
  /** So many writes do not fail. */
  puts = Infinity;
  /** And then so many do. */
  failures = Infinity;
  before = async () => {};

  override async put(key: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    await this.before();
    if (this.puts-- <= 0 && this.failures-- > 0) throw Object.assign(new Error("full"), { name: "QuotaExceededError" });
    return super.put(key, bytes);
  }
}

test("where there is no room the index is as it was", async () => {
  for (const puts of [0, 1, 2, 3, 4]) {
    const cache = new FailingCache();
    const index = await SearchIndex.open("full", { embedder, cache });
    await index.add(TEXTS.slice(0, 3));
    cache.puts = puts;
    await assert.rejects(index.add(TEXTS.slice(3)), isError("quota", /no room/));
    cache.puts = Infinity;
    const ids = async (index: SearchIndex) => (await index.documents()).map(({ id }) => id);
    assert.deepEqual(await ids(index), ["s0", "s1", "s2"]);
    assert.equal((await index.search("bread")).hits.length, 3);
    const keys = await cache.keys("");
    await index.close();
    const again = await SearchIndex.open("full", { embedder, cache });
    assert.deepEqual(await ids(again), ["s0", "s1", "s2"]);
    assert.deepEqual(await cache.keys(""), keys);
    await again.add(TEXTS.slice(3));
    assert.equal(again.size, 8);
    await again.close();
  }
});

test("where there is no room in the middle of adding, the call says so, and so does a removal that is undone", async () => {
  const documents = documentsOf(randomVectors(3000, 8));
  const cache = new FailingCache();
  const index = await SearchIndex.open("full", { cache });
  await index.add(documents.slice(0, 10));
  // One write fails; later ones do not.
  cache.puts = 60;
  cache.failures = 1;
  await assert.rejects(index.add(documents), isError("quota", /no room/));
  assert.ok(index.size < 3000, `${index.size} documents`);
  const { added, unchanged } = await index.add(documents);
  assert.equal(added + unchanged, 3000);
  const again = await SearchIndex.open("full", { cache });
  assert.equal(again.size, 3000);
  await again.close();
  // A removal comes while what was added before is being stored.
  const more = documentsOf(randomVectors(600, 8, 2)).map((document) => ({ ...document, id: `more ${document.id}` }));
  let fail!: () => void;
  let isWriting = false;
  cache.before = () => {
    isWriting = true;
    return new Promise((resolve) => (fail = resolve));
  };
  const adding = index.add(more);
  adding.catch(() => {});
  await until(() => isWriting);
  const removing = index.remove("7");
  await index.documents();
  cache.before = async () => {};
  cache.puts = 0;
  cache.failures = 1;
  fail();
  await assert.rejects(removing, isError("quota", /removed/));
  await assert.rejects(adding, isError("quota", /no room/));
  assert.equal((await index.get("7"))?.id, "7");
  assert.equal(index.size, 3000);
  await index.close();
});

test("where there is no room for the first document, the call says so", async () => {
  const cache = new FailingCache();
  const index = await SearchIndex.open("full", { embedder, cache });
  cache.puts = 0;
  await assert.rejects(index.add(TEXTS), isError("quota", /no room/));
  cache.puts = Infinity;
  assert.equal((await index.add(TEXTS)).added, 8);
  await index.close();
});

test("a document whose version before is damaged can be replaced", async () => {
  const cache = new MemoryCache();
  const index = await SearchIndex.open("i", { embedder, cache });
  await index.add(TEXTS);
  await index.close();
  for (const key of await cache.keys("")) if (key.includes(" block ")) await cache.put(key, new Uint8Array());
  const again = await SearchIndex.open("i", { embedder, cache });
  assert.equal((await again.add(TEXTS.map(({ id, text }) => ({ id, text: `${text} Again.` })))).added, 8);
  assert.equal((await again.search("bread")).hits[0]?.id, "s4");
  await again.close();
});

test("a document that cannot be taken leaves the one before, and is named", async () => {
  const index = await SearchIndex.open(newName(), { cache: "memory" });
  const deep = JSON.parse(`${'{"a":'.repeat(600)}1${"}".repeat(600)}`) as Record<string, never>;
  const wrong: [Omit<SearchDocument, "id" | "text">, RegExp][] = [
    [{ vector: [1e-16, 0] }, /"a".*its vector/],
    [{ vector: [1e39, 0] }, /"a".*its vector/],
    [{ vector: [1, 0], metadata: deep }, /"a".*its metadata/],
    [{ vector: new Float32Array(16_385).fill(1) }, /"a".*16385 dimensions/],
  ];
  // As the first document, it must not say how many dimensions there are.
  for (const [rest, pattern] of wrong) {
    await assert.rejects(index.add([{ id: "a", text: "wrong", ...rest }]), isError("invalid_input", pattern));
  }
  assert.equal(index.info.dimension, 0);
  await index.add([{ id: "a", text: "right", vector: [1, 0, 0], metadata: { n: 1 } }]);
  for (const [{ vector, metadata }, pattern] of wrong) {
    const rest = { vector: vector!.length === 2 ? [...vector!, 0] : vector!, metadata };
    await assert.rejects(
      index.add([{ id: "a", text: "wrong", ...rest } as SearchDocument]),
      isError("invalid_input", pattern),
    );
    assert.equal((await index.get("a"))?.text, "right");
  }
  assert.equal(index.size, 1);
  await index.add([{ id: "b", text: "other", vector: [0.9, 0.1, 0] }]);
  const { hits } = await index.search({ like: "a" });
  assert.deepEqual(
    hits.map(({ id }) => id),
    ["b"],
  );
  await index.close();
});

test("damage, another version and cleared storage are told", async () => {
  const cache = new MemoryCache();
  const fill = async () => {
    const index = await SearchIndex.open("i", { embedder, cache });
    await index.add(TEXTS);
    return index;
  };
  await (await fill()).close();
  const keys = await cache.keys("");
  for (const key of keys) {
    const bytes = (await cache.get(key))!;
    for (const broken of [
      bytes.slice(0, -1),
      bytes.map((byte, i) => (i === bytes.length >> 1 ? byte ^ 1 : byte)),
      new Uint8Array(),
    ]) {
      await cache.put(key, broken);
      const opened = SearchIndex.open("i", { embedder, cache });
      if (key.includes("block")) {
        const index = await opened;
        await assert.rejects(index.search("bread"), isError("integrity", /damaged/));
        await index.close();
      } else {
        await assert.rejects(opened, isError("integrity", /damaged|no index/), key);
      }
      await cache.put(key, bytes);
    }
  }
  const record = keys.find((key) => key.startsWith("index "))!;
  const bytes = (await cache.get(record))!;
  const newer = { ...JSON.parse(new TextDecoder().decode(bytes)), version: 2 };
  await cache.put(record, new TextEncoder().encode(JSON.stringify(newer)));
  await assert.rejects(SearchIndex.open("i", { embedder, cache }), isError("unsupported_model", /newer version/));
  assert.deepEqual(
    (await SearchIndex.list({ cache })).map(({ name }) => name),
    ["i"],
  );
  await cache.put(record, bytes);
  const index = await SearchIndex.open("i", { embedder, cache });
  await cache.delete("");
  await assert.rejects(index.add([{ id: "n", text: "new" }]), isError("storage", /cleared/));
  assert.equal(index.info.stored, false);
  await index.close();
});

/** Of a stored record, what is forged. */
interface StoredRecord {
  dimension: number;
  space: { dimension: number };
  probes: { vector: number[] }[];
  sequence: number;
  truncateDim?: number;
  segments: { rowsPart: string }[];
  removed?: { number: number; digest: string };
}

interface ForgedIndex {
  record: StoredRecord;
  rows: {
    documents: { id: string; from: number; metadata?: unknown; spans: [number, number, number][] }[];
    blocks: string[];
  };
  block: { texts: string[]; vectors: Float32Array<ArrayBuffer> };
  removed?: Uint8Array<ArrayBuffer>;
}

/** Lists in lists, deeper than JSON.stringify goes: it stands for "DEEP". */
const DEEP = `${"[".repeat(100_000)}${"]".repeat(100_000)}`;

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const encode = (value: object) => new TextEncoder().encode(JSON.stringify(value).replace('"DEEP"', DEEP));

/** Changes a stored index of one segment and one block, and all SHA-256 with it. */
async function forge(cache: MemoryCache, edit: (index: ForgedIndex) => void): Promise<void> {
  const keys = await cache.keys("");
  const keyOf = (kind: string) => keys.find((key) => key.includes(kind))!;
  const read = async (kind: string) => (await cache.get(keyOf(kind)))!;
  const json = async (kind: string) => JSON.parse(new TextDecoder().decode(await read(kind)));
  const { version, record } = await json("index ");
  const bytes = (await read(" block ")).slice();
  const length = new DataView(bytes.buffer).getUint32(0, true);
  const from = 4 + Math.ceil(length / 4) * 4;
  const texts = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length))) as string[];
  const rows = await json(" rows ");
  const forged: ForgedIndex = { record, rows, block: { texts, vectors: new Float32Array(bytes.slice(from).buffer) } };
  edit(forged);
  const list = encode(forged.block.texts);
  const vectorsAt = 4 + Math.ceil(list.length / 4) * 4;
  const block = new Uint8Array(vectorsAt + forged.block.vectors.byteLength);
  new DataView(block.buffer).setUint32(0, list.length, true);
  block.set(list, 4);
  block.set(new Uint8Array(forged.block.vectors.buffer), vectorsAt);
  rows.blocks = [sha256(block)];
  const part = encode(rows);
  for (const segment of record.segments) segment.rowsPart = sha256(part);
  if (forged.removed) {
    record.removed = { number: 9, digest: sha256(forged.removed) };
    await cache.put(keyOf(" block ").replace(/\d+ block \d+ \d+ /, "0 removed 9 0 "), forged.removed);
  }
  await cache.put(keyOf(" block "), block);
  await cache.put(keyOf(" rows "), part);
  await cache.put(keyOf("index "), encode({ version, sha256: sha256(encode(record)), record }));
}

const FORGERIES: [string, (index: ForgedIndex) => void][] = [
  ["a dimension that no index has", ({ record }) => (record.dimension = 20_000)],
  ["rows without a dimension", ({ record }) => (record.dimension = 0)],
  ["half the dimension", ({ record }) => (record.dimension /= 2)],
  ["a model without probes", ({ record }) => (record.probes = [])],
  ["probes of one number", ({ record }) => record.probes.forEach((probe) => (probe.vector = [1]))],
  ["a model of another dimension", ({ record }) => (record.space.dimension += 1)],
  ["a count that cannot be counted on", ({ record }) => (record.sequence = Number.MAX_SAFE_INTEGER)],
  ["vectors cut to nothing", ({ record }) => (record.truncateDim = 0)],
  ["a segment twice", ({ record }) => record.segments.push({ ...record.segments[0]! })],
  ["two documents of one id", ({ rows }) => (rows.documents[3]!.id = rows.documents[1]!.id)],
  ["a document that goes on before it begins", ({ rows }) => (rows.documents[3]!.from = 7)],
  ["a document at 2^40", ({ rows }) => (rows.documents[2]!.spans[0] = [2 ** 40, 2 ** 40 + 9, 2])],
  ["a passage that is longer than its text", ({ rows }) => (rows.documents[2]!.spans[0]![1] += 1)],
  ["passages without words that have words", ({ rows }) => rows.documents.forEach(({ spans }) => (spans[0]![2] = 0))],
  ["metadata that are too deep", ({ rows }) => (rows.documents[0]!.metadata = { deep: "DEEP" })],
  ["NaN in a vector", ({ block }) => (block.vectors[3] = Number.NaN)],
  ["another vector", ({ block }) => block.vectors.reverse()],
  ["texts in another order", ({ block }) => block.texts.reverse()],
  ["a removed row that is none", (index) => (index.removed = new Uint8Array(Uint32Array.of(99).buffer))],
  ["a list of removed rows that is cut off", (index) => (index.removed = new Uint8Array(6))],
];

test("an index whose parts have the right SHA-256 and do not fit together is refused", async () => {
  const stored = new MemoryCache();
  const index = await SearchIndex.open("i", { embedder, cache: stored });
  await index.add(TEXTS);
  const use = async (index: SearchIndex) => {
    try {
      for (const mode of ["keyword", "semantic", "hybrid"] as const) {
        const { hits } = await index.search("bread train", { topK: 20, mode });
        for (const { score } of hits) assert.ok(Number.isFinite(score), `a score is ${score}`);
      }
      for (const { id } of await index.documents()) await index.get(id);
      await index.search({ like: "s0" });
      await index.vectors();
    } finally {
      await index.close();
    }
  };
  await use(index);
  for (const [name, edit] of FORGERIES) {
    const cache = new MemoryCache();
    for (const key of await stored.keys("")) await cache.put(key, (await stored.get(key))!);
    await forge(cache, edit);
    const opened = SearchIndex.open("i", { embedder, cache });
    await assert.rejects(opened.then(use), isError("integrity", /damaged/), name);
  }
});

test("a file that cannot be opened leaves nothing behind", async () => {
  const cache = new MemoryCache();
  const index = await SearchIndex.open("i", { embedder, cache });
  await index.add(TEXTS);
  await index.close();
  await forge(cache, ({ rows }) => (rows.documents[3]!.id = rows.documents[1]!.id));
  // An archive of the parts as they are.
  const keys = await cache.keys("");
  const parts = await Promise.all(keys.map(async (key) => [key, (await cache.get(key))!] as const));
  const file = writeTar(
    parts
      .toSorted(([a], [b]) => a.localeCompare(b))
      .map(([key, bytes]) => {
        const [, kind, number, block] = / (scan|rows|terms|block) (\d+) (\d+) $/.exec(key) ?? [];
        return { path: kind ? `${kind}-${number}-${block}` : "index.json", size: bytes.length, parts: [bytes] };
      }),
  );
  const target = new MemoryCache();
  await assert.rejects(
    SearchIndex.import(file, { name: "copy", embedder, cache: target }),
    isError("integrity", /two documents have the same id|passages are missing/),
  );
  assert.deepEqual(await target.keys(""), []);
  const sound = await SearchIndex.open("sound", { embedder, cache: "memory" });
  await sound.add(TEXTS);
  const exported = await sound.export();
  await sound.close();
  const other = await Embedder.load(model("tiny-cls"), { dtype: "fp32" });
  await assert.rejects(
    SearchIndex.import(exported, { name: "copy", embedder: other, cache: target }),
    isError("model_mismatch", /./),
  );
  await other.dispose();
  assert.deepEqual(await target.keys(""), []);
  const copy = await SearchIndex.import(exported, { name: "copy", embedder, cache: target });
  await copy.close();
  await assert.rejects(
    SearchIndex.import(exported, { name: "copy", embedder, cache: target }),
    isError("invalid_input", /already/),
  );
  assert.equal((await SearchIndex.list({ cache: target })).length, 1, "the one that was there stays");
});

test("a vector of more dimensions than an index takes changes nothing", async () => {
  const index = await SearchIndex.open(newName(), { cache: "memory" });
  const long = { id: "a", text: "long", vector: new Float32Array(16_385).fill(1) };
  await assert.rejects(index.add([long]), isError("invalid_input", /16385 dimensions/));
  await index.add([{ id: "b", text: "short", vector: [1, 0] }]);
  assert.equal(index.info.dimension, 2);
  await index.close();
});

test("indexes are listed, renamed and deleted; clearing models leaves them", async () => {
  const { clearCache } = await import("embervec");
  const cache = new MemoryCache();
  const index = await SearchIndex.open("before", { embedder, cache });
  await index.add(TEXTS);
  await index.rename("after, with ü and blanks");
  await clearCache({ cache });
  const [stored, ...rest] = await SearchIndex.list({ cache });
  assert.equal(rest.length, 0);
  assert.equal(stored!.name, "after, with ü and blanks");
  assert.equal(stored!.documents, 8);
  assert.equal((await index.search("bread")).hits[0]!.scores.keyword! > 0, true);
  await index.close();
  await SearchIndex.delete("after, with ü and blanks", { cache });
  assert.deepEqual(await cache.keys(""), []);
});

test("options and documents are checked", async () => {
  const index = await SearchIndex.open(newName(), { embedder, cache: "memory" });
  await index.add(TEXTS);
  const wrong: [() => Promise<unknown>, RegExp][] = [
    [() => SearchIndex.open(""), /name/],
    [() => SearchIndex.open("x", { embeder: embedder } as never), /no option "embeder"/],
    [() => SearchIndex.open("x", { passages: { maxTokens: 20, overlap: 20 } }), /overlap/],
    [() => index.add([{ id: 1, text: "" }] as never), /documents\[0\]\.id/],
    [() => index.add([{ id: "a" }] as never), /documents\[0\]\.text/],
    [() => index.add([{ id: "a", text: "", vector: [1, 2] }]), /2 dimensions/],
    [() => index.add([{ id: "a", text: "", vector: [Number.NaN] }]), /finite/],
    [() => index.add("text" as never), /iterable/],
    [
      () => index.add([{ id: "a", text: "", metadata: { list: [{ [".".repeat(32)]: 1 }] } }]),
      /documents\[0\]\.metadata: a key has more than 32 parts/,
    ],
    [() => index.search("a", { topK: 0 }), /topK/],
    [() => index.search("a", { filter: { i: { $near: 1 } } }), /\$near/],
    [() => index.search("a", { filter: { $or: 1 } } as never), /\$or/],
    [() => index.search([1, 2]), /dimension/],
    [() => index.search({ like: "nobody" }), /nobody/],
    [() => index.search("a", { minScore: { semantics: 0.5 } as never }), /"minScore" has no option "semantics"/],
    [() => index.search("a", { minScore: { keyword: Number.NaN } }), /"keyword" must be a finite number/],
    [() => index.search({ like: "s1" }, { rerank: { rank: async () => [] } }), /"rerank" needs a text/],
    [() => index.duplicates(Number.NaN), /the threshold must be a number from -1 to 1/],
    [() => index.duplicates(0.9, { topk: 5 } as never), /duplicates has no option "topk"/],
    [() => index.duplicates(0.9, { topK: -1 }), /"topK" must be a whole number from 1/],
    [() => index.duplicates(0.9, { topK: Number.NaN }), /"topK" must be a whole number from 1/],
    [() => index.clusters({ minsize: 3 } as never), /clusters has no option "minsize"/],
    [() => index.clusters({ minSize: 0.5 }), /"minSize" must be a positive integer/],
    [() => index.vectors({ limit: -1 }), /"limit" must be a positive integer/],
    [() => index.documents({ filters: {} } as never), /documents has no option "filters"/],
    [() => index.remove({ filter: {}, isAll: true } as never), /remove has no option "isAll"/],
    [() => index.search(new Float32Array(2), { mode: "keyword" }), /needs a text/],
    [() => index.remove({ filter: { $and: [{ i: { $in: 3 } }] } }), /\$in/],
  ];
  for (const [call, pattern] of wrong) await assert.rejects(call, isError("invalid_input", pattern));
  assert.equal(index.size, 8);
  await index.close();
  await assert.rejects(index.search("a"), isError("disposed", /closed/));
});
