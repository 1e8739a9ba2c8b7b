// An open index in the worker: what is asked of it, and what it tells the page.

import type { CacheChoice } from "../cache/cache.js";
import { EmbervecError, codeOf, messageOf } from "../errors.js";
import { send } from "../platform/web.js";
import { INDEX_KEEPS } from "../platform/web-search.js";
import type { PortClient } from "../port.js";
import { TimeoutError, settled } from "../settle.js";
import type { FromWorker, ToWorker } from "../worker/protocol.js";
import { Adding, type Encoder } from "./adding.js";
import type { Core } from "./core.js";
import { FolderIndex } from "./folder-index.js";
import { clusters, duplicates, placeOf } from "./groups.js";
import { copyIndex, exportIndex, importIndex, openEntries } from "./manage.js";
import { DEFAULT_TOKENS, type IndexRecord, type Probe, fitted, newId } from "./parts.js";
import type { FetchRequest, OpenRequest, SearchCalls, SentEmbedder, Which } from "./protocol.js";
import { search } from "./query.js";
import { readFolder } from "./read-folder.js";
import type { Entry } from "./rows.js";
import { checkSpace, cutTo, makeProbes } from "./space.js";
import { PartStore } from "./storage.js";
import { StoredIndex } from "./stored-index.js";
import type { IndexInfo } from "./types.js";

/** The page hears of changes at most so often. */
const REPORT_MS = 100;

/** A search waits so long for what other tabs have stored; after that it finds what was there before. */
const REFRESH_MS = 50;

/** What can be done again. */
const READS: ReadonlySet<string> = new Set(["search", "get", "documents", "vectors", "duplicates", "clusters"]);

type Asked = Exclude<ToWorker<SearchCalls>, { type: "abort" }>;
type Result = SearchCalls[keyof SearchCalls]["result"];

export class Index {
  #embedder: SentEmbedder | undefined;
  /** With which the embedder has been compared. */
  #known: readonly Probe[] | undefined;
  #nextJob = 0;
  #report: ReturnType<typeof setTimeout> | undefined;
  readonly #adding: Adding | undefined;
  #preparing: Promise<void> | undefined;

