// The page's side of an index.

import { sendCache, transferOf } from "../cache/port.js";
import { describe } from "../check.js";
import { EmbervecError } from "../errors.js";
import type { Embedder } from "../index.js";
import { folderUrl, scriptUrl } from "../model/source.js";
import { CACHE, addressOf, pageUrl } from "../platform/web.js";
import { searchWorkerScript } from "../platform/web-search.js";
import { serve } from "../port.js";
import { settled } from "../settle.js";
import { WorkerClient } from "../worker/client.js";
import {
  checkAddOptions,
  checkClusterOptions,
  checkManageOptions,
  checkDocument,
  checkDuplicates,
  checkFetchOptions,
  checkFilter,
  checkFilterOptions,
  checkName,
  checkOpenOptions,
  checkSearchOptions,
  checkVectorsOptions,
} from "./options.js";
import type { FetchRequest, OpenRequest, SearchCalls } from "./protocol.js";
import type { Query } from "./query.js";
import { sentEmbedder, serviceOf } from "./service.js";
import type {
  AddOptions,
  AddResult,
  Duplicate,
  FetchOptions,
  Filter,
  IndexInfo,
  OpenOptions,
  PassagePlace,
  PassageVectors,
  SearchDocument,
  SearchHit,
  SearchMode,
  SearchOptions,
  SearchQuery,
  SearchResult,
  SearchScripts,
  StoredDocument,
  StoredIndex,
} from "./types.js";

/** Documents go to the worker in groups, so that no message is large. */
const GROUP_DOCUMENTS = 64;
const GROUP_CHARACTERS = 200_000;

const DEFAULT_HITS = 10;

/** Milliseconds after an abort in which what was done is stored: the answer does not wait any longer. */
const STORING_MS = 500;

/** What a reranker sees, unless the caller says. */
const RERANKED = 5;
const MOST_RERANKED = 50;

/** sentence-transformers' default of `community_detection`. */
const CLUSTER_THRESHOLD = 0.75;
const CLUSTER_SIZE = 10;

/** Of normalised vectors of sentences: nearly the same words. */
const DUPLICATE_THRESHOLD = 0.9;
const MOST_DUPLICATES = 10_000;

/** The events of a {@link SearchIndex}. */
export interface SearchIndexEventMap {
  /** `info` has changed: documents came or went, here or in another tab. */
  change: Event;
}

type Listener = ((event: Event) => void) | { handleEvent(event: Event): void } | null;

type Client = WorkerClient<SearchCalls>;

/** How an index was opened, to open it again. */
type Opening =
  | { kind: "stored"; name: string; options: OpenOptions; file: Blob | undefined }
  | { kind: "folder"; url: string; options: FetchOptions };

/** An index of texts, searched by meaning and by words. See {@link SearchIndex.open}. */
export class SearchIndex extends EventTarget {
  #client: Client;
  #info: IndexInfo;
  #embedder: Embedder | undefined;
  #opening: Opening;
  #restarting: Promise<void> | undefined;
  readonly #end = new AbortController();

  private constructor(
    client: Client,
    info: IndexInfo,
    opening: Opening,
    /** All that it has been given. */
    private readonly embedders: Embedder[],
  ) {
    super();
    this.#client = client;
    this.#info = Object.freeze(info);
    this.#opening = opening;
    this.#embedder = embedders[0];
  }

  /**
   * Opens an index by its name, or makes an empty one. It is kept in the browser's storage, and several tabs may use it at once.
   *
   * @throws {EmbervecError} `model_mismatch` for an index of another model, `integrity` for one that is damaged
   */
  static async open(name: string, options: OpenOptions = {}): Promise<SearchIndex> {
    checkName("SearchIndex.open", name);
    checkOpenOptions("SearchIndex.open", options);
    return SearchIndex.#open({ kind: "stored", name, options, file: undefined }, options);
  }

