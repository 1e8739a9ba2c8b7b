// A model folder on its host: which files it has, and what is known of them.

import { joined } from "../bytes.js";
import { ANY_VERSION, type StoredFile } from "../cache/entries.js";
import { type ModelStore, type StoredChunks, keepFile } from "../cache/store.js";
import { Sha256, gitBlobOf, sha256Of } from "../cache/sha256.js";
import { EmbervecError, codeOf, messageOf } from "../errors.js";
import { CHUNK_BYTES, MAX_FILES, MAX_LIST_BYTES, MAX_SMALL_FILE_BYTES } from "../limits.js";
import type { Dtype, ProgressCallback } from "../types.js";
import type { HostResponse } from "./fetch.js";
import {
  Aside,
  type Body,
  type Host,
  PATIENCE_MS,
  RefusedError,
  StaleError,
  TransientError,
  isOfVersion,
  lengthOf,
  request,
  tagOf,
  versionOf,
  withRetries,
} from "./host.js";
import { type FileDigests, MANIFEST_JSON, type Manifest, parseManifest } from "./manifest.js";
import { POINTER_BYTES, type Pointer, parsePointer } from "./pointer.js";
import { Progress } from "./progress.js";
import { RemoteFile, WebPageError, isHtml, isPartOf, PinError, refuseHtml, requestFile } from "./remote-file.js";
import { fileUrl } from "./source.js";

/** What no folder is without: where it is a web page, all are. */
const CONFIG_JSON = /(^|\/)config\.json$/;

/** How long the manifest is waited for where, without it, there is no model. */
const MANIFEST_MS = 10_000;

/** What the version begins with of a file whose host tells none. */
const NO_VERSION = "unknown ";

/** How often a small file with a wrong digest is fetched before the host is given up. */
const MAX_WRONG = 3;

/** One file that a model folder may have. */
export interface FolderFile {
  path: string;
  /** Small ones are read whole, weights in pieces; of the others it only matters whether they are there. */
  kind: "small" | "weights" | "probe";
  /** The same weights in 8 bits, where there can be such. */
  packed?: string;
}

/** What a folder's files tell of it: the wasm module's `Folder`. */
export interface FolderPlan {
  /** The files to ask for next; none is left once all is known. Throws where the model cannot be loaded. */
  wanted(): FolderFile[];
  /** A small file's bytes. */
  put(path: string, bytes: Uint8Array): void;
  /** A file that is not read whole is there, or its `packed` one. */
  found(path: string): void;
  /** A file is not there. */
  absent(path: string): void;
  /** The files with the model's weights, once nothing is wanted. */
  weights(): FolderFile[];
}

export interface FolderOptions {
  host: Host;
  dtype: Dtype;
  progress: ProgressCallback;
}

export interface WeightFile {
  remote: RemoteFile;
  /** What the file is to be called once it has been made into 8 bits; absent where it is stored as it comes. */
  packed: string | undefined;
}

/** A folder whose small files have come and are stored. */
export interface Folder {
  stored: Map<string, StoredFile>;
  /** The files that were looked for in vain. */
  absent: ReadonlySet<string>;
  /** Rejects with what is wrong with the first of them. */
  weights: Promise<WeightFile[]>;
  progress: Progress;
  /** Of a file that is missing: why it is, as far as the host has said. */
  explain: (error: unknown) => Promise<unknown>;
  /** Ends what still comes of the weights. */
  cancel: () => void;
}

/**
 * Fetches a folder's small files and asks for its weights.
 *
 * @param model as which the folder is stored
 */
