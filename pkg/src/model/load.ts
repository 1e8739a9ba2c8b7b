// From the host or the store into wasm memory.

import { ChunkWriter, DamagedChunk, type ModelRecord, type ModelStore, type StoredFile, markInUse } from "../cache/store.js";
import { EmbervecError } from "../errors.js";
import { type FolderFile, type FolderOptions, openFolder } from "./folder.js";
import { Progress } from "./progress.js";
import { modelKey } from "./source.js";

/** What takes the files: the wasm module's `Loader`. */
export interface ModelSink<Model> {
  /** Takes the files that are not weights. */
  begin(files: Map<string, Uint8Array>): void;
  beginWeights(path: string): void;
  pushWeights(bytes: Uint8Array): void;
  /** What is new of the file to keep in place of the one under way; empty where that is kept itself. */
  takeConverted(): Uint8Array<ArrayBuffer>;
  endWeights(): void;
  finish(): Model;
}

export interface LoadModelOptions extends FolderOptions {
  /** As `load` was asked for it. */
  name: string;
  revision: string | undefined;
  localFilesOnly: boolean;
}

export interface LoadedModel<Model> {
  model: Model;
  /** Whether it came from the store. */
  cached: boolean;
}

/** What 8 bits take of 32, scales included. */
const PACKED_SHARE = 0.26;

/**
 * Loads a model, from the store where it is whole there. Only one tab at a time downloads it, and it is committed to the store only
 * after every byte has passed all checks. What has come is stored at once, so that a download that was interrupted goes on where it
 * was. Weights that have to be made smaller for `dtype` are stored as what they become.
 */
export async function loadModel<Model>(
  store: ModelStore,
  newSink: () => ModelSink<Model>,
  options: LoadModelOptions,
): Promise<LoadedModel<Model>> {
  const { dtype, localFilesOnly } = options;
  const { base, signal } = options.host;
  await markInUse(base);
  const key = modelKey(base, dtype);
  const fromStore = async (): Promise<LoadedModel<Model> | undefined> => {
    for (const from of new Set([key, base])) {
      const record = await store.find(from);
      if (!record) continue;
      try {
        const model = await loadStored(store, from, record, newSink(), options);
        return { model, cached: true };
      } catch (error) {
        if (!(error instanceof DamagedChunk) || localFilesOnly) throw error;
        await store.hide(from);
      }
    }
    return undefined;
  };

  const stored = await fromStore();
  if (stored) return stored;
  if (localFilesOnly) {
    throw new EmbervecError(
      "model_not_found",
      `${base} is not in this browser's storage, and localFilesOnly forbids the network; load it once without, or bring it with importModel`,
    );
  }
  // Another tab may have been faster.
  return exclusively(base, signal, async () => (await fromStore()) ?? { model: await loadRemote(store, key, newSink(), options), cached: false });
}

async function exclusively<T>(name: string, signal: AbortSignal, action: () => Promise<T>): Promise<T> {
  // Absent outside secure contexts; then two tabs may both download.
  if (!navigator.locks) return action();
  return navigator.locks.request(`embervec loads ${name}`, { signal }, action) as Promise<T>;
}

