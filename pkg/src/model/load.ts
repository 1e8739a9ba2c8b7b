// From the store into wasm memory, by way of the network where the store does not have the model.

import { EmbervecError } from "../errors.js";
import type { ProgressEvent } from "../types.js";
import { type DownloadOptions, download } from "./download.js";
import { CHUNK_BYTES, type ModelRecord, type ModelStore } from "./store.js";

/** What takes the files: the wasm module's `Loader`. */
export interface ModelSink<Model> {
  /** Takes the files that are not weights. May be called again, to begin anew. */
  begin(files: Map<string, Uint8Array>): void;
  beginWeights(path: string, size: number): void;
  pushWeights(bytes: Uint8Array): void;
  endWeights(): void;
  finish(): Model;
}

export interface LoadModelOptions extends DownloadOptions {
  localFilesOnly: boolean;
}

/**
 * Loads a model. Only one tab at a time downloads it, and it is committed to the store only after
 * every byte has passed the loader's checks.
 */
export async function loadModel<Model>(
  store: ModelStore,
  sink: () => ModelSink<Model>,
  options: LoadModelOptions,
): Promise<{ model: Model; cached: boolean }> {
  const { base } = options;
  const fromCache = async () => {
    const record = await store.find(base);
    return record && { model: await fill(store, record, sink(), options), cached: true };
  };
  const cached = await fromCache();
  if (cached) return cached;
  if (options.localFilesOnly) {
    throw new EmbervecError(
      "model_not_found",
      `${base} is not in this browser's storage, and localFilesOnly forbids the network; load it once without`,
    );
  }
  return exclusively(base, options.signal, async () => {
    // Another tab may have been faster.
    const cached = await fromCache();
    if (cached) return cached;
    // What a tab that was closed in mid-download has left.
    await store.delete(base);
    try {
      const target = sink();
      const record = await download(store, options, (small) => target.begin(small));
      const model = await fill(store, record, target, options);
      options.signal.throwIfAborted();
      await store.commit(base, record);
      return { model, cached: false };
    } catch (error) {
      await store.delete(base);
      throw error;
    }
  });
}

async function exclusively<T>(name: string, signal: AbortSignal, action: () => Promise<T>): Promise<T> {
  // Absent outside secure contexts; then two tabs may both download, and the last one wins.
  if (!navigator.locks) return action();
  return navigator.locks.request(`embervec:${name}`, { signal }, action) as Promise<T>;
}

async function fill<Model>(
  store: ModelStore,
  record: ModelRecord,
  sink: ModelSink<Model>,
  { base, signal, progress, folderFiles }: DownloadOptions,
): Promise<Model> {
  const total = record.files.reduce((sum, { size }) => sum + size, 0);
  let loaded = 0;
  const chunksOf = async (path: string, size: number, take: (bytes: Uint8Array, offset: number) => void) => {
    for (let offset = 0; offset < size; offset += CHUNK_BYTES) {
      signal.throwIfAborted();
      const bytes = await store.read(base, path, offset / CHUNK_BYTES);
      take(bytes, offset);
      loaded += bytes.byteLength;
      const event: ProgressEvent = { stage: "load", file: path, loaded, total };
      progress(event);
    }
  };

  const sizes = new Map(record.files.map(({ path, size }) => [path, size]));
  const whole = async (path: string) => {
    const size = sizes.get(path);
    if (size === undefined) return undefined;
    const file = new Uint8Array(size);
    await chunksOf(path, size, (bytes, offset) => file.set(bytes, offset));
    return file;
  };
  const modulesJson = await whole("modules.json");
  const small = new Map<string, Uint8Array>(modulesJson ? [["modules.json", modulesJson]] : []);
  const weights: string[] = [];
  for (const file of folderFiles(modulesJson)) {
    if (file.weights) {
      weights.push(file.path);
    } else if (!small.has(file.path)) {
      const bytes = await whole(file.path);
      if (bytes) small.set(file.path, bytes);
    }
  }

  sink.begin(small);
  for (const path of weights) {
    const size = sizes.get(path) ?? 0;
    sink.beginWeights(path, size);
    await chunksOf(path, size, (bytes) => sink.pushWeights(bytes));
    sink.endWeights();
  }
  return sink.finish();
}
