// A model folder's weights in 8 bits for a server, and the manifest that lets a browser verify every file piece by
// piece: byte for byte what the native `embervec-pack` (crate/pack) writes.

import { createHash, randomUUID } from "node:crypto";
import { lstat, mkdir, open, realpath, rename, rm, stat, writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";

import { Folder, Loader } from "../../wasm/simd128/embervec.js";
import { joined } from "../bytes.js";
import { EmbervecError, messageOf } from "../errors.js";
import { CHUNK_BYTES, MAX_SMALL_FILE_BYTES } from "../limits.js";
import type { FolderFile } from "../model/folder.js";
import { type FileDigests, MANIFEST_JSON, writeManifest } from "../model/manifest.js";
import { makeFolder } from "../platform/node/make-folder.js";

/** The transformer's weights in 8 bits, where they were shards before. */
const PACKED = "model.q8.safetensors";

/** Of weights in several files, the list of these: it is about what is not copied. */
const SHARDS_INDEX = ".safetensors.index.json";

/** Files are read in pieces of this size. */
const PIECE_BYTES = 1 << 20;

/** The field before a weight file's header that says how long it is. */
const LENGTH_BYTES = 8;

/** The files of a model, wherever they are. */
export interface ModelFiles {
  /** A file's bytes; `undefined` for one that is not there. */
  size(path: string): Promise<number | undefined>;
  /** The bytes of a file that is there. */
  chunks(path: string): AsyncIterable<Uint8Array>;
}

export interface PackOptions {
  /** Folder of the result. It appears as a whole, or nothing of it; files of other names that are in it stay. */
  output: string;
  /** Bits of the values of embedding tables, 4 to 8. */
  tableBits: number;
  /** Hears of the weights' bytes that have been read. */
  progress?: (loaded: number, total: number) => void;
  signal?: AbortSignal;
}

/** What is written of a file. */
type WrittenFile = FileDigests & { sha256: string };

export interface PackedFolder {
  /** The path of the packed weights in it. */
  weights: string;
  /** What its manifest lists, by path. */
  files: ReadonlyMap<string, WrittenFile>;
}

/** The model folder `path` of this machine. */
export function filesOnDisk(path: string): ModelFiles {
  return {
    async size(name) {
      const found = await stat(join(path, name)).catch((error: NodeJS.ErrnoException) => {
        // Where a file is in the place of a folder, there is no file in it.
        if (error.code === "ENOENT" || error.code === "ENOTDIR") return undefined;
        throw unreadable(name, error);
      });
      // A pipe would be waited for, and a device may have no end.
      if (found && !found.isFile()) throw new EmbervecError("integrity", `${name}: is not a plain file`);
      return found?.size;
    },
    async *chunks(name) {
      try {
        const file = await open(join(path, name));
        try {
          for (;;) {
            const { bytesRead, buffer } = await file.read(new Uint8Array(PIECE_BYTES), 0, PIECE_BYTES);
            if (bytesRead === 0) return;
            yield buffer.subarray(0, bytesRead);
          }
        } finally {
          await file.close();
        }
      } catch (error) {
        throw unreadable(name, error);
      }
    },
  };
}

function unreadable(path: string, cause: unknown): EmbervecError {
  return new EmbervecError("storage", `${path} cannot be read: ${messageOf(cause)}`, { cause });
}

/**
 * Writes a model's folder as a server is to have it: its small files, its weights in 8 bits as one file, and its
 * manifest. The wasm module has been started.
 *
 * @param source the folder of `files`, where it is on this machine: packed into itself it keeps the original weights
 */
export async function packFolder(
  files: ModelFiles,
  { output, tableBits, progress = () => {}, signal }: PackOptions,
  source?: string,
): Promise<PackedFolder> {
  const { folder, small, absent } = await readFolder(files);
  const weights = folder.weights() as FolderFile[];
  // What a browser would refuse without the weights is refused here.
  const loader = new Loader(folder, "q8", undefined, tableBits);
  const originals = weights.filter(({ packed }) => packed !== undefined).map(({ path }) => path);
  const layers = weights.filter(({ packed }) => packed === undefined).map(({ path }) => path);
  const packed = packedName(weights.filter((file) => file.packed !== undefined));
  await refuseMissing(files, originals, packed);

  const isInPlace = source !== undefined && (await isSame(source, output));
  const kept = isInPlace ? [...small.keys(), ...layers, ...originals] : [];
  const copied = isInPlace ? [] : [...[...small.keys()].filter((path) => !path.endsWith(SHARDS_INDEX)), ...layers];
  if (!isInPlace) await refuseLeftovers(output, [...absent, ...originals]);

  const stage = await Stage.open(output, [...copied, packed, MANIFEST_JSON]);
  try {
    const written = new Map<string, WrittenFile>();
    for (const path of copied) {
      const bytes = small.get(path);
      written.set(path, await stage.write(path, bytes ? [bytes] : files.chunks(path)));
    }
    const result = await stage.write(packed, converted(loader, files, originals, progress, signal));
    for (const path of kept) written.set(path, await digestsOf(files.chunks(path)));
    // After those that are kept: it may take the place of an earlier one.
    written.set(packed, result);
    const sorted = [...written].sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    await stage.write(MANIFEST_JSON, [new TextEncoder().encode(writeManifest(sorted))]);
    signal?.throwIfAborted();
    await stage.commit();
    return { weights: packed, files: new Map(sorted) };
  } finally {
    await stage.close();
  }
}

/** Reads a folder's small files, and finds its weights. */
async function readFolder(files: ModelFiles) {
  const folder = new Folder();
  const small = new Map<string, Uint8Array>();
  const absent: string[] = [];
  for (let wanted = folder.wanted(); wanted.length > 0; wanted = folder.wanted()) {
    for (const { path, kind, packed } of wanted as FolderFile[]) {
      const size = (await files.size(path)) ?? (packed === undefined ? undefined : await files.size(packed));
      if (size === undefined) {
        folder.absent(path);
        absent.push(path);
      } else if (kind === "small") {
        if (size > MAX_SMALL_FILE_BYTES) {
          const problem = `has ${size} bytes; a file of its kind may have ${MAX_SMALL_FILE_BYTES}`;
          throw new EmbervecError("integrity", `${path}: ${problem}`);
        }
        const bytes = await whole(files.chunks(path));
        folder.put(path, bytes);
        small.set(path, bytes);
      } else {
        folder.found(path);
      }
    }
  }
  return { folder, small, absent };
}

async function whole(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  for await (const piece of chunks) pieces.push(piece);
  return joined(pieces);
}

/** Where the transformer's weights are to be, in one file whatever they were before. */
function packedName(originals: FolderFile[]): string {
  const [first] = originals;
  if (!first) throw new EmbervecError("unsupported_model", "the folder has no transformer");
  if (originals.length === 1) return first.packed!;
  return first.path.slice(0, first.path.lastIndexOf("/") + 1) + PACKED;
}

async function refuseMissing(files: ModelFiles, originals: string[], packed: string): Promise<void> {
  for (const path of originals) {
    if ((await files.size(path)) !== undefined) continue;
    if ((await files.size(packed)) !== undefined) throw packedAlready(packed);
    throw new EmbervecError("model_not_found", `${path} is missing; pack needs the original weights`);
  }
}

function packedAlready(path: string): EmbervecError {
  return new EmbervecError("unsupported_model", `${path}: the weights are already in 8 bits`);
}

/** Refuses a target in which a loader would take files of another model for a part of this one. */
async function refuseLeftovers(output: string, paths: string[]): Promise<void> {
  for (const path of paths) {
    const target = join(output, path);
    if (await isThere(target)) throw new EmbervecError("invalid_input", `${target} already exists; delete it first`);
  }
}

const isThere = (path: string) =>
  lstat(path).then(
    () => true,
    () => false,
  );

async function isSame(a: string, b: string): Promise<boolean> {
  const [first, second] = await Promise.all([a, b].map((path) => realpath(path).catch(() => undefined)));
  return first !== undefined && first === second;
}

/** Reads weights and gives them in 8 bits. */
async function* converted(
  loader: Loader,
  files: ModelFiles,
  paths: string[],
  progress: (loaded: number, total: number) => void,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  const name = paths.join(", ");
  const sources = await Promise.all(paths.map(async (path) => ({ path, size: (await files.size(path)) ?? 0 })));
  const total = sources.reduce((sum, { size }) => sum + size, 0);
  // As if they were one file.
  const headers = sources.length === 1 ? [] : await Promise.all(sources.map((source) => readHeader(files, source)));
  loader.beginWeights(name, undefined);
  if (headers.length > 0) loader.pushWeights(mergedHeader(headers));
  let [loaded, isEmpty] = [0, true];
  for (const [index, { path }] of sources.entries()) {
    let skipped = headers[index]?.end ?? 0;
    for await (const piece of files.chunks(path)) {
      signal?.throwIfAborted();
      const rest = piece.subarray(skipped);
      skipped -= piece.byteLength - rest.byteLength;
      loader.pushWeights(rest);
      const values = loader.takeConverted();
      isEmpty &&= values.byteLength === 0;
      yield values;
      progress((loaded += piece.byteLength), total);
    }
  }
  loader.endWeights();
  if (isEmpty) throw packedAlready(name);
}

/** The header of a weight file: what lies where in the bytes behind it. */
interface Header {
  path: string;
  tensors: Record<string, { data_offsets: number[] }>;
  /** Where it ends in the file. */
  end: number;
  /** Bytes behind it. */
  bytes: number;
}

async function readHeader(files: ModelFiles, { path, size }: { path: string; size: number }): Promise<Header> {
  const damaged = (problem: string) => new EmbervecError("integrity", `${path} is damaged: ${problem}`);
  let begin: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  let end = LENGTH_BYTES;
  for await (const piece of files.chunks(path)) {
    begin = joined([begin, piece]);
    if (begin.byteLength < LENGTH_BYTES) continue;
    // How every pointer begins: `version https://…`.
    if (new TextDecoder().decode(begin.subarray(0, LENGTH_BYTES)) === "version ") {
      throw damaged("it is a Git LFS pointer, not the weights themselves; run `git lfs pull` to download them");
    }
    end = LENGTH_BYTES + Number(new DataView(begin.buffer).getBigUint64(0, true));
    if (end > size || begin.byteLength >= end) break;
  }
  if (begin.byteLength < end) throw damaged("it ends within its header, or is not a safetensors file");
  try {
    const json = new TextDecoder("utf-8", { fatal: true }).decode(begin.subarray(LENGTH_BYTES, end));
    return { path, tensors: JSON.parse(json) as Header["tensors"], end, bytes: size - end };
  } catch (cause) {
    throw damaged(`its header is not a list of tensors: ${messageOf(cause)}`);
  }
}

/**
 * The beginning of one file with all tensors of several: behind it belong the files' bytes without their headers, in
 * the same order. Whoever reads it compares places and shapes.
 */
function mergedHeader(headers: Header[]): Uint8Array {
  const merged = new Map<string, unknown>();
  let begin = 0;
  for (const { path, tensors, bytes } of headers) {
    for (const [name, tensor] of Object.entries(Object(tensors) as Header["tensors"])) {
      if (name === "__metadata__") continue;
      const { data_offsets: offsets } = Object(tensor) as Partial<Header["tensors"][string]>;
      if (!Array.isArray(offsets) || !offsets.every(Number.isSafeInteger) || merged.has(name)) {
        const problem = merged.has(name) ? "is in two files" : "has no data_offsets";
        throw new EmbervecError("integrity", `${path}: tensor "${name}" ${problem}`);
      }
      merged.set(name, { ...tensor, data_offsets: offsets.map((at) => at + begin) });
    }
    begin += bytes;
  }
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(merged)));
  const length = new DataView(new ArrayBuffer(LENGTH_BYTES));
  length.setBigUint64(0, BigInt(json.byteLength), true);
  return joined([new Uint8Array(length.buffer), json]);
}

