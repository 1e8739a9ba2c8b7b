// The plugin for Orama, with Orama.

import assert from "node:assert/strict";
import { test } from "node:test";

import {
  create,
  getByID,
  insert,
  insertMultiple,
  search,
  update,
  updateMultiple,
  upsert,
  upsertMultiple,
} from "@orama/orama";
import { Embedder } from "embervec";
import { pluginEmbervec } from "embervec/orama";

import { assertNear, EXACT, isError, shortened, tiny } from "./support.ts";

const DOCUMENTS = [
  { id: "fox", title: "the fox", meta: { body: "jumps over the river" } },
  { id: "dog", title: "the dog", meta: { body: "sleeps in the old library" } },
  { id: "rain", title: "rain", meta: { body: "falls on the moon" } },
];
const texts = DOCUMENTS.map(({ title, meta }) => `${title}\n${meta.body}`);
const fresh = () => structuredClone(DOCUMENTS);

const schema = { title: "string", meta: { body: "string" }, embedding: "vector[32]" } as const;
const properties = ["title", "meta.body"];

test("documents and searches have the model's vectors, each with its own prompt", async () => {
  const embedder = await Embedder.load(tiny("tiny-prompts"), EXACT);
  const documents = await embedder.encodeDocument(texts);
  const db = create({ schema, plugins: [pluginEmbervec({ embedder, properties })] });
  const [first, ...others] = fresh();
  await insert(db, first!);
  await insertMultiple(db, others);
  for (const [i, { id }] of DOCUMENTS.entries()) {
    const { embedding } = getByID(db, id) as unknown as { embedding: number[] };
    assert.deepEqual(embedding, Array.from(documents[i]!), id);
  }

  const term = "where is the river?";
  const query = await embedder.encodeQuery(term);
  const cosines = embedder.similarity(query, documents)[0]!;
  assert.notDeepEqual(Array.from(query), Array.from(await embedder.encode(term)), "a prompt");
  const params = { mode: "vector" as const, term, includeVectors: true, similarity: -1 };
  const { hits } = await search(db, params);
  const best = [...DOCUMENTS.keys()].sort((a, b) => normed(cosines, b) - normed(cosines, a));
  assert.deepEqual(
    hits.map(({ id }) => id),
    best.map((i) => DOCUMENTS[i]!.id),
  );
  function normed(scores: Float32Array, i: number): number {
    return scores[i]! / Math.hypot(...documents[i]!);
  }
  // The same object with another term is another search.
  const vector = (params as { vector?: { value: number[] } }).vector!.value;
  params.term = "the old library";
  await search(db, params);
  assert.notDeepEqual((params as { vector?: { value: number[] } }).vector!.value, vector);

  const hybrid = await search(db, { mode: "hybrid", term: "library", includeVectors: true });
  assert.equal(hybrid.hits[0]!.id, "dog");
  // A search for words needs no vector.
  assert.equal((await search(db, { term: "moon" })).hits[0]!.id, "rain");
  await assert.rejects(async () => search(db, { mode: "vector" }), isError("invalid_input", /needs a term/));
  await embedder.dispose();
});

test("vectors that are given are kept, and a changed document has a new one", async () => {
  const plugin = pluginEmbervec({ model: tiny("tiny-cls"), properties, ...EXACT });
  const db = create({ schema, plugins: [plugin] });
  const own = Array.from({ length: 32 }, (_, i) => i / 32);
  await insert(db, { ...fresh()[0]!, embedding: own });
  const vectorOf = (id: string) => (getByID(db, id) as unknown as { embedding?: number[] }).embedding;
  assert.deepEqual(vectorOf("fox"), own);
  await update(db, "fox", { ...fresh()[0]!, title: "another" });
  assert.notDeepEqual(vectorOf("fox"), own);
  assert.equal(vectorOf("fox")!.length, 32);
  // Nothing to embed.
  await insert(db, { id: "empty", title: "", meta: {} });
  assert.equal(vectorOf("empty"), undefined);
  await plugin.dispose();
});