export async function openFolder(
  store: ModelStore,
  model: string,
  plan: FolderPlan,
  options: FolderOptions,
): Promise<Folder> {
  const { dtype } = options;
  const host = { ...options.host, patience: { ms: PATIENCE_MS } };
  const progress = new Progress("download", options.progress);
  const stored = new Map<string, StoredFile>();
  const absent = new Set<string>();
  const weights = new Map<string, Promise<WeightFile | undefined>>();
  const small = new Map<string, SmallFile | undefined>();
  /** Every request for a small file. */
  const requests: Promise<SmallFile | undefined>[] = [];
  const asked = new Set<string>();
  const askManifest = (host: Host) => withRetries(host.signal, () => fetchManifest(host));
  // What the caller has pinned is not done without.
  const askingManifest = host.integrity?.has(MANIFEST_JSON) ? undefined : new Aside(host, askManifest);
  let goOn = () => {};
  const others = new Promise<void>((resolve) => (goOn = resolve));
  const manifest = askingManifest?.beside(others, host.isSecond ? { ms: MANIFEST_MS } : undefined) ?? askManifest(host);
  // It is awaited together with the first files.
  manifest.catch(() => {});
  /** Why a file was taken for absent, where the host has not said so. */
  const doubts = new Map<string, RefusedError | WebPageError>();
  /** Whether the host has answered for a file of the folder. */
  let isAnswered = false;
  /** What has come before the weights' sizes are known, and so before progress can be told. */
  let untold: [path: string, announced: number, size: number][] = [];

  const isNotThere = (path: string) => {
    plan.absent(path);
    absent.add(path);
  };

  /** What a host refuses, or has a web page for, is perhaps not there: what else it answers decides. */
  const unlessRefused = async <T>(path: string, opening: Promise<T | undefined>): Promise<T | undefined> => {
    try {
      return await opening;
    } catch (error) {
      if (!(error instanceof RefusedError || error instanceof WebPageError)) throw error;
      doubts.set(path, error);
      return undefined;
    }
  };

  const requestSmall = (path: string) => {
    const opening = unlessRefused(path, openSmall(host, path));
    requests.push(opening);
    // Whoever awaits it sees the error, and nobody does after an earlier one.
    opening.catch(() => {});
    return opening;
  };

  const cancel = () => {
    for (const weight of weights.values())
      weight.then(
        (file) => file?.remote.cancel(),
        () => {},
      );
  };

  const findSmall = async (path: string): Promise<SmallFile | undefined> => {
    // The first files are asked for together with the manifest.
    const early = stored.size === 0 ? requestSmall(path) : undefined;
    const known = await manifest;
    const digests = known?.get(path);
    if (known && !digests) return undefined;
    const kept = digests && (await readStored(store, model, path, digests));
    const bytes = kept && (await isAsPinned(host, path, kept)) ? kept : undefined;
    return bytes
      ? { announced: bytes.byteLength, bytes: async () => bytes, cancel() {} }
      : (early ?? requestSmall(path));
  };

  const find = async ({ path, kind, packed }: FolderFile): Promise<void> => {
    if (kind === "small") {
      small.set(path, await findSmall(path));
    } else if (kind === "probe") {
      const known = await manifest;
      if (known ? known.has(path) : await unlessRefused(path, probe(host, path))) plan.found(path);
      else isNotThere(path);
    } else {
      const opening = unlessRefused(path, openWeights(store, model, host, dtype, path, packed, await manifest));
      // What is wrong with small files is reported before what is wrong with weights.
      weights.set(path, opening);
      const weight = await opening.catch(() => "refused" as const);
      if (weight === undefined) isNotThere(path);
      else plan.found(path);
      isAnswered ||= weight !== undefined;
      if (weight && weight !== "refused") progress.expect(weight.remote.announced);
    }
  };

  const explain = async (error: unknown): Promise<unknown> => {
    if (codeOf(error) !== "model_not_found") return error;
    const message = messageOf(error);
    const isOf = (path: string) => message.startsWith(`${path} `);
    goOn();
    const known = await manifest;
    const problem = askingManifest?.problem;
    if ([...weights.keys()].some(isOf) && problem?.code === "network") {
      const why = `the folder's manifest.json, which may name others, could not be fetched (${problem.message})`;
      return new StaleError("network", `${host.base}${message}, and ${why}`, { cause: problem });
    }
    const [, doubt] = [...doubts].find(([path]) => isOf(path)) ?? [];
    if (doubt) return isAnswered && doubt instanceof RefusedError ? doubt.amongAnswers() : doubt;
    const hint = known
      ? "its manifest.json does not list it: pack the folder again"
      : "check the model's name, or what the folder holds";
    return new EmbervecError("model_not_found", `${host.base}${message}; ${hint}`, { cause: error });
  };

  const wanted = async () => {
    let files: FolderFile[];
    try {
      files = plan.wanted();
    } catch (error) {
      throw await explain(error);
    }
    for (const { path } of files) {
      if (asked.has(path)) throw new EmbervecError("internal", `${host.base}${path} is asked for twice`);
      asked.add(path);
    }
    if (asked.size > MAX_FILES) {
      throw new EmbervecError(
        "unsupported_model",
        `${host.base} wants more than ${MAX_FILES} files, which no model has`,
      );
    }
    return files;
  };

  try {
    for (let files = await wanted(); files.length > 0; files = await wanted()) {
      const finding = files.map(find);
      for (const each of finding) each.catch(() => {});
      // Together with the first of them the manifest was asked for.
      void Promise.allSettled(requests).then(goOn);
      // All sizes are known before the first byte is counted.
      for (const each of finding) await each;
      for (const { path, kind } of files) {
        if (kind !== "small") continue;
        const digests = (await manifest)?.get(path);
        const bytes = await small.get(path)?.bytes(digests);
        if (!bytes) {
          if (digests)
            throw (
              doubts.get(path) ??
              new StaleError(
                "model_not_found",
                `${fileUrl(host.base, path)} does not exist, but the folder's manifest.json lists it`,
              )
            );
          isNotThere(path);
          continue;
        }
        plan.put(path, bytes);
        isAnswered = true;
        stored.set(path, await keepFile(store, model, path, bytes));
        untold.push([path, small.get(path)?.announced ?? 0, bytes.byteLength]);
      }
      if (weights.size === 0) continue;
      for (const [, announced] of untold) progress.expect(announced);
      for (const [path, announced, size] of untold) {
        progress.add(path, size);
        progress.end(path, size - announced);
      }
      untold = [];
    }
    const known = await manifest;
    for (const doubt of known ? [] : doubts.values()) {
      // Where others are given this is no word for a missing file, but a login that has run out.
      if (doubt instanceof RefusedError && (doubt.status === 401 || host.pointers !== undefined)) throw doubt;
    }
    const files = plan.weights();
    const compared = new Set([MANIFEST_JSON, ...stored.keys()]);
    for (const { path } of files) compared.add((await weights.get(path)?.catch(() => undefined))?.remote.path ?? path);
    for (const path of host.integrity?.keys() ?? []) if (!compared.has(path)) await checkUnused(host, path);
    return { stored, absent, weights: openedWeights(files, weights), progress, explain, cancel };
  } catch (error) {
    cancel();
    throw error;
  } finally {
    goOn();
    // What nobody has read is not wanted any more.
    for (const opening of requests)
      opening.then(
        (file) => file?.cancel(),
        () => {},
      );
  }
}

