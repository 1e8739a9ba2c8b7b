// A weight file on the model host: chunk after chunk, from the store as far as it has them.

import type { Chunk, StoredChunks } from "../cache/store.js";
import { Sha256, sha256Of } from "../cache/sha256.js";
import { EmbervecError } from "../errors.js";
import { CHUNK_BYTES } from "../limits.js";
import {
  type Body,
  type Host,
  type Range,
  RefusedError,
  Retries,
  StaleError,
  TransientError,
  isOfVersion,
  lengthOf,
  request,
} from "./host.js";
import type { HostResponse } from "./fetch.js";
import type { Progress } from "./progress.js";
import { fileUrl } from "./source.js";

/** How many requests fetch a large file's end, while another one streams it from its beginning. */
const AHEAD = 2;
/** Chunks of each of these: 2 MB, so that a request's own latency is little. */
const SEGMENT = 4;

/** How often a chunk with a wrong digest is fetched before the host is given up. */
const MAX_WRONG = 3;

/**
 * Of a file without digests a part begins so many bytes early, which have come before. That shows its place where CORS hides
 * `Content-Range`: two places of a model's weights with 64 equal bytes are rare, and then most likely zeros.
 */
const OVERLAP = 64;

/** How often in a row a part may fail before its first byte. */
const MAX_FAILED_PARTS = 2;

/** What is known of a file before its bytes come. */
export interface Expected {
  /** Exact; a `Content-Length` may be that of a compressed body. */
  size?: number;
  /** SHA-256 of each chunk. */
  chunks?: readonly string[];
  /** SHA-256 of the whole, as the caller gives it, or else the hub. */
  sha256?: string | undefined;
  /** A validator of the host's response. */
  version?: string | undefined;
}

export interface Opened {
  body: Body;
  /** Where in the file the body begins. */
  position: number;
  /** What was asked for was another part. */
  ignoresRanges: boolean;
}

export class RemoteFile {
  /** Of the chunks that have been given, in order. */
  readonly digests: string[] = [];
  /** Bytes that have been given. */
  size = 0;

  /** The response that streams the file, and where in the file its next byte is. */
  #body: Body | undefined;
  #position: number;
  #ignoresRanges: boolean;
  /** Whether the host has answered a range with what it should not have: from then on whole files are asked for. */
  #isWholeOnly: boolean;
  /** The file's size, where the response says it. */
  #total: number | undefined;
  /** Where the response began, and how many in a row have given nothing. */
  #openedAt: number;
  /** The last bytes that were given. */
  #before = new Uint8Array(0);
  #failedParts = 0;
  /** Requests for the end of the file, by the chunks that they fetch. */
  readonly #ahead = new Map<number, Promise<void>>();
  /** The first chunk of those. */
  #tail = Infinity;
  #next = 0;
  #isOver = false;
  /** Whether fetching ahead has failed. */
  #isAheadOver = false;

  /** @param opened a response that is under way already */
  constructor(
    private readonly host: Host,
    readonly path: string,
    private readonly expected: Expected,
    readonly stored: StoredChunks,
    opened?: Opened,
  ) {
    this.#body = opened?.body;
    this.#position = opened?.position ?? 0;
    this.#ignoresRanges = opened?.ignoresRanges ?? false;
    this.#isWholeOnly = host.isSecond ?? false;
    this.#total = opened && totalOf(opened.body.response);
    this.#openedAt = this.#position;
  }

  /** The exact size, where it is known before the bytes come. */
  get expectedSize(): number | undefined {
    return this.expected.size;
  }

  /** The size as far as it is known before the bytes come, else 0. For a body that is compressed on its way it is less. */
  get announced(): number {
    return this.expected.size ?? this.#position + (this.#body ? lengthOf(this.#body.response) : 0);
  }

  /** Bytes that are not stored, as far as that is known. */
  get missing(): number {
    return Math.max(0, this.announced - this.stored.count * CHUNK_BYTES);
  }

