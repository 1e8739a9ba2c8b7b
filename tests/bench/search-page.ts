// What runs in a page of the benchmark's part `search`: one index behind the same few calls.

import { corpus, DIMENSION, queries } from "./search-data.ts";

export type IndexName =
  | "embervec"
  | "embervec, scan"
  | "loop"
  | "orama"
  | "voy"
  | "hnswlib-wasm"
  | "hnswlib-wasm, efSearch"
  | "edgevec";

export interface Built {
  /** ms for adding all vectors, and for storing them where that is a step of its own. */
  build: number;
  /** Why it was not built. */
  problem?: string;
  /** Bytes of what is stored. */
  bytes?: number;
  /** Why it was not stored. */
  unstored?: string;
}

export interface Found {
  /** ms of each search. */
  samples: number[];
  /** Of the same searches, what the index itself says. */
  own: number[];
  /** Row numbers, best first. */
  rows: number[][];
  /** Rows that a scan leaves to be scored again. */
  candidates: number[];
}

export interface Latency {
  total: number;
  encode: number;
  search: number;
}

interface Answer {
  rows: number[];
  own?: number;
  candidates?: number;
}

interface Index {
  /** Vectors of the rows from `first` on. */
  add(first: number, vectors: Float32Array<ArrayBuffer>): Promise<void>;
  /** @returns bytes of what is stored; `undefined` for what is not meant to be */
  store(): Promise<number | undefined>;
  search(query: Float32Array, topK: number): Promise<Answer>;
}

interface Engine {
  create(rows: number): Promise<Index>;
  open(rows: number): Promise<Index>;
}

const vectorOf = (vectors: Float32Array, i: number): Float32Array =>
  vectors.subarray(i * DIMENSION, (i + 1) * DIMENSION);
const countOf = (vectors: Float32Array): number => vectors.length / DIMENSION;

// --- a place for those that have none of their own -----------------------------------------------------------------

function settled<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

async function database(): Promise<IDBDatabase> {
  const request = indexedDB.open("indexes");
  request.onupgradeneeded = () => request.result.createObjectStore("files");
  return settled(request);
}

async function keep(name: string, file: Blob): Promise<number> {
  const transaction = (await database()).transaction("files", "readwrite");
  transaction.objectStore("files").put(file, name);
  await new Promise((resolve, reject) => {
    transaction.oncomplete = resolve;
    transaction.onabort = () => reject(transaction.error);
  });
  return file.size;
}

async function kept(name: string): Promise<Blob> {
  return settled((await database()).transaction("files").objectStore("files").get(name));
}

// --- embervec ------------------------------------------------------------------------------------------------------

/** The part of `embervec/search` that is used; imported by its address, as a page without a bundler does. */
interface EmbervecIndex {
  info: { passages: number };
  add(documents: { id: string; text: string; vector?: Float32Array }[]): Promise<unknown>;
  search(
    query: string | Float32Array,
    options?: { topK: number },
  ): Promise<{ hits: { id: string }[]; searchMs: number; encodeMs: number }>;
  export(): Promise<Blob>;
  close(): Promise<void>;
}

interface Embervec {
  SearchIndex: {
    open(name: string, options?: { embedder?: unknown }): Promise<EmbervecIndex>;
    fetch(url: string): Promise<EmbervecIndex>;
    delete(name: string): Promise<void>;
  };
}

async function embervec(): Promise<Embervec["SearchIndex"]> {
  const address = "/pkg/dist/search.js";
  const { SearchIndex }: Embervec = await import(address);
  return SearchIndex;
}

async function openEmbervec(rows: number): Promise<Index> {
  const index = await (await embervec()).open(`${rows} rows`);
  return {
    add: async (first, vectors) => {
      const documents = Array.from({ length: countOf(vectors) }, (_, i) => ({
        id: String(first + i),
        text: `passage ${first + i}`,
        vector: vectorOf(vectors, i),
      }));
      await index.add(documents);
    },
    store: async () => (await index.export()).size,
    search: async (query, topK) => {
      const { hits, searchMs } = await index.search(query, { topK });
      return { rows: hits.map(({ id }) => Number(id)), own: searchMs };
    },
  };
}