function openedWeights(
  files: FolderFile[],
  weights: Map<string, Promise<WeightFile | undefined>>,
): Promise<WeightFile[]> {
  const opened = Promise.all(files.map(async ({ path }) => (await weights.get(path))!));
  // Whoever awaits it sees the error.
  opened.catch(() => {});
  return opened;
}

/** Whether a file is there, of which nothing else matters. */
async function probe(host: Host, path: string): Promise<boolean> {
  const body = await withRetries(host.signal, () => request(host, fileUrl(host.base, path)));
  body?.cancel();
  return body !== undefined && !isHtml(body.response);
}

async function fetchManifest(host: Host): Promise<Manifest | undefined> {
  const url = fileUrl(host.base, MANIFEST_JSON);
  const body = await request(host, url);
  // Not an error: many a host of single-page apps has models without a manifest, and its start page in place of one.
  if (!body || isHtml(body.response)) {
    body?.cancel();
    if (host.integrity?.has(MANIFEST_JSON)) throw new MissingPinError(url);
    return undefined;
  }
  const bytes = await body.bytes(MAX_LIST_BYTES);
  if (!(await isAsPinned(host, MANIFEST_JSON, bytes))) throw new PinError(url);
  // Some hosts say in plain words, with status 200, that it is not there.
  if (!new TextDecoder().decode(bytes.subarray(0, 99)).trimStart().startsWith("{")) return undefined;
  return parseManifest(bytes, url);
}

class MissingPinError extends EmbervecError {
  constructor(url: string) {
    super("integrity", `${url} is named by the option \`integrity\`, but the folder does not have it`);
  }
}

/** Compares a pinned file that the load does not use: what a record notes as matched has been. */
async function checkUnused(host: Host, path: string): Promise<void> {
  const url = fileUrl(host.base, path);
  await withRetries(host.signal, async () => {
    const body = await request(host, url);
    if (!body || isHtml(body.response)) {
      body?.cancel();
      throw new MissingPinError(url);
    }
    const hash = new Sha256();
    for (let piece = await body.read(Infinity); piece; piece = await body.read(Infinity)) hash.update(piece);
    if (hash.digest() !== host.integrity?.get(path)) throw new PinError(url);
  });
}

/** Whether a file's bytes are what the caller says. */
async function isAsPinned({ integrity }: Host, path: string, bytes: Uint8Array<ArrayBuffer>): Promise<boolean> {
  const pin = integrity?.get(path);
  return pin === undefined || (await sha256Of(bytes)) === pin;
}

