// From the host or the store into wasm memory.

import { joined } from "../bytes.js";
import type { AbsentFiles, ModelRecord, StoredFile, StoredFiles } from "../cache/entries.js";
import { Sha256, sha256Of } from "../cache/sha256.js";
import { ChunkWriter, type ModelStore, folderOf } from "../cache/store.js";
import { EmbervecError, type EmbervecErrorCode, codeOf } from "../errors.js";
import { MAX_SMALL_FILE_BYTES } from "../limits.js";
import { type Folder, type FolderFile, type FolderOptions, type FolderPlan, openFolder } from "./folder.js";
import { StaleError } from "./host.js";
import { Progress } from "./progress.js";
import { PinError, WebPageError } from "./remote-file.js";
import { STORAGE } from "../platform/web.js";
import type { ProgressCallback } from "../types.js";
import { fileUrl, modelKey } from "./source.js";

/** What takes the files: the wasm module's `Folder` and `Loader`. */
export interface ModelSink<Model> {
  /** Which files there are. */
  readonly plan: FolderPlan;
  /** Reads the small files, once nothing is wanted any more; gives the files with weights. */
  begin(): FolderFile[];
  /** @param length the file's bytes, where that is known */
  beginWeights(path: string, length: number | undefined): void;
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
  /** Identifies the weights as they are stored, or would be: wherever they come from. */
  weights: string;
}

type Made<Model> = Omit<LoadedModel<Model>, "cached">;

/**
 * A stored model that fails so is damaged, or an earlier version of this package has stored less than is needed; or the
 * cache is broken.
 */
const REFETCHED: readonly (EmbervecErrorCode | undefined)[] = [
  "integrity",
  "model_not_found",
  "unsupported_model",
  "storage",
];

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
  const { base } = options.host;
  const key = modelKey(base, dtype);
  let failure: { from: string; storedAt: number; error: unknown } | undefined;
  /** @param isAlone whether nobody else writes what is stored of the model, so that it may be hidden */
  const loadForm = async (from: string, isAlone: boolean): Promise<LoadedModel<Model> | undefined> => {
    const record = await store.find(from);
    if (!record) return undefined;
    let error = failure?.from === from && failure.storedAt === record.storedAt ? failure.error : undefined;
    if (!error) {
      try {
        return { ...(await loadStored(store, from, record, newSink(), options)), cached: true };
      } catch (thrown) {
        if (!REFETCHED.includes(codeOf(thrown))) throw thrown;
        error = thrown;
        failure ??= { from, storedAt: record.storedAt, error };
      }
    }
    // Without the network another version of this package, or a caller with other pins, may still make something of what is whole.
    const isDamaged = codeOf(error) === "integrity" && !(error instanceof PinError);
    if (isAlone && isDamaged) await store.hide(from);
    return undefined;
  };

  // Before anything is read, so that nothing of it makes room for others.
  await store.use(base);
  const stored = await loadForm(key, false);
  if (stored) return stored;
  const refuseToFetch = (): never => {
    if (failure) throw failure.error;
    if (store.isBroken)
      throw new EmbervecError("storage", `${base} could not be read from the cache, ${store.unusable}`);
    throw new EmbervecError(
      "model_not_found",
      `${base} is not completely stored in ${STORAGE}, and localFilesOnly forbids the network; load it once without that option, or add it with importModel`,
    );
  };
  if (localFilesOnly && !failure && (key === base || !(await store.find(base)))) return refuseToFetch();
  return store.exclusively(base, async () => {
    // Another tab may have been faster. What the weights in 8 bits have been made of is as good: they are made of it again.
    for (const from of new Set([key, base])) {
      const stored = await loadForm(from, true);
      if (stored) return stored;
    }
    if (localFilesOnly) return refuseToFetch();
    return { ...(await fromHost(store, key, newSink, options)), cached: false };
  });
}