  /**
   * Opens an index that lies in a folder of a web server and was made natively. It is read-only. Its vectors are read at once (a byte for
   * each dimension), its texts as they are shown. The server should answer requests with `Range`.
   *
   * @throws {EmbervecError} `index_not_found` if there is none, `model_mismatch` for another model than the embedder's
   */
  static async fetch(url: string | URL, options: FetchOptions = {}): Promise<SearchIndex> {
    checkFetchOptions(options);
    if (typeof url !== "string" && !(url instanceof URL))
      throw new EmbervecError("invalid_input", `SearchIndex.fetch takes an address, not ${describe(url)}`);
    const folder = folderUrl(typeof url === "string" ? addressOf(url) : url, pageUrl());
    return SearchIndex.#open({ kind: "folder", url: folder, options }, options);
  }

  /**
   * Stores an index from {@link SearchIndex.export} under a name that no other has, and opens it.
   *
   * @throws {EmbervecError} `integrity` for a file that is none, or is damaged
   */
  static async import(file: Blob, options: OpenOptions & { name: string }): Promise<SearchIndex> {
    const { name, ...rest } = Object(options) as OpenOptions & { name: string };
    checkName("SearchIndex.import", name);
    checkOpenOptions("SearchIndex.import", rest);
    if (!(file instanceof Blob))
      throw new EmbervecError("invalid_input", `SearchIndex.import takes a Blob or a File, not ${describe(file)}`);
    return SearchIndex.#open({ kind: "stored", name, options: rest, file }, rest);
  }

  /** The indexes in the cache. */
  static async list(options: Pick<OpenOptions, "cache"> & SearchScripts = {}): Promise<StoredIndex[]> {
    checkManageOptions("SearchIndex.list", options);
    return SearchIndex.#manage("list", {}, options) as Promise<StoredIndex[]>;
  }

  /**
   * Deletes an index of the cache, also one that is damaged.
   *
   * @param which its name; or the address of a folder, as a `URL`, for what {@link SearchIndex.fetch} has kept of it
   */
  static async delete(which: string | URL, options: Pick<OpenOptions, "cache"> & SearchScripts = {}): Promise<void> {
    if (!(which instanceof URL)) checkName("SearchIndex.delete", which);
    checkManageOptions("SearchIndex.delete", options);
    const request = which instanceof URL ? { url: folderUrl(which, pageUrl()) } : { name: which };
    await SearchIndex.#manage("delete", request, options);
  }