interface Scan {
  default(options: { module_or_path: string }): Promise<unknown>;
  SearchEngine: new (
    dimension: number,
    similarity: string,
  ) => {
    quantize(vectors: Float32Array): Uint8Array;
    append(scan: Uint8Array, metadata: string): number;
    search(query: Float32Array, topK: number): { rows: Uint32Array };
  };
}

/** Its wasm module on the page's own thread: without a worker, stored vectors and texts. */
const scan: Engine = {
  create: async () => {
    const address = "/pkg/wasm/search/embervec.js";
    const { default: init, SearchEngine }: Scan = await import(address);
    await init({ module_or_path: "/pkg/dist/embervec-search.wasm" });
    const engine = new SearchEngine(DIMENSION, "cosine");
    return {
      add: async (_, vectors) => {
        engine.append(engine.quantize(vectors), JSON.stringify(Array(countOf(vectors)).fill(null)));
      },
      store: async () => undefined,
      search: async (query, topK) => {
        const { rows } = engine.search(query, topK);
        return { rows: [...rows], candidates: rows.length };
      },
    };
  },
  open: () => Promise.reject(new Error("it is not stored")),
};

// --- the others ----------------------------------------------------------------------------------------------------

function loop(rows: Float32Array[]): Index {
  return {
    add: async (_, vectors) => {
      for (let i = 0; i < countOf(vectors); i++) rows.push(vectorOf(vectors, i));
    },
    store: () => keep(`loop, ${rows.length}`, new Blob(rows as Float32Array<ArrayBuffer>[])),
    search: async (query, topK) => {
      const scores = rows.map((vector, row) => {
        let score = 0;
        for (let i = 0; i < query.length; i++) score += query[i]! * vector[i]!;
        return { row, score };
      });
      const best = scores.sort((a, b) => b.score - a.score).slice(0, topK);
      return { rows: best.map(({ row }) => row) };
    },
  };
}

async function openLoop(rows: number): Promise<Index> {
  const all = new Float32Array(await (await kept(`loop, ${rows}`)).arrayBuffer());
  return loop(Array.from({ length: rows }, (_, i) => vectorOf(all, i)));
}

interface Orama {
  create(options: { schema: object }): unknown;
  insertMultiple(database: unknown, documents: object[]): unknown;
  save(database: unknown): unknown;
  load(database: unknown, saved: unknown): void;
  search(database: unknown, options: object): { hits: { id: string }[] } | Promise<{ hits: { id: string }[] }>;
}

async function orama(rows: number): Promise<Index & { load(saved: unknown): void }> {
  const address = "/target/bench/orama.js";
  const { create, insertMultiple, load, save, search }: Orama = await import(address);
  const database = create({ schema: { vector: `vector[${DIMENSION}]` } });
  return {
    add: async (first, vectors) => {
      // It takes arrays only.
      const documents = Array.from({ length: countOf(vectors) }, (_, i) => ({
        id: String(first + i),
        vector: [...vectorOf(vectors, i)],
      }));
      await insertMultiple(database, documents);
    },
    store: () => keep(`orama, ${rows}`, new Blob([JSON.stringify(save(database))])),
    search: async (query, topK) => {
      const vector = { value: query, property: "vector" };
      const { hits } = await search(database, { mode: "vector", vector, similarity: 0, limit: topK });
      return { rows: hits.map(({ id }) => Number(id)) };
    },
    load: (saved) => load(database, saved),
  };
}

async function openOrama(rows: number): Promise<Index> {
  const index = await orama(rows);
  index.load(JSON.parse(await (await kept(`orama, ${rows}`)).text()));
  return index;
}

interface VoyIndex {
  add(resource: { embeddings: object[] }): void;
  search(query: Float32Array, topK: number): { neighbors: { id: string }[] };
  serialize(): string;
}

interface Voy {
  __wbg_set_wasm(exports: WebAssembly.Exports): void;
  Voy: { new (resource?: object): VoyIndex; deserialize(serialized: string): VoyIndex };
}