  /** Every chunk, verified as far as anything is known of it. Those that come from the host are stored. */
  async *chunks(progress: Progress): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const { size, sha256 } = this.expected;
    const hash = sha256 === undefined ? undefined : new Sha256();
    try {
      for (let index = 0; size === undefined || index * CHUNK_BYTES < size; index++) {
        this.#next = index;
        await this.#awaitAhead(index);
        const chunk = (await this.#fromStore(index, progress)) ?? (await this.#fetch(index, progress));
        if (!chunk) break;
        hash?.update(chunk.bytes);
        this.digests.push(chunk.digest);
        this.#before = chunk.bytes.slice(-OVERLAP);
        this.size += chunk.bytes.byteLength;
        yield chunk.bytes;
        if (size === undefined && chunk.bytes.byteLength < CHUNK_BYTES) break;
      }
    } finally {
      this.cancel();
    }
    if (hash && hash.digest() !== sha256) {
      // What the manifest's digests have verified is as good as it was.
      if (!this.expected.chunks) await this.stored.clear();
      if (this.host.integrity?.has(this.path)) throw new PinError(this.#url);
      throw new StaleError(
        "integrity",
        `${this.#url} arrived with a different SHA-256 than the hub lists (${sha256}); load it again`,
      );
    }
  }

  get #url(): string {
    return fileUrl(this.host.base, this.path);
  }

  cancel(): void {
    this.#isOver = true;
    this.#body?.cancel();
    this.#body = undefined;
  }