  static async #manage(
    type: "list" | "delete",
    request: object,
    options: Pick<OpenOptions, "cache"> & SearchScripts,
  ): Promise<unknown> {
    const client = startWorker(options);
    try {
      const cache = sendCache(options.cache ?? CACHE);
      return await client.request(type, { ...request, cache } as never, { transfer: transferOf(cache) });
    } finally {
      client.terminate(new EmbervecError("disposed", "it has answered"));
    }
  }

  static async #open(opening: Opening, options: OpenOptions | FetchOptions): Promise<SearchIndex> {
    const { embedder, signal } = options;
    signal?.throwIfAborted();
    let index: SearchIndex | undefined;
    const embedders: Embedder[] = [];
    const onChange = (info: IndexInfo) => void (index && index.#update(info));
    const { client, info } = await start(opening, { embedder, embedders, onChange, signal });
    // What is stored is opened again as it is there, and not from the file once more.
    const isImported = opening.kind === "stored" && info.stored;
    index = new SearchIndex(client, info, isImported ? { ...opening, file: undefined } : opening, embedders);
    return index;
  }

  /** What the index is. It is frozen; the event `change` says that it was replaced. */
  get info(): IndexInfo {
    return this.#info;
  }

  /** Number of documents. */
  get size(): number {
    return this.#info.documents;
  }

  override addEventListener(
    type: keyof SearchIndexEventMap,
    listener: Listener,
    options?: Parameters<EventTarget["addEventListener"]>[2],
  ): void {
    super.addEventListener(type, listener as never, options);
  }

  override removeEventListener(
    type: keyof SearchIndexEventMap,
    listener: Listener,
    options?: Parameters<EventTarget["removeEventListener"]>[2],
  ): void {
    super.removeEventListener(type, listener as never, options);
  }

  /**
   * Gives an index that was opened without an embedder one, or another one.
   *
   * @throws {EmbervecError} `model_mismatch` if the index's vectors are of another model
   */
  async attach(embedder: Embedder): Promise<void> {
    checkOpenOptions("attach", { embedder });
    const info = await this.#request("attach", await sentEmbedder(embedder, this.embedders));
    // Not before: until then queries and documents are those of the one before.
    this.#embedder = embedder;
    this.#update(info);
  }

  /**
   * Adds documents, or replaces those with the same ids. A document that is there already, word for word, costs nothing, and of one that
   * has changed only the passages that changed are encoded. What is added can be found as soon as it is encoded; when the call resolves,
   * all of it is stored. The newest of several calls goes first.
   *
   * @throws {EmbervecError} `quota` if there is no room: then the index is as it was stored last
   */
  async add(
    documents: Iterable<SearchDocument> | AsyncIterable<SearchDocument>,
    options: AddOptions = {},
  ): Promise<AddResult> {
    checkAddOptions(options);
    const { signal, progress } = options;
    signal?.throwIfAborted();
    if (
      !(Symbol.iterator in Object(documents) || Symbol.asyncIterator in Object(documents)) ||
      typeof documents === "string"
    )
      throw new EmbervecError("invalid_input", "add takes an array or another iterable of documents");
    const totalDocuments = Array.isArray(documents) ? documents.length : 0;
    const isLive = Symbol.asyncIterator in Object(documents);
    const job = await this.#request("beginAdd", { totalDocuments, isLive });
    const underWay: Promise<unknown>[] = [];
    let problem: { error: unknown } | undefined;
    try {
      for await (const group of groupsOf(documents, signal)) {
        signal?.throwIfAborted();
        const adding = this.#request("add", { job, documents: group }, { signal, progress: progress as never });
        // Whoever awaits it sees the error.
        adding.catch(() => {});
        underWay.push(adding);
        // One is split while the other is encoded.
        if (underWay.length > 1) await underWay.shift();
      }
      for (const adding of underWay) await adding;
    } catch (error) {
      problem = { error };
    }
    // What was done is stored, also where the rest was not.
    const ended = this.#endAdd(job);
    if (!problem) return ended;
    await settled("", () => ended, signal?.aborted ? { ms: STORING_MS } : {}).catch(() => {});
    throw problem.error;
  }

  async #endAdd(job: number): Promise<AddResult> {
    try {
      const { result, info } = await this.#request("endAdd", { job });
      this.#update(info);
      return result;
    } catch (error) {
      // It may not be what it was.
      if (this.#client.alive) this.#update(await this.#request("info", null));
      throw error;
    }
  }

  /** The documents' passages that are nearest to a text in meaning, in words, or in both. */
  async search(query: SearchQuery, options: SearchOptions = {}): Promise<SearchResult> {
    checkSearchOptions(options);
    const { topK = DEFAULT_HITS, filter, groupBy, context = 0, liked = [], disliked = [], rerank, signal } = options;
    const text = typeof query === "string" ? query : undefined;
    const like = likeOf(query);
    const own = text === undefined && like === undefined ? vectorOf(query) : undefined;
    const mode = this.#modeOf(options.mode, text !== undefined);
    if (rerank && text === undefined)
      throw new EmbervecError("invalid_input", 'search: option "rerank" needs a text to rank for; a vector has none');
    const wanted = rerank ? Math.max(topK, options.rerankTop ?? Math.min(RERANKED * topK, MOST_RERANKED)) : topK;
    signal?.throwIfAborted();
    const begun = performance.now();
    const encoded = text !== undefined && mode !== "keyword" ? await this.#encodeQuery(text, options) : undefined;
    const encodeMs = performance.now() - begun;
    const request: Query = {
      mode,
      text,
      vector: encoded?.vector ?? own,
      like,
      liked,
      disliked,
      topK: wanted,
      filter: filter && checkFilter("search", filter),
      groupBy,
      context,
    };
    const found = await this.#request("search", request, { signal });
    const ranked = rerank && text !== undefined ? await reranked(rerank, text, found.hits, signal) : found.hits;
    const best = ranked.slice(0, topK);
    const hits = best.filter((hit) => isAbove(hit, options.minScore));
    return {
      ...found,
      hits,
      hidden: best.length - hits.length,
      mode,
      truncated: encoded?.truncated ?? false,
      encodeMs,
    };
  }

  /** A document, with its whole text. */
  async get(id: string): Promise<StoredDocument | undefined> {
    return this.#request("get", { id: checkId("get", id) });
  }

  /** The documents, without their texts. */
  async documents(options: { filter?: Filter } = {}): Promise<Pick<StoredDocument, "id" | "metadata" | "passages">[]> {
    checkFilterOptions("documents", options);
    const { filter } = options;
    return this.#request("documents", { filter: filter && checkFilter("documents", filter) });
  }

  /**
   * Vectors of passages, for a map of the documents. Those of an index from {@link SearchIndex.fetch} are what its
   * 8 bits hold, so that no row needs a request.
   *
   * @param options `limit`: the most; of more an even sample. Default 5,000
   */
  async vectors(options: { limit?: number } = {}): Promise<PassageVectors> {
    checkVectorsOptions(options);
    const { places, vectors, dimension } = await this.#request("vectors", { limit: options.limit ?? 5000 });
    return { places, vectors: places.map((_, i) => vectors.subarray(i * dimension, (i + 1) * dimension)) };
  }

  /**
   * Removes documents by their ids, or those that match a filter. Those that are just being added are not added on.
   *
   * @returns how many were there
   */
  async remove(which: string | readonly string[] | { filter: Filter }): Promise<number> {
    const ids = typeof which === "string" ? [which] : Array.isArray(which) ? which : undefined;
    if (!ids) checkFilterOptions("remove", Object(which));
    const request = ids
      ? { ids: ids.map((id) => checkId("remove", id)) }
      : { filter: checkFilter("remove", Object(which).filter) };
    const { removed, info } = await this.#request("remove", request);
    this.#update(info);
    return removed;
  }

  /**
   * Pairs of passages whose cosine is at least `threshold` (default 0.9), the most similar first; as
   * sentence-transformers' `paraphrase_mining`, whatever the index's similarity is.
   *
   * @param options `topK`: the most pairs. Default 10,000
   */
  async duplicates(
    threshold: number = DUPLICATE_THRESHOLD,
    options: { topK?: number; signal?: AbortSignal } = {},
  ): Promise<Duplicate[]> {
    checkDuplicates(threshold, options);
    const { topK = MOST_DUPLICATES, signal } = options;
    return this.#request("duplicates", { threshold, topK }, { signal });
  }

  /**
   * Groups of passages that mean nearly the same, the largest first; in each the passage in its middle comes first. As
   * sentence-transformers' `community_detection`, by cosine whatever the index's similarity is.
   *
   * @param options `threshold`: the least cosine to the one in the middle, default 0.75; `minSize`: passages that a group
   *   has at least, default 10
   */
  async clusters(
    options: { threshold?: number; minSize?: number; signal?: AbortSignal } = {},
  ): Promise<PassagePlace[][]> {
    checkClusterOptions(options);
    const { threshold = CLUSTER_THRESHOLD, minSize = CLUSTER_SIZE, signal } = options;
    return this.#request("clusters", { threshold, minSize }, { signal });
  }

  /** All of it as one file, for {@link SearchIndex.import}. */
  async export(): Promise<Blob> {
    return this.#request("export", null);
  }

  /** Writes the index anew, without what was removed, and so gives room back. */
  async compact(): Promise<void> {
    this.#update(await this.#request("compact", null));
  }

  /** Gives it another name, which no other index has. */
  async rename(name: string): Promise<void> {
    checkName("rename", name);
    if (this.#opening.kind === "folder")
      throw new EmbervecError("invalid_input", "an index from SearchIndex.fetch is read-only");
    const info = await this.#request("rename", { name });
    this.#opening = { ...this.#opening, name };
    if (info) this.#update(info);
    else await this.#restart();
  }

  /** Ends the index's worker, which gives its memory back. The embedder is the caller's. */
  async close(): Promise<void> {
    const reason = new EmbervecError("disposed", "this index has been closed; open it again");
    this.#end.abort(reason);
    this.#client.terminate(reason);
  }

  #modeOf(mode: SearchMode | undefined, isText: boolean): SearchMode {
    if (isText) {
      if (mode !== undefined && mode !== "keyword" && !this.#embedder) {
        throw new EmbervecError(
          "invalid_input",
          `search: mode "${mode}" needs an embedder for the query: pass \`embedder\` to SearchIndex.open, or call attach; or use mode "keyword"`,
        );
      }
      return mode ?? (this.#embedder ? "hybrid" : "keyword");
    }
    if (mode === undefined || mode === "semantic") return "semantic";
    throw new EmbervecError("invalid_input", `search: mode "${mode}" needs a text; a vector is searched by meaning`);
  }

  async #encodeQuery(
    text: string,
    { promptName, signal }: SearchOptions,
  ): Promise<{ vector: Float32Array; truncated: boolean }> {
    let truncated = false;
    const truncateDim = this.#opening.kind === "stored" ? this.#info.dimension || undefined : this.#info.dimension;
    const vector = await this.#embedder!.encodeQuery(text, {
      onTruncated: () => (truncated = true),
      ...(promptName !== undefined && { promptName }),
      ...(truncateDim !== undefined && truncateDim < this.#embedder!.info.dimension && { truncateDim }),
      ...(signal && { signal }),
    });
    return { vector, truncated };
  }

  async #request<Name extends keyof SearchCalls>(
    type: Name,
    request: SearchCalls[Name]["request"],
    options: { signal?: AbortSignal | undefined; progress?: never } = {},
  ): Promise<SearchCalls[Name]["result"]> {
    this.#end.signal.throwIfAborted();
    if (!this.#client.alive) await this.#restart();
    return this.#client.request(type, request, options);
  }

  /** In place of a worker that has failed. What had been stored is there again. */
  #restart(): Promise<void> {
    // One for all calls that need it.
    this.#restarting ??= this.#startAgain().finally(() => (this.#restarting = undefined));
    return this.#restarting;
  }

  async #startAgain(): Promise<void> {
    this.#client.terminate(new EmbervecError("disposed", "another worker takes its place"));
    const { client, info } = await start(this.#opening, {
      embedder: this.#embedder,
      embedders: this.embedders,
      onChange: (info) => this.#update(info),
      signal: this.#end.signal,
    });
    this.#client = client;
    this.#update(info);
  }

  #update(info: IndexInfo): void {
    this.#info = Object.freeze(info);
    this.dispatchEvent(new Event("change"));
  }
}