/** It is made for bundlers that import wasm as a module; this does what they do. */
async function startVoy(): Promise<Voy["Voy"]> {
  const address = "/target/bench/voy.js";
  const glue: Voy = await import(address);
  const wasm = fetch("/tests/bench/node_modules/voy-search/voy_search_bg.wasm");
  const imports = { "./voy_search_bg.js": glue as unknown as WebAssembly.ModuleImports };
  const { instance } = await WebAssembly.instantiateStreaming(wasm, imports);
  glue.__wbg_set_wasm(instance.exports);
  return glue.Voy;
}

function voy(index: VoyIndex, rows: number): Index {
  return {
    add: async (first, vectors) => {
      const embeddings = Array.from({ length: countOf(vectors) }, (_, i) => ({
        id: String(first + i),
        title: "",
        url: "",
        embeddings: [...vectorOf(vectors, i)],
      }));
      index.add({ embeddings });
    },
    store: () => keep(`voy, ${rows}`, new Blob([index.serialize()])),
    search: async (query, topK) => ({ rows: index.search(query, topK).neighbors.map(({ id }) => Number(id)) }),
  };
}

interface Hnswlib {
  loadHnswlib(): Promise<{
    EmscriptenFileSystemManager: { syncFS(fromStorage: boolean, done: () => void): void };
    HierarchicalNSW: new (space: string, dimension: number, file: string) => HnswIndex;
  }>;
  defaultParams: { initIndex: [m: number, efConstruction: number, seed: number] };
  hnswParamsForAda: { efSearch: number };
}

interface HnswIndex {
  initIndex(most: number, m: number, efConstruction: number, seed: number): void;
  setEfSearch(value: number): void;
  addPoints(vectors: Float32Array[], labels: number[], replaceDeleted: boolean): void;
  searchKnn(query: Float32Array, topK: number, filter: undefined): { neighbors: number[] };
  writeIndex(file: string): Promise<boolean>;
  readIndex(file: string, most: number): Promise<boolean>;
}

async function hnswlib(rows: number, isStored: boolean, isTuned: boolean): Promise<Index> {
  const address = "/target/bench/hnswlib.js";
  const { loadHnswlib, defaultParams, hnswParamsForAda }: Hnswlib = await import(address);
  const library = await loadHnswlib();
  const sync = (fromStorage: boolean) =>
    new Promise<void>((done) => library.EmscriptenFileSystemManager.syncFS(fromStorage, done));
  const file = `${rows}.dat`;
  const index = new library.HierarchicalNSW("cosine", DIMENSION, "");
  if (isStored) {
    await sync(true);
    await index.readIndex(file, rows);
  } else {
    index.initIndex(rows, ...defaultParams.initIndex);
  }
  if (isTuned) index.setEfSearch(hnswParamsForAda.efSearch);
  return {
    add: async (first, vectors) => {
      const labels = Array.from({ length: countOf(vectors) }, (_, i) => first + i);
      index.addPoints(
        labels.map((_, i) => vectorOf(vectors, i)),
        labels,
        false,
      );
    },
    store: async () => {
      await index.writeIndex(file);
      await sync(false);
      return storedBytes("/hnswlib-index", "FILE_DATA");
    },
    search: async (query, topK) => ({ rows: index.searchKnn(query, topK, undefined).neighbors }),
  };
}

interface EdgeVecModule {
  default(options: { module_or_path: string }): Promise<unknown>;
  EdgeVecConfig: new (dimension: number) => object;
  EdgeVec: { new (config: object): EdgeVecIndex; load(name: string): Promise<EdgeVecIndex> };
}

interface EdgeVecIndex {
  insert(vector: Float32Array): number;
  search(query: Float32Array, topK: number): { id: number }[];
  save(name: string): Promise<void>;
}

async function startEdgevec(): Promise<EdgeVecModule> {
  const address = "/target/bench/edgevec.js";
  const edgevec: EdgeVecModule = await import(address);
  await edgevec.default({ module_or_path: "/tests/bench/node_modules/edgevec/edgevec_bg.wasm" });
  return edgevec;
}