  async #awaitAhead(index: number): Promise<void> {
    const segment = this.#ahead.get(index);
    if (!segment) return;
    // At once: of what the stream has on its way nothing is needed.
    this.#body?.cancel();
    this.#body = undefined;
    await segment;
  }

  async #fromStore(index: number, progress: Progress): Promise<Chunk | undefined> {
    const chunk = await this.stored.read(index, this.expected.chunks?.[index], this.expected.size);
    // What was fetched ahead has been counted when it came.
    if (chunk && !this.#ahead.has(index)) progress.add(this.path, chunk.bytes.byteLength);
    return chunk;
  }

  /** `undefined` behind the end of a file whose size was not known. */
  async #fetch(index: number, progress: Progress): Promise<Chunk | undefined> {
    const { size, chunks } = this.expected;
    const start = index * CHUNK_BYTES;
    const buffer = new Uint8Array(size === undefined ? CHUNK_BYTES : Math.min(CHUNK_BYTES, size - start));
    const retries = new Retries(this.host.signal);
    let filled = 0;
    for (let wrong = 0; ; ) {
      try {
        const before = filled > 0 ? buffer.subarray(Math.max(0, filled - OVERLAP), filled) : this.#before;
        const body = await this.#bodyAt(start + filled, this.isVerified ? NO_BYTES : before);
        this.#startAhead(body, progress);
        while (filled < buffer.byteLength) {
          const piece = await body.read(buffer.byteLength - filled);
          if (!piece) {
            if (size === undefined && (this.#total ?? 0) <= start + filled) break;
            throw new TransientError(`${this.#url} broke off after ${start + filled} of ${size ?? this.#total} bytes`);
          }
          buffer.set(piece, filled);
          filled += piece.byteLength;
          this.#position += piece.byteLength;
          progress.add(this.path, piece.byteLength);
        }
        if (filled === 0) return undefined;
        const bytes = filled === buffer.byteLength ? buffer : buffer.slice(0, filled);
        const digest = await sha256Of(bytes);
        if (chunks && digest !== chunks[index]) {
          progress.add(this.path, -filled);
          filled = 0;
          const message = `${this.#url}: bytes ${start} to ${start + bytes.byteLength} do not have the SHA-256 of the folder's manifest.json`;
          if (++wrong === MAX_WRONG)
            throw new StaleError(
              "integrity",
              `${message}; the server, or a proxy, alters the file, or it was changed without its manifest`,
            );
          // Perhaps a part of another place: not every page can see which it is.
          this.#isWholeOnly ||= body.response.status === 206 && !body.response.headers.has("content-range");
          throw new TransientError(message);
        }
        await this.stored.write(index, digest, bytes);
        return { bytes, digest };
      } catch (error) {
        // A part of a compressed file cannot be read at all.
        const isFailedPart = this.#body?.response.status === 206 && this.#position === this.#openedAt;
        this.#failedParts = isFailedPart ? this.#failedParts + 1 : 0;
        this.#body?.cancel();
        this.#body = undefined;
        // A part of one version and a part of another make no file.
        if (!this.#canContinue && start + filled > 0) throw error;
        await retries.wait(error);
      }
    }
  }

  /** Whether a digest tells that the bytes are right, so that those that are stored are. */
  get isVerified(): boolean {
    return this.expected.chunks !== undefined || this.expected.sha256 !== undefined;
  }

  /** Whether parts of the file that come at different times are known to belong together. */
  get #canContinue(): boolean {
    return this.isVerified || this.expected.version !== undefined;
  }

  /** Parts that have failed in a row may be the line's fault: once a whole file has broken off, too, they are tried again. */
  get #withoutRanges(): boolean {
    return this.#isWholeOnly || this.#failedParts >= MAX_FAILED_PARTS;
  }

  /** A response whose next byte is that of `position`, and follows what is known to be before it. */
  async #bodyAt(position: number, before: Uint8Array): Promise<Body> {
    const isUsable = this.#position === position || (this.#ignoresRanges && this.#position < position);
    if (!this.#body || !isUsable) {
      this.#body?.cancel();
      this.#body = await this.#open(position, before);
    }
    while (this.#position < position) {
      const piece = await this.#body.read(position - this.#position);
      if (!piece) throw new TransientError(`${this.#url} broke off after ${this.#position} bytes`);
      this.#position += piece.byteLength;
    }
    return this.#body;
  }

  async #open(position: number, before: Uint8Array): Promise<Body> {
    const { size = 0, version } = this.expected;
    const isThere = (chunk: number) => this.stored.has(chunk) || this.#ahead.has(chunk);
    const first = Math.floor(position / CHUNK_BYTES);
    // A stream that would meet what is fetched ahead would have to be broken off, with the bytes that are on their way.
    const last = position > 0 && this.#mayFetchAhead ? first + SEGMENT : Infinity;
    let end = first + 1;
    while (end < last && end * CHUNK_BYTES < size && !isThere(end)) end += 1;
    const to = end * CHUNK_BYTES < size ? end * CHUNK_BYTES : undefined;
    // A whole file may come compressed, which a part never does.
    const isWhole = position === 0 && to === undefined;
    const range = isWhole || this.#withoutRanges ? undefined : { from: position - before.byteLength, to, version };
    let body = await requestFile(this.host, this.path, range);
    // While it is read, too, it is the one that may fail.
    this.#body = body;
    this.#openedAt = this.#position = position;
    const isPart =
      range !== undefined && isPartOf(body.response, range, this.expected.size) && (await begins(body, before));
    const isEnd = body.response.status === 416;
    if (isEnd || (body.response.status === 206 && !isPart)) {
      // Other bytes than were asked for, or none: what is the matter the whole file tells.
      body.cancel();
      this.#isWholeOnly = true;
      body = await requestFile(this.host, this.path);
    }
    if (version !== undefined && !isOfVersion(body.response, version)) {
      body.cancel();
      throw new StaleError("network", `${this.#url} changed during the download; load it again`);
    }
    this.#ignoresRanges = this.#withoutRanges || (!isWhole && !isPart);
    this.#position = isPart ? position : 0;
    this.#total = totalOf(body.response);
    if (isEnd && lengthOf(body.response) === position) {
      // All of it is stored.
      body.end();
      this.#position = position;
    }
    this.#openedAt = this.#position;
    return body;
  }

  get #mayFetchAhead(): boolean {
    return (
      this.expected.size !== undefined &&
      this.isVerified &&
      this.stored.isKept &&
      !this.#ignoresRanges &&
      !this.#withoutRanges &&
      !this.#isAheadOver
    );
  }

  /** Fetches the end of a large file at the same time, where that loses nothing. */
  #startAhead({ response }: Body, progress: Progress): void {
    const { size = 0 } = this.expected;
    if (this.#tail !== Infinity || !this.#mayFetchAhead) return;
    this.#tail = Math.ceil(size / CHUNK_BYTES);
    // A body that is compressed on its way is shorter than the file, which ranges are not.
    const length = lengthOf(response);
    const isWhole = response.status === 200 && length === size;
    const isPart = response.status === 206 && length > 0;
    if ((!isWhole && !isPart) || response.headers.get("accept-ranges") === "none") return;
    for (let i = 0; i < AHEAD; i++) void this.#fetchTail(progress);
  }

  async #fetchTail(progress: Progress): Promise<void> {
    const isMissing = (index: number) => index >= 0 && !this.stored.has(index);
    for (;;) {
      let to = this.#tail;
      while (to > 0 && !isMissing(to - 1)) to -= 1;
      if (this.#isOver || this.#isAheadOver || to - this.#next <= 2 * SEGMENT) return;
      let from = to - 1;
      while (to - from < SEGMENT && isMissing(from - 1)) from -= 1;
      this.#tail = from;
      const segment = this.#fetchSegment(from, to, progress);
      for (let index = from; index < to; index++) this.#ahead.set(index, segment);
      await segment;
    }
  }

  /** What it does not get is left to the stream from the beginning, and so are errors. */
  async #fetchSegment(from: number, to: number, progress: Progress): Promise<void> {
    const { size = 0, chunks } = this.expected;
    let body: Body | undefined;
    let uncounted = 0;
    try {
      const start = from * CHUNK_BYTES;
      const end = Math.min(to * CHUNK_BYTES, size);
      const range = { from: start, to: end };
      body = await requestFile(this.host, this.path, range);
      if (!isPartOf(body.response, range, size)) throw new Error("the host does not know ranges");
      for (let index = from; index < to; index++) {
        const bytes = new Uint8Array(Math.min(CHUNK_BYTES, size - index * CHUNK_BYTES));
        while (uncounted < bytes.byteLength) {
          const piece = this.#isOver ? undefined : await body.read(bytes.byteLength - uncounted);
          if (!piece) throw new Error("it broke off");
          bytes.set(piece, uncounted);
          uncounted += piece.byteLength;
          progress.add(this.path, piece.byteLength);
        }
        const digest = await sha256Of(bytes);
        if (chunks && digest !== chunks[index]) throw new Error("it has another digest");
        await this.stored.write(index, digest, bytes);
        if (!this.stored.has(index)) throw new Error("there is no room to keep it");
        uncounted = 0;
      }
    } catch {
      progress.add(this.path, -uncounted);
      this.#isAheadOver = true;
      for (let index = from; index < to; index++) if (!this.stored.has(index)) this.#ahead.delete(index);
    }
    body?.cancel();
  }
}