interface StartOptions {
  embedder: Embedder | undefined;
  embedders: Embedder[];
  onChange: (info: IndexInfo) => void;
  signal: AbortSignal | undefined;
}

/** Starts a worker that opens the index. */
async function start(
  opening: Opening,
  { embedder, embedders, onChange, signal }: StartOptions,
): Promise<{ client: Client; info: IndexInfo }> {
  const { options } = opening;
  const cache = sendCache(options.cache ?? (opening.kind === "folder" ? "memory" : CACHE));
  const { port1, port2 } = new MessageChannel();
  const end = new AbortController();
  serve(port1, serviceOf({ embedders, onChange, signal: end.signal }));
  const shared = {
    cache,
    wasmUrl: options.wasmUrl === undefined ? undefined : folderUrl(options.wasmUrl, pageUrl()),
    service: port2,
    embedder: embedder && (await sentEmbedder(embedder, embedders)),
  };
  const request: OpenRequest | FetchRequest =
    opening.kind === "folder"
      ? {
          ...shared,
          kind: "folder",
          url: opening.url,
          headers: opening.options.headers ?? {},
          credentials: opening.options.credentials,
        }
      : {
          ...shared,
          kind: "stored",
          name: opening.name,
          passages: opening.options.passages,
          truncateDim: opening.options.truncateDim,
          similarity: opening.options.similarity,
          file: opening.file,
        };
  const client = startWorker(options);
  try {
    const info = await client.request("open", request, {
      signal,
      transfer: [...transferOf(cache), port2],
    });
    return { client, info };
  } catch (error) {
    end.abort(error);
    client.terminate(new EmbervecError("disposed", "the index did not open"));
    throw error;
  }
}

