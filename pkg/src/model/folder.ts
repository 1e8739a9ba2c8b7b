// A model folder on its host: which files it has, and what is known of them.

import { ANY_VERSION, type ModelStore, type StoredFile, keepFile } from "../cache/store.js";
import { gitBlobOf, sha256Of } from "../cache/sha256.js";
import { EmbervecError } from "../errors.js";
import type { Dtype, ProgressCallback } from "../types.js";
import { type Body, type Host, TransientError, request, versionOf, withRetries } from "./host.js";
import { CHUNK_BYTES, type FileDigests, MANIFEST_JSON, type Manifest, parseManifest } from "./manifest.js";
import { Progress } from "./progress.js";
import { RemoteFile, isHtml, refuseHtml, requestFile, startsAt } from "./remote-file.js";
import { fileUrl } from "./source.js";

const MODULES_JSON = "modules.json";

/** How often a small file with a wrong digest is fetched before the host is given up. */
const MAX_WRONG = 3;

/** One file that a model folder may have. */
export interface FolderFile {
  path: string;
  required: boolean;
  weights: boolean;
  /** The same weights in 8 bits, where there can be such. */
  packed?: string;
}

/** Which files a folder with this `modules.json` has. */
export type FolderFiles = (modulesJson: Uint8Array | undefined) => FolderFile[];

export interface FolderOptions {
  host: Host;
  dtype: Dtype;
  folderFiles: FolderFiles;
  progress: ProgressCallback;
}

export interface WeightFile {
  remote: RemoteFile;
  /** What the file is to be called once it has been made into 8 bits; absent where it is stored as it comes. */
  packed: string | undefined;
}

/** A folder whose small files have come and are stored. */
export interface Folder {
  small: Map<string, Uint8Array>;
  stored: Record<string, StoredFile>;
  weights: Promise<WeightFile[]>;
  progress: Progress;
}

/**
 * Fetches a folder's small files and asks for its weights.
 *
 * @param model as which the folder is stored
 */
export async function openFolder(store: ModelStore, model: string, options: FolderOptions): Promise<Folder> {
  const { host, dtype } = options;
  const [manifest, modules] = await Promise.all([fetchManifest(host), openSmall(host, MODULES_JSON, false)]);
  const modulesJson = await modules?.bytes(manifest?.get(MODULES_JSON));
  const files = options.folderFiles(modulesJson).filter(({ path }) => path !== MODULES_JSON);
  const progress = new Progress("download", options.progress);

  // Everything is asked for at once, so that all sizes are known before the first byte is counted; but what is wrong with the small
  // files is reported before what is wrong with the weights.
  const weights = Promise.all(files.filter(({ weights }) => weights).map((file) => openWeights(store, model, host, dtype, file, manifest)));
  const smalls = await Promise.all(
    files.filter(({ weights }) => !weights).map(async ({ path, required }) => {
      const digests = manifest?.get(path);
      if (manifest && !digests) {
        if (required) throw notInManifest(host, path);
        return undefined;
      }
      const bytes = digests && (await readStored(store, model, path, digests));
      return bytes ? { path, announced: bytes.byteLength, bytes: async () => bytes } : openSmall(host, path, required);
    }),
  );
  for (const { remote } of await weights.catch(() => [])) progress.expect(remote.announced);

  const found = smalls.filter((file) => file !== undefined);
  if (modulesJson) found.unshift({ path: MODULES_JSON, announced: modulesJson.byteLength, bytes: async () => modulesJson });
  for (const { announced } of found) progress.expect(announced);
  const small = new Map<string, Uint8Array>();
  const stored: Record<string, StoredFile> = {};
  for (const { path, announced, bytes } of found) {
    const file = await bytes(manifest?.get(path));
    small.set(path, file);
    progress.add(path, file.byteLength);
    progress.end(path, file.byteLength - announced);
    stored[path] = await keepFile(store, model, path, file);
  }
  return { small, stored, weights, progress };
}

function notInManifest(host: Host, path: string): EmbervecError {
  return new EmbervecError("model_not_found", `${fileUrl(host.base, path)} is not in the folder's manifest.json; pack the folder anew`);
}

async function fetchManifest(host: Host): Promise<Manifest | undefined> {
  const url = fileUrl(host.base, MANIFEST_JSON);
  return withRetries(host.signal, async () => {
    const body = await request(host, url);
    // Not an error: many a host of single-page apps has models without a manifest, and its start page in place of one.
    if (!body || isHtml(body.response)) return void body?.cancel();
    return parseManifest(await body.bytes(), url);
  });
}

interface SmallFile {
  path: string;
  /** Its size as far as the host tells it, else 0. */
  announced: number;
  /** Verified with what is known of it. */
  bytes: (digests?: FileDigests) => Promise<Uint8Array<ArrayBuffer>>;
}

/** Asks for a file that is not weights; `undefined` for an optional one that is not there. */
async function openSmall(host: Host, path: string, required: boolean): Promise<SmallFile | undefined> {
  const url = fileUrl(host.base, path);
  const open = () => withRetries(host.signal, () => (required ? requestFile(host, path) : request(host, url)));
  const first = await open();
  if (!first) return undefined;
  refuseHtml(path, url, first);
  let next: Body | undefined = first;
  let wrong = 0;
  const bytes = async (digests?: FileDigests) => {
    const body = next ?? (await requestFile(host, path));
    next = undefined;
    const bytes = await body.bytes();
    const problem = digests ? await compare(bytes, digests) : await compareWithHub(host, path, body.response, bytes);
    if (problem === undefined) return bytes;
    const message = `${url} ${problem}`;
    if (++wrong === MAX_WRONG) throw new EmbervecError("integrity", `${message}; the server, or something on the way, alters the file`);
    throw new TransientError(message);
  };
  return {
    path,
    announced: Number(first.response.headers.get("content-length") ?? 0),
    bytes: (digests) => withRetries(host.signal, () => bytes(digests)),
  };
}

