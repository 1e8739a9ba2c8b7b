// From the model host into the store, chunk by chunk.

import { EmbervecError, messageOf } from "../errors.js";
import type { ProgressEvent } from "../types.js";
import { fileUrl } from "./source.js";
import { ChunkWriter, type ModelRecord, type ModelStore } from "./store.js";

/** One file of a model folder. */
export interface FolderFile {
  path: string;
  required: boolean;
  weights: boolean;
}

export interface DownloadOptions {
  base: string;
  headers: Record<string, string>;
  signal: AbortSignal;
  progress: (event: ProgressEvent) => void;
  /** Which files a folder with this `modules.json` has. */
  folderFiles: (modulesJson: Uint8Array | undefined) => FolderFile[];
}

const MODULES_JSON = "modules.json";

/** A progress event for every so many bytes: some hundred for a model. */
const PROGRESS_BYTES = 256 << 10;

/**
 * Downloads every file of a folder into the store. Nothing is committed: the caller does that once
 * the model has proved to be sound.
 *
 * @param check gets the files that are not weights before any weights are fetched, and throws where
 *   these already show that the model cannot be loaded
 */
export async function download(
  store: ModelStore,
  options: DownloadOptions,
  check: (small: Map<string, Uint8Array>) => void,
): Promise<ModelRecord> {
  const record: ModelRecord = { files: [], storedAt: Date.now() };
  const small = new Map<string, Uint8Array>();

  const modules = await request({ path: MODULES_JSON, required: false, weights: false }, options);
  const modulesJson = modules && (await modules.bytes());
  if (modulesJson) {
    await store.write(options.base, MODULES_JSON, 0, modulesJson);
    record.files.push({ path: MODULES_JSON, size: modulesJson.byteLength });
    small.set(MODULES_JSON, modulesJson);
  }

  const files = options.folderFiles(modulesJson).filter((file) => file.path !== MODULES_JSON);
  const requestAll = async (weights: boolean) => {
    const wanted = files.filter((file) => file.weights === weights);
    const found = await Promise.all(wanted.map((file) => request(file, options)));
    return found.filter((download) => download !== undefined);
  };
  // All at once, so that the sizes of all are known before the first byte is counted; but what is
  // wrong with the small files is reported before what is wrong with the weights.
  const [smallFiles, weightFiles] = await Promise.allSettled([requestAll(false), requestAll(true)]);
  const found = [smallFiles, weightFiles].flatMap((result) => (result.status === "fulfilled" ? result.value : []));
  const progress = new Progress(
    found.reduce((sum, { announced }) => sum + announced, 0),
    options.progress,
  );
  const save = async (download: FileDownload, saved?: (bytes: Uint8Array<ArrayBuffer>) => void) => {
    const { path } = download.file;
    const size = await download.save(async (chunk, bytes) => {
      await store.write(options.base, path, chunk, bytes);
      saved?.(bytes);
    }, progress);
    record.files.push({ path, size });
  };
  for (const download of valueOf(smallFiles)) {
    const chunks: Uint8Array<ArrayBuffer>[] = [];
    await save(download, (bytes) => chunks.push(bytes));
    small.set(download.file.path, new Uint8Array(await new Blob(chunks).arrayBuffer()));
  }
  check(small);
  for (const download of valueOf(weightFiles)) await save(download);
  return record;
}

function valueOf<T>(result: PromiseSettledResult<T>): T {
  if (result.status === "rejected") throw result.reason;
  return result.value;
}

class Progress {
  #loaded = 0;
  #reported = 0;

  constructor(
    private total: number,
    private readonly report: (event: ProgressEvent) => void,
  ) {}

  add(file: string, bytes: number): void {
    this.#loaded += bytes;
    if (this.#loaded - this.#reported >= PROGRESS_BYTES) this.#report(file);
  }

  /** The file's size turned out to be so many bytes more than announced. */
  end(file: string, unannounced: number): void {
    this.total += unannounced;
    this.#report(file);
  }

  #report(file: string): void {
    this.#reported = this.#loaded;
    this.report({ stage: "download", file, loaded: this.#loaded, total: Math.max(this.total, this.#loaded) });
  }
}

/** Asks for a file; `undefined` for an optional one that is not there. */
async function request(file: FolderFile, options: DownloadOptions): Promise<FileDownload | undefined> {
  const url = fileUrl(options.base, file.path);
  let response: Response;
  try {
    response = await fetch(url, { headers: options.headers, signal: options.signal });
  } catch (cause) {
    options.signal.throwIfAborted();
    throw new EmbervecError(
      "network",
      `${url} could not be reached: the host is down or does not allow requests from this page (CORS), or the page's own Content-Security-Policy does not (connect-src)`,
      { cause },
    );
  }
  if (response.ok) {
    refuseHtml(file, url, response);
    return new FileDownload(file, url, response, options.signal);
  }
  await response.body?.cancel();
  const { status } = response;
  if (!file.required && (status === 404 || status === 410)) return undefined;
  if (status === 404 || status === 410) {
    throw new EmbervecError("model_not_found", `${url} does not exist (HTTP ${status}); check the model's name, or what the folder holds`);
  }
  if (status === 401 || status === 403) {
    throw new EmbervecError(
      "model_not_found",
      `${url} is refused (HTTP ${status}): the model does not exist, or is private; a token goes into the option \`headers\``,
    );
  }
  throw new EmbervecError("network", `${url} failed with HTTP ${status}; try again later`);
}

/** Servers of single-page apps answer every unknown path with their start page. */
function refuseHtml(file: FolderFile, url: string, response: Response): void {
  const type = response.headers.get("content-type") ?? "";
  if (!type.startsWith("text/html")) return;
  void response.body?.cancel();
  throw new EmbervecError(
    "integrity",
    `${url} is a web page, not the model's ${file.path}; the server must answer 404 for files that it does not have`,
  );
}

class FileDownload {
  /**
   * The size as far as the host tells it, else 0. For a body that is compressed on its way it is
   * another one, and a page cannot see whether it is: CORS hides that header. So it is for progress
   * only, and the loader's checks find what is cut off.
   */
  readonly announced: number;

  constructor(
    readonly file: FolderFile,
    readonly url: string,
    readonly response: Response,
    readonly signal: AbortSignal,
  ) {
    this.announced = Number(response.headers.get("content-length") ?? 0);
  }

  /** A small file in one piece. */
  async bytes(): Promise<Uint8Array<ArrayBuffer>> {
    try {
      return new Uint8Array(await this.response.arrayBuffer());
    } catch (cause) {
      throw this.#brokenOff(cause, 0);
    }
  }

  /** Saves the body in chunks and gives its size. */
  async save(
    write: (chunk: number, bytes: Uint8Array<ArrayBuffer>) => Promise<void>,
    progress: Progress,
  ): Promise<number> {
    const reader = this.response.body?.getReader();
    const writer = new ChunkWriter(write);
    while (reader) {
      let piece: Uint8Array | undefined;
      try {
        ({ value: piece } = await reader.read());
      } catch (cause) {
        throw this.#brokenOff(cause, writer.size);
      }
      if (!piece) break;
      progress.add(this.file.path, piece.byteLength);
      await writer.append(piece);
    }
    const received = await writer.end();
    progress.end(this.file.path, received - this.announced);
    return received;
  }

  #brokenOff(cause: unknown, received: number): unknown {
    if (this.signal.aborted) return this.signal.reason;
    const of = this.announced > received ? ` of ${this.announced}` : "";
    return new EmbervecError("network", `${this.url} broke off after ${received}${of} bytes (${messageOf(cause)})`, { cause });
  }
}
