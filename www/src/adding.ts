/** Documents on their way into a collection: read one after the other, each searchable as soon as it has its vectors. */

import type { IndexProgress, SearchDocument } from "embervec/search";
import { type Collection, sectionId } from "./collection";
import { DocumentReader, placeText } from "./documents/reader";
import type { ReaderEvent, ReadProgress, SourceFile } from "./documents/types";

export type Source = Iterable<SourceFile> | AsyncIterable<SourceFile>;

/** What there is to say of files, by the sentence, which names none: a folder may hold thousands of pictures. */
export type Told = Map<string, string[]>;

/** A speed says something after this long. */
const MEASURED_MS = 2000;

const COMPRESSED = /\.(?:pdf|docx)$/i;

const reader = new DocumentReader();

/** Dispatches `change` as it goes on. */
export class Adding extends EventTarget {
  readonly collection: Collection;
  state: "running" | "done" | "stopped" | "failed" = "running";
  error: unknown;
  documents = 0;
  /** Files that were read, but perhaps not as they were meant. */
  readonly notes: Told = new Map();
  readonly refused: Told = new Map();
  progress: IndexProgress | undefined;
  remainingMs: number | undefined;
  /** Whether it waits for the model. */
  isWaiting = false;
  readonly #controller = new AbortController();
  /** Sections of each document. */
  readonly #counts = new Map<string, number>();
  #sections = 0;
  #started = 0;
  /** Bytes of all documents, where they are known, and of those that are read. */
  #bytes = { total: 0, done: 0, current: 0 };

  constructor(collection: Collection) {
    super();
    this.collection = collection;
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  stop(): void {
    this.#controller.abort();
  }

  /** @param source nothing: what waits for the model since the last visit */
  async run(source: Source | undefined): Promise<void> {
    const { collection, signal } = this;
    try {
      if (source !== undefined && collection.hasModel) await this.#add(source);
      else {
        if (source !== undefined) await collection.wait(this.#entries(named(source, await this.#known())), signal);
        await this.#model();
        this.#start(collection.waiting?.info.documents ?? 0);
        await collection.encodeWaiting({ signal, progress: (progress) => this.#report(progress) });
      }
      this.#become("done");
    } catch (error) {
      this.error = error;
      this.#become(signal.aborted ? "stopped" : "failed");
    }
  }

  async #add(source: Source): Promise<void> {
    const { index } = this.collection;
    const known = await this.#known();
    if (Array.isArray(source)) this.#bytes.total = source.reduce((sum, item: SourceFile) => sum + bytesOf(item), 0);
    this.#start();
    const progress = (progress: IndexProgress) => this.#report(progress);
    await index.add(this.#entries(named(source, known)), { signal: this.signal, progress });
    // What a newer version of a document no longer has.
    for (const [doc, count] of this.#counts)
      if (known.has(doc)) await index.remove({ filter: { doc, n: { $gte: count } } });
  }

  async #known(): Promise<ReadonlySet<string>> {
    return new Set((await this.collection.documents()).map(({ doc }) => doc));
  }

  /** @param sections how many there are, where it is known */
  #start(sections?: number): void {
    this.#started = performance.now();
    if (sections === undefined) return;
    this.#sections = sections;
    this.#bytes = { total: 1, done: 1, current: 0 };
  }

  /** Without a model there are no vectors. */
  async #model(): Promise<void> {
    const { collection, signal } = this;
    if (collection.hasModel) return;
    this.isWaiting = true;
    this.#changed();
    await new Promise<void>((resolve, reject) => {
      const look = () => {
        if (collection.hasModel) resolve();
        else if (collection.problem !== undefined) reject(new Error(collection.problem));
      };
      signal.addEventListener("abort", () => reject(signal.reason), { once: true });
      collection.addEventListener("change", look);
      look();
    });
    this.isWaiting = false;
  }

  async *#entries(source: Source): AsyncGenerator<SearchDocument> {
    // A text is read at once, and its sections come bit by bit; of a PDF it is the other way round.
    const onProgress = ({ path, loaded }: ReadProgress) => {
      if (COMPRESSED.test(path)) this.#bytes.current = loaded;
    };
    for await (const event of reader.read(source, { signal: this.signal, onProgress })) {
      if (event.kind === "problem") {
        tell(this.refused, event.problem, event.document.path);
        this.#changed();
      } else {
        for (const note of event.notes) tell(this.notes, note, event.document.path);
        yield* this.#documentsOf(event);
        if (event.isLast) this.documents += 1;
      }
      if (event.kind === "problem" || event.isLast) {
        this.#bytes.done += event.document.bytes;
        this.#bytes.current = 0;
      }
    }
  }

  *#documentsOf({ document, sections }: Extract<ReaderEvent, { kind: "sections" }>): Generator<SearchDocument> {
    const { path: doc, type } = document;
    const title = document.title || document.name;
    for (const section of sections) {
      const n = this.#counts.get(doc) ?? 0;
      this.#counts.set(doc, n + 1);
      this.#sections += 1;
      if (!COMPRESSED.test(doc)) this.#bytes.current += section.text.length;
      yield { id: sectionId(doc, n), text: section.text, metadata: { doc, title, type, place: placeText(section), n } };
    }
  }

  /** How long the rest takes, if it is as dense as what was read, and as quick as what was encoded. */
  #report(progress: IndexProgress): void {
    this.progress = progress;
    const { total, done, current } = this.#bytes;
    const share = total > 0 ? Math.min(1, (done + current) / total) : 0;
    const ms = performance.now() - this.#started;
    const isKnown = share > 0 && progress.documents > 0 && ms > MEASURED_MS;
    const left = this.#sections / share - progress.documents;
    this.remainingMs = isKnown ? Math.max(0, (left * ms) / progress.documents) : undefined;
    this.#changed();
  }

  #become(state: Adding["state"]): void {
    this.state = state;
    this.#changed();
  }

  #changed(): void {
    this.dispatchEvent(new Event("change"));
  }
}

function tell(told: Told, sentence: string, path: string): void {
  const paths = told.get(sentence);
  if (paths === undefined) told.set(sentence, [path]);
  else paths.push(path);
}

function bytesOf(item: SourceFile): number {
  if ("file" in item) return item.file.size;
  return "text" in item ? item.text.length : 0;
}

/** A file of the same path is a newer version; a pasted text of the same first words is another text. */
async function* named(source: Source, known: ReadonlySet<string>): AsyncGenerator<SourceFile> {
  for await (const item of source) {
    if (!("text" in item)) yield item;
    else {
      let { name } = item;
      for (let count = 2; known.has(name); count++) name = `${item.name} (${count})`;
      yield { ...item, name };
    }
  }
}

/** How long a folder is looked through before the first document is read. */
const LOOK_MS = 300;

/** A list, if it can soon be had: then it can be told how long all of it takes. */
export async function soonListed(source: AsyncIterable<SourceFile>): Promise<Source> {
  const iterator = source[Symbol.asyncIterator]();
  const items: SourceFile[] = [];
  for (const until = performance.now() + LOOK_MS; performance.now() < until; ) {
    const { done, value } = await iterator.next();
    if (done) return items;
    items.push(value);
  }
  return (async function* () {
    yield* items;
    for (let next = await iterator.next(); !next.done; next = await iterator.next()) yield next.value;
  })();
}