function edgevec(index: EdgeVecIndex, name: string): Index {
  return {
    add: async (_, vectors) => {
      // `insertBatch` of 0.9.0 loses the first vector of each batch.
      for (let i = 0; i < countOf(vectors); i++) index.insert(vectorOf(vectors, i));
    },
    store: async () => {
      await index.save(name);
      return storedBytes("EdgeVecDB", "files", name);
    },
    // Its ids begin with 1.
    search: async (query, topK) => ({ rows: index.search(query, topK).map(({ id }) => id - 1) }),
  };
}

/** Its flat index takes binary vectors only. */
const edgevecEngine: Engine = {
  create: async (rows) => {
    const { EdgeVec, EdgeVecConfig } = await startEdgevec();
    // By Euclidean distance, its default, which orders unit vectors as the cosine does: with "cosine", 0.9.0 gives the farthest ones.
    return edgevec(new EdgeVec(new EdgeVecConfig(DIMENSION)), `${rows} rows`);
  },
  open: async (rows) => {
    const name = `${rows} rows`;
    return edgevec(await (await startEdgevec()).EdgeVec.load(name), name);
  },
};

/** What a library has put into its own database. */
async function storedBytes(database: string, store: string, key?: string): Promise<number> {
  const opened = await settled(indexedDB.open(database));
  const objects = opened.transaction(store).objectStore(store);
  const values: unknown[] = await settled(key === undefined ? objects.getAll() : objects.getAll(key));
  opened.close();
  const bytesOf = (value: unknown): number => {
    const { byteLength, contents } = Object(value) as { byteLength?: number; contents?: unknown };
    return byteLength ?? (contents === undefined ? 0 : bytesOf(contents));
  };
  return values.reduce((sum: number, value) => sum + bytesOf(value), 0);
}

const ENGINES: Record<IndexName, Engine> = {
  embervec: { create: openEmbervec, open: openEmbervec },
  "embervec, scan": scan,
  loop: { create: async () => loop([]), open: openLoop },
  orama: { create: orama, open: openOrama },
  voy: {
    create: async (rows) => voy(new (await startVoy())({ embeddings: [] }), rows),
    open: async (rows) => {
      const Voy = await startVoy();
      return voy(Voy.deserialize(await (await kept(`voy, ${rows}`)).text()), rows);
    },
  },
  "hnswlib-wasm": {
    create: (rows) => hnswlib(rows, false, false),
    open: (rows) => hnswlib(rows, true, false),
  },
  "hnswlib-wasm, efSearch": {
    create: (rows) => hnswlib(rows, false, true),
    open: (rows) => hnswlib(rows, true, true),
  },
  edgevec: edgevecEngine,
};

/** So many are added at once, and the time is looked at in between. */
const GROUP = 1000;

let index: Index;

/** Some throw objects of their own. */
const messageOf = (error: unknown): string => String(Object(error).message ?? error).split("\n")[0]!;

/** Builds an index of so many rows and stores it. Making the vectors is not in the time. */
async function build(name: IndexName, rows: number, limit: number): Promise<Built> {
  index = await ENGINES[name].create(rows);
  const next = corpus();
  let build = 0;
  const clocked = async <T>(action: () => Promise<T>): Promise<T> => {
    const start = performance.now();
    try {
      return await action();
    } finally {
      build += performance.now() - start;
    }
  };
  try {
    for (let row = 0; row < rows; row += GROUP) {
      const vectors = next(Math.min(GROUP, rows - row));
      await clocked(() => index.add(row, vectors));
      if (build > limit && row + GROUP < rows)
        return { build, problem: `not built: ${row + GROUP} rows after ${Math.round(build / 1000)} s` };
    }
  } catch (error) {
    return { build, problem: `not built: ${messageOf(error)}` };
  }
  try {
    const bytes = await clocked(() => index.store());
    return { build, ...(bytes !== undefined && { bytes }) };
  } catch (error) {
    return { build, unstored: messageOf(error) };
  }
}

/** @returns ms from nothing, the library's own code included, until a stored index is open; or why it is not */
async function open(name: IndexName, rows: number): Promise<number | string> {
  const start = performance.now();
  try {
    index = await ENGINES[name].open(rows);
    return performance.now() - start;
  } catch (error) {
    return messageOf(error);
  }
}

