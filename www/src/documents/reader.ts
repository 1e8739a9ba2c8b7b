/** The page's half of reading documents: all work is done in a worker, which starts with the first document. */

import { WorkerStarter } from "../start-worker";
import { type FromWorker, isLast, type ToWorker } from "./protocol";
import type { DocumentInfo, Place, Readable, ReaderEvent, ReadProgress, SourceFile } from "./types";

/** For `<input type="file">`. Other files are read, too, if they hold text. */
export const ACCEPT =
  ".txt,.text,.log,.md,.markdown,.html,.htm,.xml,.csv,.tsv,.json,.jsonl,.ndjson,.docx,.pdf,text/*,application/json,application/pdf";

/** A worker that has not answered an abort by then is ended. */
const PATIENCE_MS = 1000;

/**
 * Small documents that are begun before their turn: opening a file takes milliseconds, in which the processor waits. In Chromium 10,000
 * notes are read 1.6 times as fast as one after the other.
 */
const AHEAD = 8;
const AHEAD_BYTES = 65_536;

const NOT_STARTED =
  "The part of this page that reads documents could not be started. Check your connection, then reload the page.";

export interface ReadOptions {
  signal?: AbortSignal;
  onProgress?: (progress: ReadProgress) => void;
}

function createWorker(): Worker {
  return new Worker(/* webpackChunkName: "reader" */ new URL("./reader.worker.ts", import.meta.url), {
    type: "module",
  });
}

/** A document that is being read in the worker. */
interface Reading {
  id: number;
  index: number;
  source: Readable;
  /** Messages that the loop has not come to. */
  messages: FromWorker[];
  /** Wakes the loop. */
  wake: () => void;
  hasStarted: boolean;
  onProgress: (loaded: number, total: number) => void;
}

/** One whose turn has not come yet, or has just come; without a reading it is known not to be readable. */
interface Begun {
  index: number;
  source: SourceFile;
  reading: Reading | undefined;
}

export class DocumentReader {
  readonly #starter: WorkerStarter;
  /** It may not run yet; then messages wait. */
  #worker: Promise<Worker> | undefined;
  /** Ends the worker. */
  #life = new AbortController();
  #readings = new Map<number, Reading>();
  /** Told to stop, but not heard of since. */
  #stopping = new Map<number, ReturnType<typeof setTimeout>>();
  #lastId = 0;

  /** `create` starts the worker's script. */
  constructor(create = createWorker) {
    this.#starter = new WorkerStarter(create);
  }

  /**
   * Reads one document after the other. The worker goes on only when the next event is asked for. Several calls may
   * run at the same time. Throws the signal's reason.
   */
  async *read(
    sources: Iterable<SourceFile> | AsyncIterable<SourceFile>,
    { signal, onProgress }: ReadOptions = {},
  ): AsyncGenerator<ReaderEvent, void, void> {
    const begun: Begun[] = [];
    const wake = () => begun[0]?.reading?.wake();
    signal?.addEventListener("abort", wake);
    try {
      let index = 0;
      for await (const source of sources) {
        signal?.throwIfAborted();
        const reading = this.#begin(source, index, (progress) => {
          if (begun[0]?.index === progress.index) onProgress?.(progress);
        });
        begun.push({ index, source, reading });
        index += 1;
        while (begun.length > AHEAD || (begun.length > 0 && !isSmall(source))) yield* this.#finish(begun, signal);
      }
      while (begun.length > 0) yield* this.#finish(begun, signal);
      signal?.throwIfAborted();
    } finally {
      signal?.removeEventListener("abort", wake);
      for (const { reading } of begun) if (reading && this.#readings.delete(reading.id)) this.#stop(reading.id);
    }
  }

  /** Ends the worker. What is being read ends with a problem. */
  close(): void {
    this.#discard("The page has closed the reader.");
  }

  #begin(source: SourceFile, index: number, onProgress: (progress: ReadProgress) => void): Reading | undefined {
    if ("problem" in source) return undefined;
    const id = ++this.#lastId;
    const path = pathOf(source);
    const reading: Reading = {
      id,
      index,
      source,
      messages: [],
      wake: () => {},
      hasStarted: false,
      onProgress: (loaded, total) => onProgress({ index, path, loaded, total, done: index }),
    };
    this.#readings.set(id, reading);
    this.#post({ type: "read", id, index, source });
    return reading;
  }

  /** The events of the first one, which then is no longer among them. */
  async *#finish(begun: Begun[], signal: AbortSignal | undefined): AsyncGenerator<ReaderEvent, void, void> {
    const { index, source, reading } = begun[0]!;
    if (!reading) yield problemEvent(index, source, (source as { problem: string }).problem);
    else {
      for (;;) {
        signal?.throwIfAborted();
        const message = reading.messages.shift();
        if (message === undefined) {
          await new Promise<void>((resolve) => (reading.wake = resolve));
          continue;
        }
        if (message.type === "event") {
          yield message.event;
          // The worker may have been ended meanwhile.
          if (!isLast(message.event) && this.#readings.has(reading.id)) this.#post({ type: "more", id: reading.id });
        } else {
          this.#readings.delete(reading.id);
          if (message.type === "error") throw new Error(message.message);
          break;
        }
      }
    }
    begun.shift();
  }

  #stop(id: number): void {
    if (this.#worker === undefined) return;
    this.#post({ type: "abort", id });
    const timer = setTimeout(() => {
      this.#discard("Another document made the reader hang. Add this one again.");
    }, PATIENCE_MS);
    this.#stopping.set(id, timer);
  }

  #post(message: ToWorker): void {
    if (this.#worker === undefined) {
      if (message.type !== "read") return;
      this.#worker = this.#start();
    }
    this.#worker.then(
      (worker) => worker.postMessage(message),
      () => {}, // as `#start` has told
    );
  }

  #start(): Promise<Worker> {
    const life = new AbortController();
    this.#life = life;
    const fail = () => {
      if (life === this.#life) this.#discard(NOT_STARTED, false);
    };
    const starting = this.#starter.start(life.signal);
    starting.then((worker) => {
      worker.addEventListener("message", ({ data }: MessageEvent<FromWorker>) => this.#receive(data));
      worker.addEventListener("error", (event) => {
        event.preventDefault();
        fail();
      });
    }, fail);
    return starting;
  }

  #receive(message: FromWorker): void {
    if (message.type === "started") return;
    const reading = this.#readings.get(message.id);
    if (message.type === "end" || message.type === "error") {
      clearTimeout(this.#stopping.get(message.id));
      this.#stopping.delete(message.id);
    }
    if (reading === undefined) return;
    if (message.type === "progress") return reading.onProgress(message.loaded, message.total);
    reading.hasStarted ||= message.type === "event";
    reading.messages.push(message);
    reading.wake();
  }

  /** Ends the worker. Documents of which nothing is known yet are read by the next one, if they may be. */
  #discard(problem: string, mayRestart = true): void {
    this.#worker = undefined;
    const life = this.#life;
    this.#life = new AbortController();
    life.abort();
    for (const timer of this.#stopping.values()) clearTimeout(timer);
    this.#stopping.clear();
    for (const [id, reading] of this.#readings) {
      const { index, source, hasStarted, messages } = reading;
      if (mayRestart && !hasStarted) {
        this.#post({ type: "read", id, index, source });
      } else {
        this.#readings.delete(id);
        messages.push({ type: "event", id, event: problemEvent(index, source, problem) }, { type: "end", id });
        reading.wake();
      }
    }
  }
}