  private constructor(
    private readonly stored: StoredIndex | undefined,
    private readonly folder: FolderIndex | undefined,
    private readonly service: PortClient,
    private readonly unstored: string | undefined,
    embedder: SentEmbedder | undefined,
    others: BroadcastChannel | undefined,
    private name: string,
    /** Another index of the same cache. */
    private readonly other: ((name: string) => PartStore) | undefined,
  ) {
    this.#embedder = embedder;
    if (stored) {
      const encoder = () => this.#embedder && this.#encoderOf(this.#embedder);
      this.#adding = new Adding(
        stored,
        encoder,
        () => this.#prepare(),
        () => this.#changed(),
      );
    }
    if (others) {
      others.onmessage = () => {
        stored?.markStale();
        this.#changed();
      };
    }
  }

  static async open(
    request: OpenRequest | FetchRequest,
    cache: CacheChoice,
    service: PortClient,
    signal: AbortSignal,
  ): Promise<Index> {
    if (request.kind === "folder") {
      const { read, name } = await readFolder(request, cache, signal);
      const folder = await FolderIndex.open(read);
      const index = new Index(
        undefined,
        folder,
        service,
        "It is read from its folder.",
        undefined,
        undefined,
        name,
        undefined,
      );
      if (request.embedder) await index.#attach(request.embedder);
      return index;
    }
    const { name, passages, truncateDim, similarity, embedder, file } = request;
    const { entries, locks, absent } = await openEntries(cache);
    const other = (name: string) => new PartStore(entries, locks, name);
    const store = other(name);
    if (file) await importIndex(store, file);
    const { maxTokens = DEFAULT_TOKENS, overlap = 0 } = passages ?? {};
    const fresh: IndexRecord = {
      name,
      id: newId(),
      createdAt: Date.now(),
      changedAt: Date.now(),
      sequence: 0,
      generation: 0,
      dimension: 0,
      similarity: embedder?.similarity ?? similarity ?? "cosine",
      probes: [],
      truncateDim,
      passageOptions: fitted({ maxTokens, overlap }, embedder?.maxTokens ?? Infinity),
      segments: [],
      documents: 0,
      passages: 0,
    };
    const isShared = absent === undefined && "BroadcastChannel" in globalThis;
    const others = isShared ? new BroadcastChannel(`embervec index ${name}`) : undefined;
    try {
      const stored = await StoredIndex.open(store, fresh, () => others?.postMessage(null));
      const index = new Index(stored, undefined, service, absent, undefined, others, name, other);
      if (embedder) await index.#attach(embedder);
      return index;
    } catch (error) {
      // A file that cannot be opened is not imported.
      if (file) await store.change(() => store.delete()).catch(() => {});
      throw error;
    }
  }

  info(): IndexInfo {
    const { stored, folder } = this;
    const { rows } = this.#core;
    const { dimension, similarity, space } = stored ? stored.record : folder!.manifest;
    const lost = stored?.lost ?? this.unstored;
    return {
      name: this.name,
      documents: rows.documents,
      passages: rows.passages,
      dimension,
      similarity,
      embeddingSpace: space,
      memoryBytes: rows.count * (dimension + 12),
      storedBytes: stored?.storedBytes ?? folder!.bytes,
      stored: lost === undefined,
      storedReason: lost === undefined ? INDEX_KEEPS : folder ? lost : `It is in memory only, ${lost}.`,
      readOnly: folder !== undefined,
      passageOptions: stored?.record.passageOptions ?? { maxTokens: DEFAULT_TOKENS, overlap: 0 },
    };
  }

  async run(asked: Asked, signal: AbortSignal): Promise<Result> {
    const { stored } = this;
    await this.#refresh(asked.type === "search" ? { ms: REFRESH_MS } : {});
    for (;;) {
      const version = stored?.version;
      try {
        return await this.#run(asked, signal);
      } catch (error) {
        if (codeOf(error) !== "integrity" || !READS.has(asked.type)) throw error;
        // The index may have been written anew meanwhile, here or in another tab: then what was to be read is elsewhere. This
        // waits until that is done.
        stored?.markStale();
        await this.#refresh();
        if (stored?.version === version) throw error;
      }
    }
  }

  /** Takes up what other tabs have stored; does not wait for it any longer than `ms`. */
  async #refresh(wait: { ms?: number } = {}): Promise<void> {
    const refreshed = async () => {
      if (await this.stored?.refresh()) this.#changed();
    };
    try {
      await settled("the storage", refreshed, wait);
    } catch (error) {
      if (!(error instanceof TimeoutError)) throw error;
    }
  }

  async #run({ type, id, request }: Asked, signal: AbortSignal): Promise<Result> {
    switch (type) {
      case "info":
        return this.info();
      case "attach":
        await this.#attach(request);
        return this.info();
      case "beginAdd": {
        const job = this.#nextJob++;
        this.#writable.begin(job, request.totalDocuments, request.isLive);
        return job;
      }
      case "add": {
        const progress = (event: object) =>
          send({ type: "progress", id, event } as unknown as FromWorker<SearchCalls>, []);
        await this.#writable.add(request.job, request.documents, progress, signal);
        return null;
      }
      case "endAdd":
        return { result: await this.#writable.end(request.job), info: this.info() };
      case "search":
        // The page has made the vector of a text with its embedder.
        if (request.text !== undefined && request.vector && this.stored?.record.space) await this.#prepare();
        return search(this.#core, request, signal);
      case "get":
        return this.#get(request.id);
      case "documents":
        return this.#entries(request.filter).map(({ id, metadata, rows }) => ({
          id,
          metadata,
          passages: rows.map((row) => this.#core.rows.place(row)).map(({ start, end }) => ({ start, end })),
        }));
      case "vectors":
        return this.#vectors(request.limit);
      case "remove":
        return { removed: await this.#remove(request), info: this.info() };
      case "duplicates":
        return duplicates(this.#core, request.threshold, request.topK, signal);
      case "clusters":
        return clusters(this.#core, request.threshold, request.minSize, signal);
      case "compact":
        await this.#own.compact();
        this.#changed();
        return this.info();
      case "export":
        return this.#own.exported(exportIndex);
      case "rename":
        return this.#rename(request.name);
      default:
        throw new EmbervecError("internal", `an index cannot be asked for ${type}`);
    }
  }

  get #core(): Core {
    return (this.stored?.state ?? this.folder)!.core;
  }

  get #own(): StoredIndex {
    if (this.stored) return this.stored;
    throw new EmbervecError(
      "invalid_input",
      "an index from SearchIndex.fetch is read-only; make one of your own with SearchIndex.open",
    );
  }

  get #writable(): Adding {
    void this.#own;
    return this.#adding!;
  }

  // --- the embedder ------------------------------------------------------------------------------------------------

  #encoderOf({ number }: SentEmbedder): Encoder {
    return {
      tokenCounts: (texts) => this.#ask("tokenCounts", number, texts) as Promise<ArrayLike<number>>,
      encode: async (texts) => {
        const all = (await this.#ask("encode", number, texts, this.#truncateDim)) as Float32Array;
        const dimension = all.length / texts.length;
        return texts.map((_, i) => all.subarray(i * dimension, (i + 1) * dimension));
      },
    };
  }

  /** Errors keep their code on their way from the page. */
  async #ask(method: string, ...args: unknown[]): Promise<unknown> {
    const answer = (await this.service.call(method, ...args)) as
      | { value: unknown }
      | { error: { code: string; message: string } };
    if ("value" in answer) return answer.value;
    throw new EmbervecError(answer.error.code as EmbervecError["code"], answer.error.message);
  }

  /** How many of a vector's dimensions the index takes. A folder says it by what it holds. */
  get #truncateDim(): number | undefined {
    return this.stored ? this.stored.record.truncateDim : this.folder!.manifest.dimension;
  }

  get #probes(): readonly Probe[] {
    return (this.stored?.record ?? this.folder!.manifest).probes;
  }

  async #attach(embedder: SentEmbedder): Promise<void> {
    let probes: readonly Probe[];
    do {
      probes = this.#probes;
      await this.#check(embedder);
      await this.#fitPassages(embedder);
      // Meanwhile another model may have taken the index, here or in another tab.
    } while (probes !== this.#probes);
    this.#embedder = embedder;
    this.#known = probes;
  }

  /** @throws {EmbervecError} `model_mismatch` for an embedder whose vectors are not those of the index */
  async #check(embedder: SentEmbedder): Promise<void> {
    const { space, probes, dimension } = this.stored?.record ?? this.folder!.manifest;
    const encoder = this.#encoderOf(embedder);
    const own = cutTo(embedder.space, this.#truncateDim);
    if (space) return checkSpace(this.name, space, probes, own, async (texts) => encoder.encode(texts));
    if (dimension > 0 && dimension !== own.dimension) this.#refuse(dimension, own.dimension);
  }

  #refuse(dimension: number, own: number): never {
    throw new EmbervecError(
      "model_mismatch",
      `the index "${this.name}" has vectors of ${dimension} dimensions, and this embedder makes ${own}`,
    );
  }

  /** Passages that are there stay as they are. */
  async #fitPassages({ maxTokens }: SentEmbedder): Promise<void> {
    const { stored } = this;
    const isLong = ({ passages, passageOptions }: IndexRecord) =>
      passages === 0 && passageOptions.maxTokens > maxTokens;
    if (!stored || !isLong(stored.record)) return;
    await stored.update((record) =>
      isLong(record) ? { passageOptions: fitted(record.passageOptions, maxTokens) } : undefined,
    );
  }

  /** Before the first vector of the embedder's, and whenever another tab has said whose vectors the index has. */
  #prepare(): Promise<void> {
    const { stored } = this;
    if (!stored || !this.#embedder || this.#isKnown(stored)) return Promise.resolve();
    this.#preparing ??= this.#agree(stored).finally(() => (this.#preparing = undefined));
    return this.#preparing;
  }

  #isKnown({ record: { space, probes } }: StoredIndex): boolean {
    return space !== undefined && probes === this.#known;
  }

  async #agree(stored: StoredIndex): Promise<void> {
    while (!this.#isKnown(stored)) {
      const embedder = this.#embedder!;
      let { probes }: { probes: readonly Probe[] } = stored.record;
      if (stored.record.space) await this.#check(embedder);
      else probes = await this.#introduce(stored, embedder);
      // It may have been replaced meanwhile.
      if (embedder === this.#embedder) this.#known = probes;
    }
  }

  /** Says whose vectors the index has, unless another tab has said so before. */
  async #introduce(stored: StoredIndex, embedder: SentEmbedder): Promise<Probe[]> {
    const encoder = this.#encoderOf(embedder);
    const probes = await makeProbes(async (texts) => encoder.encode(texts));
    const own = probes[0]!.vector.length;
    await stored.update(({ space, dimension, similarity }) => {
      if (space || embedder !== this.#embedder) return undefined;
      if (dimension !== 0 && dimension !== own) this.#refuse(dimension, own);
      // Vectors that are there have been scanned by the similarity that the index has.
      const kept = dimension === 0 ? embedder.similarity : similarity;
      return { space: { ...embedder.space, dimension: own }, probes, dimension: own, similarity: kept };
    });
    return probes;
  }

  // --- what is there -----------------------------------------------------------------------------------------------

  async #get(id: string): Promise<SearchCalls["get"]["result"]> {
    const { rows, source } = this.#core;
    const entry = rows.entry(id);
    if (!entry) return undefined;
    const texts = await source.texts(entry.rows);
    const passages = entry.rows.map((row) => rows.place(row));
    // Passages may repeat what is in the one before; what lies between them is blank.
    let text = "";
    passages.forEach(({ start, end }, i) => {
      text = text.padEnd(start, " ");
      if (end > text.length) text += texts[i]!.slice(text.length - start);
    });
    return { id, text, metadata: entry.metadata, passages: passages.map(({ start, end }) => ({ start, end })) };
  }

  #entries(filter: string | undefined): Entry[] {
    const { rows, scan } = this.#core;
    if (filter === undefined) return [...rows.entries()];
    const found = scan ? scan.matching(filter) : new Uint32Array();
    return [...new Set(Array.from(found, (row) => rows.entryOf(row)))];
  }

  async #vectors(limit: number): Promise<SearchCalls["vectors"]["result"]> {
    const { rows, source } = this.#core;
    const all = [...rows.entries()].flatMap((entry) => entry.rows);
    const step = Math.max(1, all.length / limit);
    const chosen = Array.from({ length: Math.min(limit, all.length) }, (_, i) => all[Math.floor(i * step)]!);
    // In 32 bits those of a folder would be a request each.
    const vectors = await (this.folder ? this.folder.scannedVectors(chosen) : source.vectors(chosen));
    const dimension = vectors[0]?.length ?? 0;
    const joined = new Float32Array(chosen.length * dimension);
    vectors.forEach((vector, i) => joined.set(vector, i * dimension));
    return { places: chosen.map((row) => placeOf(this.#core, row)), vectors: joined, dimension };
  }

  async #remove(which: Which): Promise<number> {
    const index = this.#own;
    const { rows } = index;
    const ids = "ids" in which ? new Set(which.ids) : undefined;
    const entries = ids
      ? [...ids].flatMap((id) => rows.entry(id) ?? [])
      : this.#entries((which as { filter: string }).filter);
    this.#writable.cancel(which);
    index.removeEntries(entries);
    this.#changed();
    await index.commit();
    return entries.length;
  }

  async #rename(name: string): Promise<IndexInfo | undefined> {
    const own = this.#own;
    if (name === this.name) return this.info();
    if (this.unstored !== undefined) {
      // In the worker's memory it has its name for itself, and nothing is to be moved.
      await own.update(() => ({ name }));
      this.name = name;
      return this.info();
    }
    const target = this.other!(name);
    // Nobody stores anything between the two, which would be in neither.
    await own.exported(async (store, record) => {
      await copyIndex(store, record, target);
      await store.delete();
    });
    return undefined;
  }

  #changed(): void {
    this.#report ??= setTimeout(() => {
      this.#report = undefined;
      this.service.call("changed", this.info()).catch((error: unknown) => console.warn(messageOf(error)));
    }, REPORT_MS);
  }
}