test("a document with another text has another vector, with whatever object it comes", async () => {
  const embedder = await Embedder.load(tiny("tiny-cls"), EXACT);
  const db = create({ schema, plugins: [pluginEmbervec({ embedder, properties })] });
  type Stored = ReturnType<typeof fresh>[number] & { embedding?: number[] };
  const stored = (id: string) => getByID(db, id) as unknown as Stored;
  const assertOf = async (id: string) => {
    const { title, meta, embedding } = stored(id);
    const expected = await embedder.encodeDocument([title, meta.body].filter((text) => text !== "").join("\n"));
    assert.deepEqual(embedding, Array.from(expected), title);
  };
  await insertMultiple(db, fresh());
  await update(db, "fox", { ...stored("fox"), title: "a new title" });
  await assertOf("fox");
  const own = stored("fox");
  own.title = "another title";
  await update(db, "fox", own);
  await assertOf("fox");
  const { embedding } = own;
  await updateMultiple(db, ["fox", "dog"], [{ ...own }, { ...stored("dog"), meta: { body: "barks" } }]);
  await assertOf("dog");
  assert.equal(stored("fox").embedding, embedding, "the text is the same");
  await upsert(db, { ...stored("fox"), title: "upserted" });
  await assertOf("fox");
  await upsertMultiple(db, [
    { ...stored("fox"), title: "upserted again" },
    { id: "new", title: "new", meta: { body: "" } },
  ]);
  await assertOf("fox");
  await assertOf("new");
  // Without a text there is no vector, except for one's own.
  await update(db, "fox", { ...stored("fox"), title: "", meta: { body: "" } });
  assert.ok(!("embedding" in stored("fox")));
  const given = Array.from({ length: 32 }, (_, i) => i / 32);
  await update(db, "dog", { ...stored("dog"), title: "", meta: { body: "" }, embedding: given });
  assert.equal(stored("dog").embedding, given);
  // In a search, a document's vector is the caller's choice, whatever the term.
  const vector = { property: "embedding", value: stored("new").embedding! };
  await search(db, { mode: "hybrid", term: "rain", vector });
  assert.equal(vector.value, stored("new").embedding);
  // A search takes no vector from what is kept, and what it found can be updated.
  const { hits } = await search(db, { mode: "vector", term: "rain", similarity: -1 });
  await assertOf("rain");
  for (const { document } of hits) assert.ok(!("embedding" in document));
  for (const { id, document } of hits) await update(db, id, { ...document, title: `found ${id}` });
  for (const { id } of hits) await assertOf(id);
  assert.deepEqual(hits.map(({ id }) => id).sort(), ["dog", "new", "rain"]);
  await embedder.dispose();
});

test("a document stays where the model for what replaces it cannot be loaded", async () => {
  const { load } = Embedder;
  const plugin = pluginEmbervec({ model: tiny("tiny-cls"), properties, ...EXACT });
  const db = create({ schema, plugins: [plugin] });
  await insertMultiple(db, fresh());
  await plugin.dispose();
  Embedder.load = () => Promise.reject(new Error("no network"));
  const [fox, dog] = fresh().map((document) => ({ ...document, title: "changed" }));
  await assert.rejects(async () => update(db, "fox", fox!), /no network/);
  await assert.rejects(async () => updateMultiple(db, ["fox", "dog"], [fox!, dog!]), /no network/);
  await assert.rejects(async () => upsert(db, fox!), /no network/);
  await assert.rejects(async () => upsertMultiple(db, [fox!, dog!]), /no network/);
  for (const { id, title } of DOCUMENTS)
    assert.equal((getByID(db, id) as { title?: string } | undefined)?.title, title);
  Embedder.load = load;
  await update(db, "fox", fox!);
  assert.equal((getByID(db, "fox") as { title?: string }).title, "changed");
  await plugin.dispose();
});