/** Starts over if the first attempt met what does not fit together, but no more than once. */
async function fromHost<Model>(
  store: ModelStore,
  key: string,
  newSink: () => ModelSink<Model>,
  options: LoadModelOptions,
): Promise<Made<Model>> {
  // What has been reported stays so.
  let most = { loaded: 0, total: 0 };
  const progress: ProgressCallback = (event) => {
    most = { loaded: Math.max(most.loaded, event.loaded), total: Math.max(most.total, event.total) };
    options.progress({ ...event, ...most });
  };
  try {
    return await loadRemote(store, key, newSink(), { ...options, progress });
  } catch (error) {
    options.host.signal.throwIfAborted();
    if (!(error instanceof StaleError)) throw error;
    return loadRemote(store, key, newSink(), { ...options, progress, host: { ...options.host, isSecond: true } });
  }
}

async function loadStored<Model>(
  store: ModelStore,
  from: string,
  record: ModelRecord,
  sink: ModelSink<Model>,
  options: LoadModelOptions,
): Promise<Made<Model>> {
  const { dtype, host } = options;
  const key = modelKey(host.base, dtype);
  await checkPins(store, from, record, options);
  const progress = new Progress("load", options.progress);
  for (const { size } of record.files.values()) progress.expect(size);
  const kept = new Map<string, StoredFile>();
  const whole = async (path: string, file: StoredFile) => {
    if (file.size > MAX_SMALL_FILE_BYTES) {
      const problem = `has ${file.size} bytes in ${STORAGE}, which no file of its kind has`;
      throw new EmbervecError("integrity", `${folderOf(from)}${path} ${problem}`);
    }
    const pieces: Uint8Array[] = [];
    const writer = from === key ? undefined : new ChunkWriter(store, key, path);
    for await (const chunk of store.chunks(from, path, file)) {
      pieces.push(chunk);
      await writer?.append(chunk);
    }
    if (writer) kept.set(path, await writer.end());
    progress.add(path, file.size);
    progress.end(path);
    return joined(pieces);
  };
  for (let wanted = sink.plan.wanted(); wanted.length > 0; wanted = sink.plan.wanted()) {
    for (const { path, kind, packed } of wanted) {
      const file = record.files.get(path) ?? (packed === undefined ? undefined : record.files.get(packed));
      if (!file) {
        refuseUnknown(record, from, path);
        sink.plan.absent(path);
      } else if (kind === "small") {
        sink.plan.put(path, await whole(path, file));
      } else {
        sink.plan.found(path);
      }
    }
  }

  const weights: StoredFile[] = [];
  for (const { path, packed } of sink.begin()) {
    const stored = packed !== undefined && record.files.has(packed) ? packed : path;
    const file = record.files.get(stored)!;
    // A model of the host's own weights becomes one in 8 bits, which is stored beside it.
    const target = from === key ? undefined : (packed ?? path);
    const writer = target === undefined ? undefined : new ChunkWriter(store, key, target);
    const chunks = counted(store.chunks(from, stored, file), stored, progress);
    await fill(sink, stored, file.size, chunks, host.signal, writer, packed === undefined);
    const made = await writer?.end();
    if (target !== undefined && made) kept.set(target, made);
    weights.push(made ?? file);
  }
  const model = sink.finish();
  host.signal.throwIfAborted();
  // So that they need not be compared again.
  const integrity = new Map([...(record.integrity ?? []), ...(host.integrity ?? [])]);
  if (from === key) await store.touch(key, { ...record, integrity });
  else await store.commit(key, { ...newRecord(options, kept, record.absent), integrity });
  return { model, weights: await digestOf(weights) };
}

/** Of the digests of the files' chunks, which are known: nothing is read again for it. */
async function digestOf(files: readonly StoredFile[]): Promise<string> {
  const chunks = files.map(({ chunks }) => `${chunks.join(" ")}\n`);
  return sha256Of(new TextEncoder().encode(chunks.join("")));
}

/** A stored model is used only if every file that the caller has pinned matches, or has matched when it came. */
async function checkPins(
  store: ModelStore,
  from: string,
  { files, integrity }: ModelRecord,
  { host }: LoadModelOptions,
): Promise<void> {
  for (const [path, sha256] of host.integrity ?? []) {
    if (integrity?.get(path) === sha256) continue;
    const file = files.get(path);
    const hash = new Sha256();
    if (file) for await (const chunk of store.chunks(from, path, file)) hash.update(chunk);
    host.signal.throwIfAborted();
    if (!file || hash.digest() !== sha256) throw new PinError(fileUrl(host.base, path));
  }
}