async function compare(bytes: Uint8Array<ArrayBuffer>, { size, chunks }: FileDigests): Promise<string | undefined> {
  if (bytes.byteLength !== size) return `has ${bytes.byteLength} bytes, but the folder's manifest.json says ${size}`;
  for (const [index, digest] of chunks.entries()) {
    const chunk = bytes.slice(index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES);
    if ((await sha256Of(chunk)) !== digest) return "does not have the SHA-256 of the folder's manifest.json";
  }
  return undefined;
}

/** A hub's ETag is the file's name in git; of a file that it keeps elsewhere it gives a pointer. */
async function compareWithHub(host: Host, path: string, response: Response, bytes: Uint8Array<ArrayBuffer>): Promise<string | undefined> {
  if (host.pointers === undefined) return undefined;
  if (response.redirected) {
    const pointer = await fetchPointer(host, path);
    return pointer && (await sha256Of(bytes)) !== pointer.sha256 ? "does not have the SHA-256 that the hub gives for it" : undefined;
  }
  const [, blob] = /^(?:W\/)?"([0-9a-f]{40})"$/.exec(response.headers.get("etag") ?? "") ?? [];
  return blob !== undefined && gitBlobOf(bytes) !== blob ? "does not have the hash that the hub gives for it" : undefined;
}

/** What a hub knows of a file that it keeps outside of git: <https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md>. */
async function fetchPointer(host: Host, path: string): Promise<{ sha256: string; size: number } | undefined> {
  if (host.pointers === undefined) return undefined;
  const url = fileUrl(host.pointers, path);
  const text = await withRetries(host.signal, async () => {
    const body = await request(host, url);
    const beginning = await body?.read(1024);
    body?.cancel();
    return new TextDecoder().decode(beginning);
  });
  const [, sha256, size] = /^version https:\/\/git-lfs\.github\.com\/spec\/v1\noid sha256:([0-9a-f]{64})\nsize (\d+)\n/.exec(text) ?? [];
  return sha256 === undefined ? undefined : { sha256, size: Number(size) };
}

async function readStored(store: ModelStore, model: string, path: string, { size, chunks }: FileDigests): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const stored = (await store.versions(model, path)).get(ANY_VERSION);
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  for (const [index, digest] of chunks.entries()) {
    const chunk = await stored?.read(index, digest);
    if (!chunk) return undefined;
    pieces.push(chunk.bytes);
  }
  const bytes = new Uint8Array(await new Blob(pieces).arrayBuffer());
  return bytes.byteLength === size ? bytes : undefined;
}

async function openWeights(
  store: ModelStore,
  model: string,
  host: Host,
  dtype: Dtype,
  file: FolderFile,
  manifest: Manifest | undefined,
): Promise<WeightFile> {
  const { packed } = file;
  if (dtype === "q8" && packed !== undefined && manifest?.has(packed)) {
    return { remote: await openRemote(store, model, host, packed, manifest), packed: undefined };
  }
  if (manifest && !manifest.has(file.path)) {
    if (packed !== undefined && manifest.has(packed)) {
      throw new EmbervecError("unsupported_model", `${fileUrl(host.base, packed)} holds weights in 8 bits only, so dtype "${dtype}" cannot be had; use "q8"`);
    }
    throw notInManifest(host, file.path);
  }
  const isSource = dtype === "q8" && packed !== undefined;
  const remote = await openRemote(store, isSource ? host.base : model, host, file.path, manifest, isSource);
  return { remote, packed: isSource ? packed : undefined };
}

/** @param isSource whether the file is stored only until it has been made smaller */
async function openRemote(
  store: ModelStore,
  model: string,
  host: Host,
  path: string,
  manifest: Manifest | undefined,
  isSource = false,
): Promise<RemoteFile> {
  const stored = await store.versions(model, path, isSource);
  const storedAs = (version: string) => stored.get(version) ?? store.file(model, path, version, isSource);
  const digests = manifest?.get(path);
  if (digests) return new RemoteFile(host, path, digests, storedAs(ANY_VERSION));
  const pointer = await fetchPointer(host, path);
  if (pointer) return new RemoteFile(host, path, pointer, storedAs(pointer.sha256));

  // Nothing is known of the file but what a response says: whether it is the one of which a part is stored, too.
  const [best] = [...stored.values()].filter(({ version }) => version !== ANY_VERSION).sort((a, b) => b.beginning - a.beginning);
  if (best && best.beginning > 0) {
    const from = best.beginning * CHUNK_BYTES;
    const body = await requestFile(host, path, { from, version: best.version }).catch(() => undefined);
    const isPart = body?.response.status === 206;
    if (body && versionOf(body.response) === best.version && (!isPart || startsAt(body.response, from))) {
      const opened = { body, position: isPart ? from : 0, ignoresRanges: !isPart };
      return new RemoteFile(host, path, { version: best.version }, best, opened);
    }
    body?.cancel();
    host.signal.throwIfAborted();
  }
  const body = await withRetries(host.signal, () => requestFile(host, path));
  const version = versionOf(body.response);
  return new RemoteFile(host, path, { version }, storedAs(version ?? `unknown ${Date.now()}`), { body, position: 0, ignoresRanges: false });
}