/** Warms up for some ms with other queries, then makes as many of the searches as there is time for. */
async function searches(count: number, topK: number, warmUp: number, limit: number): Promise<Found> {
  const all = queries(2 * count);
  const others = all.splice(count);
  const clock = (ms: number) => {
    const end = performance.now() + ms;
    return () => performance.now() < end;
  };
  for (let i = 0, isTime = clock(warmUp); i === 0 || isTime(); i++) await index.search(others[i % count]!, topK);
  const found: Found = { samples: [], own: [], rows: [], candidates: [] };
  const isTime = clock(limit);
  for (const query of all) {
    if (found.rows.length > 0 && !isTime()) break;
    const start = performance.now();
    const { rows, own, candidates } = await index.search(query, topK);
    found.samples.push(performance.now() - start);
    found.rows.push(rows.slice(0, topK));
    if (own !== undefined) found.own.push(own);
    if (candidates !== undefined) found.candidates.push(candidates);
  }
  return found;
}

// --- a folder of a server, and texts -------------------------------------------------------------------------------

let folder: EmbervecIndex;

/** @returns ms until it can be searched */
async function fetchFolder(url: string): Promise<number> {
  const start = performance.now();
  folder = await (await embervec()).fetch(url);
  return performance.now() - start;
}

/** @returns ms of each of some searches by a vector or a word */
async function searchFolder(query: string | number): Promise<{ ms: number; hits: number }> {
  const vector = typeof query === "number" ? queries(query + 1)[query]! : query;
  const start = performance.now();
  const { hits } = await folder.search(vector, { topK: 10 });
  return { ms: performance.now() - start, hits: hits.length };
}

/** Of the package. */
interface Package {
  Embedder: {
    load(
      model: string,
      options: object,
    ): Promise<{ info: { workers: number }; encode(texts: string[]): Promise<Float32Array[]> }>;
  };
}

let embedder: Awaited<ReturnType<Package["Embedder"]["load"]>>;

async function loadEmbedder(model: string, workers: number): Promise<void> {
  const address = "/pkg/dist/index.js";
  const { Embedder }: Package = await import(address);
  embedder = await Embedder.load(model, { device: "cpu", dtype: "q8", ...(workers > 1 && { workers }) });
  if (embedder.info.workers !== workers) throw new Error(`got ${embedder.info.workers} worker(s)`);
}

/**
 * Adds texts to a new index, and searches it all the while, `pause` ms after each answer; for a pause of `Infinity` only after the
 * last text.
 */
async function addTexts(
  name: string,
  texts: string[],
  query: string,
  pause: number,
): Promise<{ ms: number; beside: Latency[]; after: Latency[] }> {
  const SearchIndex = await embervec();
  const index = await SearchIndex.open(name, { embedder });
  const ask = async (): Promise<Latency> => {
    const start = performance.now();
    const { encodeMs, searchMs } = await index.search(query, { topK: 10 });
    return { total: performance.now() - start, encode: encodeMs, search: searchMs };
  };
  const start = performance.now();
  let ms = 0;
  const adding = index.add(texts.map((text, i) => ({ id: String(i), text }))).then(() => {
    ms = performance.now() - start;
  });
  const beside: Latency[] = [];
  for (;;) {
    const wait = new Promise((resolve) => pause < Infinity && setTimeout(resolve, pause));
    await Promise.race([wait, adding]);
    if (ms > 0) break;
    beside.push(await ask());
  }
  const after: Latency[] = [];
  for (let i = 0; i < 20; i++) after.push(await ask());
  const { passages } = index.info;
  await index.close();
  await SearchIndex.delete(name);
  if (passages !== texts.length) throw new Error(`${texts.length} texts became ${passages} passages`);
  return { ms, beside, after };
}

const api = { build, open, searches, fetchFolder, searchFolder, loadEmbedder, addTexts };
export type SearchBench = typeof api;

declare global {
  var searchBench: SearchBench;
}
globalThis.searchBench = api;