/** Counts a file's bytes and their digests while they go by. */
class Digests {
  readonly #whole = createHash("sha256");
  readonly #chunks: string[] = [];
  #chunk = createHash("sha256");
  #size = 0;

  update(bytes: Uint8Array): void {
    this.#whole.update(bytes);
    while (bytes.byteLength > 0) {
      const taken = bytes.subarray(0, CHUNK_BYTES - (this.#size % CHUNK_BYTES));
      this.#chunk.update(taken);
      this.#size += taken.byteLength;
      bytes = bytes.subarray(taken.byteLength);
      if (this.#size % CHUNK_BYTES === 0) this.#endChunk();
    }
  }

  end(): WrittenFile {
    if (this.#size % CHUNK_BYTES > 0) this.#endChunk();
    return { size: this.#size, sha256: this.#whole.digest("hex"), chunks: this.#chunks };
  }

  #endChunk(): void {
    this.#chunks.push(this.#chunk.digest("hex"));
    this.#chunk = createHash("sha256");
  }
}

async function digestsOf(pieces: AsyncIterable<Uint8Array>): Promise<WrittenFile> {
  const digests = new Digests();
  for await (const piece of pieces) digests.update(piece);
  return digests.end();
}

/** A folder's new files, in a folder of their own until all of them have been written. */
class Stage {
  private constructor(
    /** Where they are to be. */
    private readonly output: string,
    /** Where they are meanwhile. */
    private readonly folder: string,
    private readonly isNew: boolean,
    private readonly paths: readonly string[],
  ) {}

  /** For these files of a folder, which may be there or not. */
  static async open(output: string, paths: readonly string[]): Promise<Stage> {
    output = resolve(output);
    const isNew = !(await isThere(output));
    try {
      if (!isNew && !(await stat(output)).isDirectory()) throw new Error("it is not a folder");
      for (const path of isNew ? [] : paths) await refuseLinks(output, path);
      await makeFolder(isNew ? dirname(output) : output);
      // Beside a new folder or within the one that is there: on the same disk, so that a move does not copy. Not by
      // `mkdtemp`: what it makes only its owner can read, and a server is to.
      const partial = `partial-${randomUUID()}`;
      const folder = isNew ? join(dirname(output), `.${basename(output)}.${partial}`) : join(output, `.${partial}`);
      await mkdir(folder);
      return new Stage(output, folder, isNew, paths);
    } catch (cause) {
      throw unwritable(output, cause);
    }
  }

  async write(path: string, pieces: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Promise<WrittenFile> {
    const target = join(this.folder, path);
    const digests = new Digests();
    let problem: unknown;
    const counted = async function* () {
      try {
        for await (const piece of pieces) {
          digests.update(piece);
          yield piece;
        }
      } catch (error) {
        throw (problem = error);
      }
    };
    try {
      await makeFolder(dirname(target));
      await writeFile(target, counted(), { flag: "wx" });
    } catch (error) {
      throw problem ?? unwritable(join(this.output, path), error);
    }
    return digests.end();
  }

  /** Puts the files where they are to be; the manifest, which is the last one, after what it is about. */
  async commit(): Promise<void> {
    try {
      if (this.isNew) return await rename(this.folder, this.output);
      for (const path of this.paths) {
        const target = join(this.output, path);
        await makeFolder(dirname(target));
        await rename(join(this.folder, path), target);
      }
    } catch (cause) {
      throw unwritable(this.output, cause);
    }
  }

  /** Nothing is left of what has not been committed. */
  async close(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** Refuses a file that would be written through a link to somewhere else, or in the place of a folder. */
async function refuseLinks(output: string, path: string): Promise<void> {
  const parts = path.split("/");
  for (let count = 1; count <= parts.length; count++) {
    const target = join(output, ...parts.slice(0, count));
    const found = await lstat(target).catch(() => undefined);
    const isLast = count === parts.length;
    // A link in a file's place is replaced, as a file is.
    const isFit = !found || (isLast ? found.isFile() || found.isSymbolicLink() : found.isDirectory());
    if (!isFit) throw new Error(`${target} is not a ${isLast ? "plain file" : "folder"}`);
  }
}

function unwritable(path: string, cause: unknown): EmbervecError {
  return new EmbervecError("storage", `cannot write ${path}: ${messageOf(cause)}`, { cause });
}