async function loadStored<Model>(
  store: ModelStore,
  from: string,
  record: ModelRecord,
  sink: ModelSink<Model>,
  options: LoadModelOptions,
): Promise<Model> {
  const { dtype, host } = options;
  const key = modelKey(host.base, dtype);
  const progress = new Progress("load", options.progress);
  for (const { size } of Object.values(record.files)) progress.expect(size);
  const kept: Record<string, StoredFile> = {};
  const whole = async (path: string) => {
    const file = record.files[path];
    if (!file) return undefined;
    const bytes = new Uint8Array(file.size);
    const writer = from === key ? undefined : new ChunkWriter(store, key, path);
    let at = 0;
    for await (const chunk of store.chunks(from, path, file)) {
      bytes.set(chunk, at);
      at += chunk.byteLength;
      await writer?.append(chunk);
    }
    if (writer) kept[path] = await writer.end();
    progress.add(path, file.size);
    progress.end(path);
    return bytes;
  };
  const modulesJson = await whole("modules.json");
  const small = new Map<string, Uint8Array>(modulesJson ? [["modules.json", modulesJson]] : []);
  const weights: FolderFile[] = [];
  for (const file of options.folderFiles(modulesJson)) {
    if (file.weights) {
      weights.push(file);
    } else if (!small.has(file.path)) {
      const bytes = await whole(file.path);
      if (bytes) small.set(file.path, bytes);
    }
  }

  sink.begin(small);
  for (const { path, packed } of weights) {
    const stored = packed !== undefined && record.files[packed] ? packed : path;
    const file = record.files[stored];
    if (!file) throw new EmbervecError("model_not_found", `${host.base}${stored} is not in this browser's storage; delete the model and load it again`);
    // A model of the host's own weights becomes one in 8 bits, which is stored beside it.
    const target = from === key ? undefined : packed ?? path;
    const writer = target === undefined ? undefined : new ChunkWriter(store, key, target);
    await fill(sink, stored, counted(store.chunks(from, stored, file), stored, progress), host.signal, writer, packed === undefined);
    if (target !== undefined && writer) kept[target] = await writer.end();
  }
  const model = sink.finish();
  host.signal.throwIfAborted();
  if (from === key) await store.touch(key, record);
  else await store.commit(key, newRecord(options, kept));
  return model;
}

async function* counted(chunks: AsyncIterable<Uint8Array<ArrayBuffer>>, path: string, progress: Progress): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  for await (const chunk of chunks) {
    yield chunk;
    progress.add(path, chunk.byteLength);
  }
  progress.end(path);
}

async function loadRemote<Model>(store: ModelStore, key: string, sink: ModelSink<Model>, options: LoadModelOptions): Promise<Model> {
  const { host } = options;
  const { small, stored, weights: opening, progress } = await openFolder(store, key, options);
  sink.begin(small);
  const weights = await opening;
  const bytes = (files: typeof weights) => files.reduce((sum, { remote }) => sum + remote.missing, 0);
  const sources = bytes(weights.filter(({ packed }) => packed !== undefined));
  await store.reserve(key, bytes(weights) - sources + sources * PACKED_SHARE, sources);
  for (const { remote, packed } of weights) {
    const { announced } = remote;
    const writer = packed === undefined ? undefined : new ChunkWriter(store, key, packed);
    try {
      await fill(sink, remote.path, remote.chunks(progress), host.signal, writer);
    } catch (error) {
      // What nothing but its own weirdness speaks against is fetched anew the next time.
      if (!remote.isVerified && !isInterruption(error, host.signal)) await remote.stored.clear();
      throw error;
    }
    progress.end(remote.path, remote.size - announced);
    if (packed === undefined || !writer) {
      stored[remote.path] = { size: remote.size, version: remote.stored.version, chunks: remote.digests };
    } else {
      stored[packed] = await writer.end();
    }
  }
  const model = sink.finish();
  host.signal.throwIfAborted();
  await store.commit(key, newRecord(options, stored));
  // Of what it has been made of nothing is needed any more.
  if (key !== host.base && !(await store.find(host.base))) await store.delete(host.base);
  return model;
}

/** Whether the bytes that have come are as good as before. */
function isInterruption(error: unknown, signal: AbortSignal): boolean {
  return signal.aborted || (error instanceof EmbervecError && error.code === "network");
}

/** Gives the sink a weight file; what it makes of it goes to `writer`, or the file itself where that is to be copied. */
async function fill<Model>(
  sink: ModelSink<Model>,
  path: string,
  chunks: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
  writer: ChunkWriter | undefined,
  isCopied = false,
): Promise<void> {
  sink.beginWeights(path);
  for await (const chunk of chunks) {
    signal.throwIfAborted();
    sink.pushWeights(chunk);
    const converted = sink.takeConverted();
    await writer?.append(isCopied ? chunk : converted);
  }
  sink.endWeights();
  if (writer && !isCopied && writer.size === 0) {
    throw new EmbervecError("unsupported_model", `${path} holds weights in 8 bits already; name it model.q8.safetensors, beside a manifest.json that lists it`);
  }
}

function newRecord({ name, revision }: LoadModelOptions, files: Record<string, StoredFile>): ModelRecord {
  const now = Date.now();
  return { name, revision, files, storedAt: now, usedAt: now };
}