function startWorker({ workerUrl, createWorker }: SearchScripts): Client {
  const page = pageUrl();
  const { url, start } = searchWorkerScript(workerUrl === undefined ? undefined : scriptUrl(workerUrl, page), page);
  return createWorker
    ? new WorkerClient(() => createWorker(url), "the worker of `createWorker`")
    : new WorkerClient(start, url);
}

/** An idle source ends with the signal. */
async function* groupsOf(
  documents: Iterable<SearchDocument> | AsyncIterable<SearchDocument>,
  signal: AbortSignal | undefined,
): AsyncGenerator<SearchDocument[]> {
  let group: SearchDocument[] = [];
  let characters = 0;
  let position = 0;
  const isLive = Symbol.asyncIterator in documents;
  const source = isLive ? documents[Symbol.asyncIterator]() : documents[Symbol.iterator]();
  let isOver = false;
  try {
    for (;;) {
      const next = source.next();
      const step = isLive ? await settled("", () => next, { signal }) : (next as IteratorResult<SearchDocument>);
      if (step.done) {
        isOver = true;
        break;
      }
      const checked = checkDocument(step.value, position++);
      group.push(checked);
      characters += checked.text.length;
      if (group.length < GROUP_DOCUMENTS && characters < GROUP_CHARACTERS) continue;
      yield group;
      group = [];
      characters = 0;
    }
    if (group.length > 0) yield group;
  } finally {
    // Not awaited: a source that gives nothing more may not end, either.
    if (!isOver) void Promise.resolve(source.return?.()).catch(() => {});
  }
}