interface SmallFile {
  /** Its size as far as the host tells it, else 0. */
  announced: number;
  /** Verified with what is known of it. */
  bytes: (digests?: FileDigests) => Promise<Uint8Array<ArrayBuffer>>;
  cancel: () => void;
}

/** Asks for a file that is not weights; `undefined` for one that is not there. */
async function openSmall(host: Host, path: string): Promise<SmallFile | undefined> {
  const url = fileUrl(host.base, path);
  const first = await withRetries(host.signal, () => request(host, url));
  if (!first) return undefined;
  if (CONFIG_JSON.test(path)) refuseHtml(path, url, first);
  // Servers of single-page apps give their start page in place of what they do not have.
  if (isHtml(first.response)) return void first.cancel();
  const isElsewhere = first.response.redirected && blobOf(first.response) === undefined;
  const pointer = isElsewhere ? new Aside(host, (host) => fetchPointer(host, path)) : undefined;
  let next: Body | undefined = first;
  let wrong = 0;
  const pin = host.integrity?.get(path);
  /** The SHA-256 of what came last and was not as it is pinned. */
  let last: string | undefined;
  const bytes = async (digests?: FileDigests) => {
    const body = next ?? (await requestFile(host, path));
    next = undefined;
    const bytes = await body.bytes(MAX_SMALL_FILE_BYTES);
    const problem = digests ? await compare(bytes, digests) : await compareWithHub(host, body.response, pointer, bytes);
    const digest = pin && (await sha256Of(bytes));
    if (problem === undefined && digest === pin) return bytes;
    // What the manifest knows, or has come twice, is how the host has it.
    if (problem === undefined && (digests || digest === last)) throw new PinError(url);
    last = problem === undefined ? digest : undefined;
    const message = problem === undefined ? new PinError(url).message : `${url} ${problem}`;
    if (++wrong === MAX_WRONG) throw new StaleError("integrity", `${message}; the server, or a proxy, alters the file`);
    throw new TransientError(message);
  };
  return {
    announced: lengthOf(first.response),
    bytes: (digests) => withRetries(host.signal, () => bytes(digests)),
    cancel: () => first.cancel(),
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

/** The file's name in git, which is a hub's ETag, also where it redirects to it. */
function blobOf({ headers }: HostResponse): string | undefined {
  return /^"([0-9a-f]{40})"$/.exec(tagOf(headers) ?? "")?.[1];
}

/** Of a file that a hub keeps outside of git it gives a pointer. */
async function compareWithHub(
  host: Host,
  response: HostResponse,
  asking: Aside<Pointer> | undefined,
  bytes: Uint8Array<ArrayBuffer>,
): Promise<string | undefined> {
  if (host.pointers === undefined) return undefined;
  const blob = blobOf(response);
  if (blob !== undefined)
    return gitBlobOf(bytes) === blob ? undefined : "does not have the hash that the hub gives for it";
  const pointer = await asking?.beside(Promise.resolve(), host.patience);
  return pointer && (await sha256Of(bytes)) !== pointer.sha256
    ? "does not have the SHA-256 that the hub gives for it"
    : undefined;
}

/** What a hub knows of a file that it keeps outside of git. */
async function fetchPointer(host: Host, path: string): Promise<Pointer | undefined> {
  if (host.pointers === undefined) return undefined;
  const url = fileUrl(host.pointers, path);
  const body = await request(host, url);
  let text = "";
  const decoder = new TextDecoder();
  while (body && text.length < POINTER_BYTES) {
    const piece = await body.read(POINTER_BYTES);
    if (!piece) break;
    text += decoder.decode(piece, { stream: true });
  }
  body?.cancel();
  return parsePointer(text, url);
}

async function readStored(
  store: ModelStore,
  model: string,
  path: string,
  { size, chunks }: FileDigests,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  if (size > MAX_SMALL_FILE_BYTES) return undefined;
  const stored = (await store.versions(model, path)).get(ANY_VERSION);
  const pieces: Uint8Array[] = [];
  for (const [index, digest] of chunks.entries()) {
    const chunk = await stored?.read(index, digest, size);
    if (!chunk) return undefined;
    pieces.push(chunk.bytes);
  }
  return joined(pieces);
}

/** `undefined` for weights that are not there. */
async function openWeights(
  store: ModelStore,
  model: string,
  host: Host,
  dtype: Dtype,
  path: string,
  packed: string | undefined,
  manifest: Manifest | undefined,
): Promise<WeightFile | undefined> {
  const { integrity } = host;
  // A pin of the original weights is for what is used: others are only if they are pinned, too.
  const isPackedTrusted =
    !integrity?.has(path) || integrity.has(MANIFEST_JSON) || (packed !== undefined && integrity.has(packed));
  if (dtype === "q8" && packed !== undefined && manifest?.has(packed) && (isPackedTrusted || !manifest.has(path))) {
    const remote = await openRemote(store, model, host, packed, manifest);
    return remote && { remote, packed: undefined };
  }
  if (manifest && !manifest.has(path)) {
    if (packed === undefined || !manifest.has(packed)) return undefined;
    throw new EmbervecError(
      "unsupported_model",
      `${fileUrl(host.base, packed)} has only 8-bit weights, so dtype "${dtype}" is not available; use "q8"`,
    );
  }
  const isSource = dtype === "q8" && packed !== undefined;
  const remote = await openRemote(store, isSource ? host.base : model, host, path, manifest, isSource);
  return remote && { remote, packed: isSource ? packed : undefined };
}

/** @param isSource whether the file is stored only until it has been made smaller */
async function openRemote(
  store: ModelStore,
  model: string,
  host: Host,
  path: string,
  manifest: Manifest | undefined,
  isSource = false,
): Promise<RemoteFile | undefined> {
  const stored = await store.versions(model, path, isSource);
  const storedAs = (version: string) => stored.get(version) ?? store.file(model, path, version, isSource);
  const sha256 = host.integrity?.get(path);
  const digests = manifest?.get(path);
  if (digests) return new RemoteFile(host, path, { ...digests, sha256 }, storedAs(ANY_VERSION));

  const open = () => withRetries(host.signal, () => request(host, fileUrl(host.base, path)));
  let opening: Promise<Body | undefined> | undefined;
  if (host.pointers !== undefined) {
    const asking = new Aside(host, (host) => fetchPointer(host, path));
    // What is stored of it need not come again, and the pointer says whether it is right.
    if (stored.size === 0) opening = open();
    let pointer: Pointer | undefined;
    try {
      pointer = await asking.beside(opening ?? Promise.resolve(), host.patience);
      if (pointer && sha256 !== undefined && sha256 !== pointer.sha256) throw new PinError(fileUrl(host.base, path));
    } catch (error) {
      opening?.then(
        (body) => body?.cancel(),
        () => {},
      );
      throw error;
    }
    if (pointer) {
      const body = await opening;
      if (opening && !body) return undefined;
      if (body) refuseHtml(path, body.url, body);
      return new RemoteFile(
        host,
        path,
        pointer,
        storedAs(pointer.sha256),
        body && { body, position: 0, ignoresRanges: false },
      );
    }
  }

  // Nothing is known of the file but what a response says: whether it is the one of which a part is stored, too. What is
  // pinned is stored under its pin, apart from what others have stored.
  const isLike = ({ version }: StoredChunks) =>
    sha256 === undefined ? version !== ANY_VERSION && !version.startsWith(NO_VERSION) : version === sha256;
  const [best] = [...stored.values()].filter(isLike).sort((a, b) => b.beginning - a.beginning);
  if (best && best.beginning > 0 && !host.isSecond) {
    // What a pointer told that does not come this time.
    const isHash = /^[0-9a-f]{64}$/.test(best.version);
    const range = { from: best.beginning * CHUNK_BYTES, version: isHash ? undefined : best.version };
    const body = await requestFile(host, path, range).catch(() => undefined);
    host.signal.throwIfAborted();
    // Whether a part is of this place must be seen, or else RemoteFile sees it by what comes before it.
    const isPart =
      body !== undefined && isPartOf(body.response, range, undefined) && body.response.headers.has("content-range");
    if (body && (isHash || isOfVersion(body.response, best.version)) && (isPart || body.response.status === 200)) {
      const opened = { body, position: isPart ? range.from : 0, ignoresRanges: !isPart };
      const expected = isHash ? { version: versionOf(body.response), sha256: best.version } : { version: best.version };
      return new RemoteFile(host, path, expected, best, opened);
    }
    body?.cancel();
  }
  const body = await (opening ?? open());
  if (!body) return undefined;
  refuseHtml(path, body.url, body);
  const version = versionOf(body.response);
  const chunks = storedAs(sha256 ?? version ?? `${NO_VERSION}${Date.now()}`);
  return new RemoteFile(host, path, { version, sha256 }, chunks, { body, position: 0, ignoresRanges: false });
}
