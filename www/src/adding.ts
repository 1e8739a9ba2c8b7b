/** Documents on their way into a collection: read one after the other, each searchable as soon as it has its vectors. */

import { type Collection, sectionId } from "./collection";
import { type DocumentInfo, DocumentReader, placeText, type ReaderEvent, type SourceFile } from "./documents";
import type { IndexProgress, SearchDocument } from "embervec/search";

export interface Refused {
  readonly reason: string;
  /** A sentence that names no file. */
  readonly problem: string;
  readonly paths: string[];
}

const reader = new DocumentReader();

/** Dispatches `change` as it goes on. */
export class Adding extends EventTarget {
  readonly collection: Collection;
  state: "running" | "done" | "stopped" | "failed" = "running";
  error: unknown;
  documents = 0;
  /** Sentences for the person, such as "notes.txt: read as windows-1252." */
  readonly notes: string[] = [];
  readonly refused: Refused[] = [];
  progress: IndexProgress | undefined;
  /** Whether it waits for the model. */
  isWaiting = false;
  readonly #controller = new AbortController();
  readonly #counts = new Map<string, number>();

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

  async run(source: Iterable<SourceFile> | AsyncIterable<SourceFile>): Promise<void> {
    const { index } = this.collection;
    try {
      await this.#model();
      const known = new Set((await this.collection.documents()).map(({ doc }) => doc));
      const progress = (progress: IndexProgress) => {
        this.progress = progress;
        this.#changed();
      };
      await index.add(this.#sections(named(source, known)), { signal: this.signal, progress });
      // What a newer version of a document no longer has.
      for (const [doc, count] of this.#counts)
        if (known.has(doc)) await index.remove({ filter: { doc, n: { $gte: count } } });
      this.#become("done");
    } catch (error) {
      this.error = error;
      this.#become(this.signal.aborted ? "stopped" : "failed");
    }
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

  async *#sections(source: Iterable<SourceFile> | AsyncIterable<SourceFile>): AsyncGenerator<SearchDocument> {
    for await (const event of reader.read(source, { signal: this.signal })) {
      if (event.kind === "problem") {
        this.#refuse(event);
        continue;
      }
      const { document, notes, isLast } = event;
      this.notes.push(...notes.map((note) => `${document.path}: ${note}`));
      yield* this.#entries(event);
      if (isLast) this.documents += 1;
    }
  }

  *#entries({ document, sections }: Extract<ReaderEvent, { kind: "sections" }>): Generator<SearchDocument> {
    const { path: doc, type } = document;
    const title = document.title || document.name;
    for (const section of sections) {
      const n = this.#counts.get(doc) ?? 0;
      this.#counts.set(doc, n + 1);
      yield { id: sectionId(doc, n), text: section.text, metadata: { doc, title, type, place: placeText(section), n } };
    }
  }

  /** A folder may hold thousands of pictures: they are one reason, not thousands of lines. */
  #refuse({ document, reason, problem }: { document: DocumentInfo; reason: string; problem: string }): void {
    const same = this.refused.find((refused) => refused.reason === reason && refused.problem === problem);
    if (same) same.paths.push(document.path);
    else this.refused.push({ reason, problem, paths: [document.path] });
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

/** A file of the same path is a newer version; a pasted text of the same first words is another text. */
async function* named(
  source: Iterable<SourceFile> | AsyncIterable<SourceFile>,
  known: ReadonlySet<string>,
): AsyncGenerator<SourceFile> {
  for await (const item of source) {
    if (!("text" in item)) yield item;
    else {
      let { name } = item;
      for (let count = 2; known.has(name); count++) name = `${item.name} (${count})`;
      yield { ...item, name };
    }
  }
}
