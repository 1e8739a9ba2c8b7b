// From the store into wasm memory, by way of the network where the store does not have the model.

import { EmbervecError } from "../errors.js";
import type { Dtype, ProgressEvent } from "../types.js";
import { type DownloadOptions, download } from "./download.js";
import { CHUNK_BYTES, ChunkWriter, type ModelRecord, type ModelStore } from "./store.js";

/** What takes the files: the wasm module's `Loader`. */
export interface ModelSink<Model> {
  /** Takes the files that are not weights. May be called again, to begin anew. */
  begin(files: Map<string, Uint8Array>): void;
  beginWeights(path: string, size: number): void;
  pushWeights(bytes: Uint8Array): void;
  /** What is new of the file to keep in place of the one under way; empty where that is kept itself. */
  takeConverted(): Uint8Array<ArrayBuffer>;
  endWeights(): void;
  finish(): Model;
}

export interface LoadModelOptions extends DownloadOptions {
  dtype: Dtype;
  localFilesOnly: boolean;
}

/**
 * Loads a model. Only one tab at a time downloads it, and it is committed to the store only after
 * every byte has passed the loader's checks. A quantised model is kept as such, at a quarter of the
 * size.
 */
export async function loadModel<Model>(
  store: ModelStore,
  sink: () => ModelSink<Model>,
  options: LoadModelOptions,
): Promise<{ model: Model; cached: boolean }> {
  const { base, dtype, signal } = options;
  const quantized = `${base}#q8`;
  const convert = async (record: ModelRecord, target: ModelSink<Model>) => {
    try {
      const filled = await fill(store, { key: base, record }, target, options, quantized);
      signal.throwIfAborted();
      await store.commit(quantized, filled.record);
      return filled.model;
    } catch (error) {
      await store.delete(quantized);
      throw error;
    }
  };
  const fromCache = async () => {
    const key = dtype === "q8" ? quantized : base;
    const record = await store.find(key);
    if (record) return { model: (await fill(store, { key, record }, sink(), options)).model, cached: true };
    const original = await store.find(base);
    return original && { model: await convert(original, sink()), cached: true };
  };

  const cached = await fromCache();
  if (cached) return cached;
  if (options.localFilesOnly) {
    throw new EmbervecError(
      "model_not_found",
      `${base} is not in this browser's storage, and localFilesOnly forbids the network; load it once without`,
    );
  }
  return exclusively(base, signal, async () => {
    // Another tab may have been faster.
    const cached = await fromCache();
    if (cached) return cached;
    // What a tab that was closed in mid-download has left.
    await store.delete(quantized);
    await store.delete(base);
    try {
      const target = sink();
      const record = await download(store, options, (small) => target.begin(small));
      if (dtype === "q8" && store.persistent) {
        const model = await convert(record, target);
        await store.delete(base);
        return { model, cached: false };
      }
      const { model } = await fill(store, { key: base, record }, target, options);
      signal.throwIfAborted();
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

/**
 * Reads a stored model into `sink`. With `keepAs` it is stored under that key once more, as the sink
 * has converted it.
 */
async function fill<Model>(
  store: ModelStore,
  { key, record }: { key: string; record: ModelRecord },
  sink: ModelSink<Model>,
  { signal, progress, folderFiles }: DownloadOptions,
  keepAs?: string,
): Promise<{ model: Model; record: ModelRecord }> {
  const total = record.files.reduce((sum, { size }) => sum + size, 0);
  let loaded = 0;
  const kept: ModelRecord = { files: [], storedAt: Date.now() };
  const read = async (path: string, size: number, take: (bytes: Uint8Array<ArrayBuffer>, chunk: number) => unknown) => {
    for (let chunk = 0; chunk * CHUNK_BYTES < size; chunk++) {
      signal.throwIfAborted();
      await take(await store.read(key, path, chunk), chunk);
    }
  };
  const advance = (path: string, bytes: number) => {
    loaded += bytes;
    const event: ProgressEvent = { stage: "load", file: path, loaded, total };
    progress(event);
  };
  const copy = async (path: string, size: number) => {
    if (keepAs === undefined) return;
    await read(path, size, (bytes, chunk) => store.write(keepAs, path, chunk, bytes));
    kept.files.push({ path, size });
  };

  const sizes = new Map(record.files.map(({ path, size }) => [path, size]));
  const whole = async (path: string) => {
    const size = sizes.get(path);
    if (size === undefined) return undefined;
    const file = new Uint8Array(size);
    await read(path, size, (bytes, chunk) => {
      file.set(bytes, chunk * CHUNK_BYTES);
      advance(path, bytes.byteLength);
    });
    await copy(path, size);
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
    const writer = keepAs === undefined ? undefined : new ChunkWriter((chunk, bytes) => store.write(keepAs, path, chunk, bytes));
    sink.beginWeights(path, size);
    await read(path, size, async (bytes) => {
      sink.pushWeights(bytes);
      const converted = sink.takeConverted();
      await writer?.append(converted);
      advance(path, bytes.byteLength);
    });
    sink.endWeights();
    if (writer && writer.size > 0) {
      kept.files.push({ path, size: await writer.end() });
    } else {
      await copy(path, size);
    }
  }
  return { model: sink.finish(), record: kept };
}