test("prompts of one's own, for each role", async () => {
  const embedder = await Embedder.load(tiny("tiny-cls"), EXACT);
  const prompts = { query: "query: ", document: "passage: " };
  const db = create({ schema, plugins: [pluginEmbervec({ embedder, properties, prompts })] });
  await insertMultiple(db, fresh());
  const expected = await embedder.encode(`passage: ${texts[0]}`);
  assert.deepEqual((getByID(db, "fox") as unknown as { embedding: number[] }).embedding, Array.from(expected));
  const params = { mode: "vector" as const, term: "fox" };
  await search(db, params);
  const { value } = (params as { vector?: { value: number[] } }).vector!;
  assert.deepEqual(value, Array.from(await embedder.encode("query: fox")));
  await embedder.dispose();
});

test("lists of texts are read, and what holds no text is refused", async () => {
  const embedder = await Embedder.load(tiny("tiny-cls"), EXACT);
  const listed = { title: "string", tags: "string[]", size: "number", embedding: "vector[32]" } as const;
  const db = create({ schema: listed, plugins: [pluginEmbervec({ embedder, properties: ["title", "tags"] })] });
  await insert(db, { id: "fox", title: "the fox", tags: ["red", "", "quick"] });
  const expected = await embedder.encode("the fox\nred\nquick");
  assert.deepEqual((getByID(db, "fox") as unknown as { embedding: number[] }).embedding, Array.from(expected));
  const withProperty = (property: string) => () =>
    create({
      schema: { ...listed, meta: { body: "string" } },
      plugins: [pluginEmbervec({ embedder, properties: [property] })],
    });
  assert.throws(withProperty("titel"), isError("invalid_input", /"titel" is not in the schema/));
  assert.throws(withProperty("meta.bodi"), isError("invalid_input", /"meta\.bodi" is not in the schema/));
  assert.throws(withProperty("size"), isError("invalid_input", /"size" holds no text.*number/));
  assert.throws(withProperty("meta"), isError("invalid_input", /"meta" holds no text/));
  withProperty("meta.body")();
  await embedder.dispose();
});

test("many documents are embedded in one call", async () => {
  const embedder = await Embedder.load(tiny("tiny-cls"), EXACT);
  let calls = 0;
  const encodeDocument = embedder.encodeDocument.bind(embedder);
  embedder.encodeDocument = ((...args: Parameters<typeof encodeDocument>) => {
    calls += 1;
    return encodeDocument(...args);
  }) as typeof embedder.encodeDocument;
  const plugin = pluginEmbervec({ embedder, properties });
  const db = create({ schema, plugins: [plugin] });
  const documents = fresh();
  await plugin.embed(documents);
  await insertMultiple(db, documents);
  assert.equal(calls, 1);
  const abort = new AbortController();
  abort.abort(new Error("not wanted any more"));
  await assert.rejects(plugin.embed(fresh(), { signal: abort.signal }), /not wanted any more/);
  await embedder.dispose();
});

test("dimensions are kept and scaled, and a schema that does not fit is named", async () => {
  const embedder = await Embedder.load(tiny("tiny-cls"), EXACT);
  const small = create({
    schema: { ...schema, embedding: "vector[8]" },
    plugins: [pluginEmbervec({ embedder, properties, dimensions: 8 })],
  });
  await insertMultiple(small, fresh());
  const [whole] = await embedder.encodeDocument([texts[0]!]);
  const { embedding } = getByID(small, "fox") as unknown as { embedding: number[] };
  assertNear(embedding, shortened(whole!, 8), "fox");

  const wrong = create({
    schema: { ...schema, embedding: "vector[512]" },
    plugins: [pluginEmbervec({ embedder, properties })],
  });
  await assert.rejects(async () => insert(wrong, fresh()[0]!), isError("invalid_input", /vector\[512\].*vector\[32\]/));
  const nested = create({
    schema: { title: "string", vectors: { text: "vector[32]" } } as const,
    plugins: [pluginEmbervec({ embedder, properties: ["title"], vectorProperty: "vectors.text" })],
  });
  await insert(nested, { id: "fox", title: "the fox" });
  const { hits } = await search(nested, { mode: "vector", term: "the fox", similarity: 0.99 });
  assert.deepEqual(
    hits.map(({ id }) => id),
    ["fox"],
  );
  assert.throws(() => pluginEmbervec({ embedder, properties: [] }), isError("invalid_input", /properties/));
  await embedder.dispose();
});