/** As {@link request}, for a file that must be there, of a folder that has been answered. */
export async function requestFile(host: Host, path: string, range?: Range): Promise<Body> {
  const url = fileUrl(host.base, path);
  const body = await request(host, url, range).catch((error: unknown) => {
    throw error instanceof RefusedError ? error.amongAnswers() : error;
  });
  if (!body)
    throw new EmbervecError(
      "model_not_found",
      `${url} does not exist (HTTP 404); check the model's name, or what the folder holds`,
    );
  refuseHtml(path, url, body);
  return body;
}

/** A web page in place of a file: servers of single-page apps answer every unknown path with their start page. */
export class WebPageError extends EmbervecError {
  constructor(path: string, url: string) {
    super(
      "integrity",
      `${url} is a web page, not the model's ${path}; the server must answer 404 for files that it does not have`,
    );
  }
}

export function refuseHtml(path: string, url: string, body: Body): void {
  if (!isHtml(body.response)) return;
  body.cancel();
  throw new WebPageError(path, url);
}

const NO_BYTES = new Uint8Array(0);

/** Whether the next bytes are these. */
async function begins(body: Body, bytes: Uint8Array): Promise<boolean> {
  for (let at = 0; at < bytes.byteLength; ) {
    const piece = await body.read(bytes.byteLength - at);
    if (!piece?.every((byte, i) => byte === bytes[at + i])) return false;
    at += piece.byteLength;
  }
  return true;
}

export function isHtml(response: HostResponse): boolean {
  return (response.headers.get("content-type") ?? "").startsWith("text/html");
}

/** Whether a response is the part that was asked for, as far as the page may see it; it may be shorter. */
export function isPartOf(response: HostResponse, { from, to }: Range, size: number | undefined): boolean {
  const { status, headers } = response;
  if (status !== 206 || headers.get("content-type")?.startsWith("multipart/")) return false;
  const range = /^bytes (\d+)-/.exec(headers.get("content-range") ?? "");
  if (range) return Number(range[1]) === from;
  // To another origin's page it is visible only where the host says so.
  const length = lengthOf(response);
  const end = to ?? size;
  return length === 0 || end === undefined || length === end - from;
}

/** The size of the whole of which a response is a part. */
function totalOf({ headers }: HostResponse): number | undefined {
  const [, total] = /^bytes .*\/(\d+)$/.exec(headers.get("content-range") ?? "") ?? [];
  return total === undefined ? undefined : Number(total);
}

/** A file is not what the caller has pinned. */
export class PinError extends EmbervecError {
  constructor(url: string) {
    const problem = "does not have the SHA-256 that the option `integrity` gives for it";
    super("integrity", `${url} ${problem}; the host has another version of the file, or it was altered`);
  }
}
