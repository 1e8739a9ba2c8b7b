// An open index in the worker: what is asked of it, and what it tells the page.

import type { CacheChoice } from "../cache/cache.js";
import { EmbervecError, codeOf, messageOf } from "../errors.js";
import { send } from "../platform/web.js";
import { INDEX_KEEPS } from "../platform/web-search.js";
import type { PortClient } from "../port.js";
import type { FromWorker, ToWorker } from "../worker/protocol.js";
import { Adding, type Encoder } from "./adding.js";
import type { Core } from "./core.js";
import { FolderIndex } from "./folder-index.js";
import { clusters, duplicates, placeOf } from "./groups.js";
import { copyIndex, exportIndex, importIndex, openEntries } from "./manage.js";
import type { IndexRecord } from "./parts.js";
import type { FetchRequest, OpenRequest, SearchCalls, SentEmbedder, Which } from "./protocol.js";
import { search } from "./query.js";
import { readFolder } from "./read-folder.js";
import type { Entry } from "./rows.js";
import { checkSpace, makeProbes } from "./space.js";
import { PartStore } from "./storage.js";
import { StoredIndex } from "./stored-index.js";
import type { IndexInfo } from "./types.js";

/** Where nobody says: passages of so many tokens are about one thing, and are what small models were trained on. */
const DEFAULT_TOKENS = 128;

/** The page hears of changes at most so often. */
const REPORT_MS = 100;

/** What can be done again. */
const READS: ReadonlySet<string> = new Set(["search", "get", "documents", "vectors", "duplicates", "clusters"]);

type Asked = Exclude<ToWorker<SearchCalls>, { type: "abort" }>;
type Result = SearchCalls[keyof SearchCalls]["result"];

export class Index {
  #embedder: SentEmbedder | undefined;
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
    private readonly name: string,
    /** Another index of the same cache. */
    private readonly other: ((name: string) => PartStore) | undefined,
  ) {
    this.#embedder = embedder;
    if (stored) {
      const encoder = () => (this.#embedder ? this.#encoder : undefined);
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
    const maxTokens = passages?.maxTokens ?? Math.min(DEFAULT_TOKENS, embedder?.maxTokens ?? DEFAULT_TOKENS);
    const fresh: IndexRecord = {
      name,
      createdAt: Date.now(),
      changedAt: Date.now(),
      sequence: 0,
      generation: 0,
      dimension: 0,
      similarity: embedder?.similarity ?? similarity ?? "cosine",
      probes: [],
      truncateDim,
      passageOptions: { maxTokens, overlap: passages?.overlap ?? 0 },
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
    if (await this.stored?.refresh()) this.#changed();
    try {
      return await this.#run(asked, signal);
    } catch (error) {
      // Another tab may have written the index anew meanwhile, and what was to be read is elsewhere.
      if (codeOf(error) !== "integrity" || !READS.has(asked.type)) throw error;
      this.stored?.markStale();
      if (!(await this.stored?.refresh())) throw error;
      return this.#run(asked, signal);
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

  readonly #encoder: Encoder = {
    tokenCounts: (texts) => this.#ask("tokenCounts", texts) as Promise<ArrayLike<number>>,
    encode: async (texts) => {
      const { truncateDim } = this.stored?.record ?? {};
      const all = (await this.#ask("encode", texts, truncateDim)) as Float32Array;
      const dimension = all.length / texts.length;
      return texts.map((_, i) => all.subarray(i * dimension, (i + 1) * dimension));
    },
  };

  /** Errors keep their code on their way from the page. */
  async #ask(method: string, ...args: unknown[]): Promise<unknown> {
    const answer = (await this.service.call(method, ...args)) as
      | { value: unknown }
      | { error: { code: string; message: string } };
    if ("value" in answer) return answer.value;
    throw new EmbervecError(answer.error.code as EmbervecError["code"], answer.error.message);
  }

  async #attach(embedder: SentEmbedder): Promise<void> {
    const { record } = this.stored ?? {};
    const { space, probes, dimension } = record ?? this.folder!.manifest;
    if (space) {
      await checkSpace(this.name, space, probes, embedder.space, (texts) => this.#encoder.encode(texts));
    } else if (dimension > 0 && dimension !== embedder.space.dimension) {
      throw new EmbervecError(
        "model_mismatch",
        `the index "${this.name}" has vectors of ${dimension} dimensions, and this embedder makes ${embedder.space.dimension}`,
      );
    }
    if (record && record.passageOptions.maxTokens > embedder.maxTokens && record.passages === 0) {
      await this.stored!.update({ passageOptions: { ...record.passageOptions, maxTokens: embedder.maxTokens } });
    }
    this.#embedder = embedder;
  }

  /** Before the first vector of the embedder's. */
  #prepare(): Promise<void> {
    const { stored } = this;
    if (!stored || stored.record.space || !this.#embedder) return Promise.resolve();
    const { space, similarity } = this.#embedder;
    this.#preparing ??= (async () => {
      const probes = await makeProbes((texts) => this.#encoder.encode(texts));
      const dimension = probes[0]!.vector.length;
      const { record } = stored;
      if (record.dimension !== 0 && record.dimension !== dimension)
        throw new EmbervecError(
          "model_mismatch",
          `the index has vectors of ${record.dimension} dimensions, not ${dimension}`,
        );
      // Vectors that are there have been scanned by the one that the index has.
      const kept = record.dimension === 0 ? similarity : record.similarity;
      await stored.update({ space: { ...space, dimension }, probes, dimension, similarity: kept });
    })().finally(() => (this.#preparing = undefined));
    return this.#preparing;
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

  async #rename(name: string): Promise<IndexInfo> {
    const own = this.#own;
    if (name === this.name) return this.info();
    const target = this.other!(name);
    await own.exported((store, record) => copyIndex(store, record, target));
    await own.store.change(() => own.store.delete());
    return { ...this.info(), name };
  }

  #changed(): void {
    this.#report ??= setTimeout(() => {
      this.#report = undefined;
      this.service.call("changed", this.info()).catch((error: unknown) => console.warn(messageOf(error)));
    }, REPORT_MS);
  }
}