/** Nothing is taken for absent that may only not have been looked for when the model was stored. */
function refuseUnknown({ absent }: ModelRecord, model: string, path: string): void {
  if (absent === "others" || absent.has(path)) return;
  const problem = `is not in ${STORAGE}: an earlier version of embervec stored the model`;
  throw new EmbervecError("model_not_found", `${folderOf(model)}${path} ${problem}; load it once while you are online`);
}

async function* counted(
  chunks: AsyncIterable<Uint8Array<ArrayBuffer>>,
  path: string,
  progress: Progress,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  for await (const chunk of chunks) {
    yield chunk;
    progress.add(path, chunk.byteLength);
  }
  progress.end(path);
}

async function loadRemote<Model>(
  store: ModelStore,
  key: string,
  sink: ModelSink<Model>,
  options: LoadModelOptions,
): Promise<Made<Model>> {
  const folder = await openFolder(store, key, sink.plan, options);
  try {
    return await loadFolder(store, key, sink, folder, options);
  } finally {
    folder.cancel();
  }
}

async function loadFolder<Model>(
  store: ModelStore,
  key: string,
  sink: ModelSink<Model>,
  { stored, absent, weights: opening, progress, explain }: Folder,
  options: LoadModelOptions,
): Promise<Made<Model>> {
  const { host } = options;
  try {
    sink.begin();
  } catch (error) {
    throw await explain(error);
  }
  const weights = await opening;
  const bytes = (files: typeof weights) => files.reduce((sum, { remote }) => sum + remote.missing, 0);
  const sources = bytes(weights.filter(({ packed }) => packed !== undefined));
  await store.reserve(key, bytes(weights) - sources + sources * PACKED_SHARE, sources);
  const files: StoredFile[] = [];
  for (const { remote, packed } of weights) {
    const { announced } = remote;
    const writer = packed === undefined ? undefined : new ChunkWriter(store, key, packed);
    try {
      await fill(sink, remote.path, remote.expectedSize, remote.chunks(progress), host.signal, writer);
    } catch (error) {
      // What nothing but its own weirdness speaks against is fetched anew the next time.
      if (!remote.isVerified && isAgainstBytes(error)) await remote.stored.clear();
      throw error;
    }
    progress.end(remote.path, remote.size - announced);
    const file = (await writer?.end()) ?? {
      size: remote.size,
      version: remote.stored.version,
      chunks: remote.digests,
    };
    stored.set(packed ?? remote.path, file);
    files.push(file);
  }
  const model = sink.finish();
  host.signal.throwIfAborted();
  await store.commit(key, newRecord(options, stored, absent));
  // Of what it has been made of nothing is needed any more.
  if (key !== host.base) await store.dropUnfinished(host.base);
  return { model, weights: await digestOf(files) };
}

/** Whether what has come is no model's, rather than that the rest does not come. */
function isAgainstBytes(error: unknown): boolean {
  const code = codeOf(error);
  return code === "unsupported_model" || (code === "integrity" && !(error instanceof WebPageError));
}

/** Gives the sink a weight file; what it makes of it goes to `writer`, or the file itself where that is to be copied. */
async function fill<Model>(
  sink: ModelSink<Model>,
  path: string,
  length: number | undefined,
  chunks: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
  writer: ChunkWriter | undefined,
  isCopied = false,
): Promise<void> {
  sink.beginWeights(path, length);
  for await (const chunk of chunks) {
    signal.throwIfAborted();
    sink.pushWeights(chunk);
    const converted = sink.takeConverted();
    await writer?.append(isCopied ? chunk : converted);
  }
  sink.endWeights();
  if (writer && !isCopied && writer.size === 0) {
    const name = path.replace(/(\.q8)?\.safetensors$/, ".q8.safetensors");
    throw new EmbervecError(
      "unsupported_model",
      `${path} has weights that are already in 8 bits; rename it to ${name} and list it in a manifest.json beside it`,
    );
  }
}

function newRecord({ name, revision, host }: LoadModelOptions, files: StoredFiles, absent: AbsentFiles): ModelRecord {
  const now = Date.now();
  return { name, revision, files, absent, integrity: host.integrity, storedAt: now, usedAt: now };
}