/** Whether it may wait in memory until its turn. */
function isSmall(source: SourceFile): boolean {
  return "problem" in source || ("file" in source && source.file.size <= AHEAD_BYTES);
}

function pathOf(source: SourceFile): string {
  return "text" in source ? source.name : source.path;
}

function problemEvent(index: number, source: SourceFile, problem: string): ReaderEvent {
  const path = pathOf(source);
  const name = path.slice(path.lastIndexOf("/") + 1);
  const bytes = "file" in source ? source.file.size : 0;
  const document: DocumentInfo = { index, name, path, type: "unknown", bytes };
  return { kind: "problem", document, reason: "unreadable", problem };
}

/** `page 3`, `Bread › Sourdough`, `row 12`; nothing, if the place is the whole document. */
export function placeText({ page, headings, row, line, key }: Place): string {
  const parts: string[] = [];
  if (page !== undefined) parts.push(`page ${page}`);
  if (headings !== undefined && headings.length > 0) parts.push(headings.join(" › "));
  if (row !== undefined) parts.push(`row ${row}`);
  if (key !== undefined) parts.push(key);
  // A heading says more than the number of a line.
  if (parts.length === 0 && line !== undefined) parts.push(`line ${line}`);
  return parts.join(", ");
}

/** To be called in the event's handler: afterwards its items are gone. Folders are read while one iterates. */
export function filesFromDrop({ items }: DataTransfer): AsyncIterable<SourceFile> {
  const found: (FileSystemEntry | File)[] = [];
  for (const item of items) {
    if (item.kind !== "file") continue;
    const entry = item.webkitGetAsEntry() ?? item.getAsFile();
    if (entry !== null) found.push(entry);
  }
  return walk(found);
}

/** Of an input for files, or for folders (`webkitdirectory`). */
export function* filesFromInput(files: Iterable<File>): Iterable<SourceFile> {
  for (const file of files) {
    const path = file.webkitRelativePath || file.name;
    if (!isHidden(path.split("/").slice(1))) yield { file, path };
  }
}

async function* walk(roots: readonly (FileSystemEntry | File)[]): AsyncGenerator<SourceFile, void, void> {
  const open = [...roots].reverse();
  for (let entry = open.pop(); entry !== undefined; entry = open.pop()) {
    if (entry instanceof File) {
      yield { file: entry, path: entry.name };
      continue;
    }
    const path = entry.fullPath.replace(/^\//, "");
    try {
      if (entry.isFile) {
        yield { file: await fileOf(entry as FileSystemFileEntry), path };
      } else {
        const entries = await entriesOf(entry as FileSystemDirectoryEntry);
        for (const child of entries.reverse()) if (!isHidden([child.name])) open.push(child);
      }
    } catch {
      yield { path, problem: "The browser could not open it." };
    }
  }
}

/** Within a folder: what programs keep there for themselves. */
function isHidden(names: readonly string[]): boolean {
  return names.some((name) => name.startsWith(".") || name === "__MACOSX" || name === "Thumbs.db");
}

function fileOf(entry: FileSystemFileEntry): Promise<File> {
  return new Promise((resolve, reject) => entry.file(resolve, reject));
}

async function entriesOf(folder: FileSystemDirectoryEntry): Promise<FileSystemEntry[]> {
  const reader = folder.createReader();
  const all: FileSystemEntry[] = [];
  for (;;) {
    // A hundred at a time, until there are no more.
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) break;
    for (const entry of some) all.push(entry);
  }
  return all.sort((a, b) => a.name.localeCompare(b.name));
}