function likeOf(query: SearchQuery): string | undefined {
  const { like } = Object(query) as { like?: unknown };
  return like === undefined ? undefined : checkId("search: like", like);
}

function vectorOf(query: unknown): Float32Array {
  const isVector =
    (query instanceof Float32Array || Array.isArray(query)) && query.length > 0 && query.every(Number.isFinite);
  if (isVector) return Float32Array.from(query as number[]);
  throw new EmbervecError(
    "invalid_input",
    `search takes a text, a vector of finite numbers or { like: id }, not ${describe(query)}`,
  );
}

function checkId(what: string, id: unknown): string {
  if (typeof id === "string") return id;
  throw new EmbervecError("invalid_input", `${what}: an id must be a string, not ${describe(id)}`);
}

function isAbove({ score, scores }: SearchHit, minScore: SearchOptions["minScore"]): boolean {
  if (minScore === undefined) return true;
  if (typeof minScore === "number") return score >= minScore;
  const { semantic = -Infinity, keyword = -Infinity } = minScore;
  return (scores.semantic ?? Infinity) >= semantic && (scores.keyword ?? Infinity) >= keyword;
}

async function reranked(
  rerank: NonNullable<SearchOptions["rerank"]>,
  query: string,
  hits: readonly SearchHit[],
  signal: AbortSignal | undefined,
): Promise<SearchHit[]> {
  const texts = hits.map(({ text }) => text);
  const rank = () => rerank.rank(query, texts, { topK: hits.length, ...(signal && { signal }) });
  const ranked = await settled("", rank, { signal });
  return ranked.map(({ corpusId, score }) => {
    const hit = hits[corpusId];
    if (!hit)
      throw new EmbervecError("invalid_input", `search: rerank gave a corpusId of ${corpusId}, which no hit has`);
    return { ...hit, score, scores: { ...hit.scores, rerank: score } };
  });
}
