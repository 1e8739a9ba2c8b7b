// One request to the model host, and when to make it again.

import { joined } from "../bytes.js";
import { EmbervecError, messageOf } from "../errors.js";
import { MAX_FILE_BYTES } from "../limits.js";

/** Where a model comes from, and for how long it is wanted. */
export interface Host {
  /** Address of the model folder. */
  base: string;
  /** Address under which a hub gives the pointers of large files; see {@link ModelSource}. */
  pointers: string | undefined;
  headers: Record<string, string>;
  signal: AbortSignal;
}

/** A failure that may not be one the next time. */
export class TransientError extends EmbervecError {
  constructor(
    message: string,
    options?: ErrorOptions,
    /** Milliseconds that the host asks to be left alone. */
    readonly retryAfter = 0,
  ) {
    super("network", message, options);
  }
}

/** Milliseconds before the second, third … attempt: four seconds in all, the time of a change of network. */
const DELAYS = [250, 500, 1000, 2000];
/** Longer than a host may ask to wait for. */
const MAX_DELAY = 60_000;
/** A connection over which fewer than so many bytes come in so long is dead. */
const STALL_MS = 30_000;
const STALL_BYTES = 1024;

/** Counts failures in a row. */
export class Retries {
  #failures = 0;

  constructor(private readonly signal: AbortSignal) {}

  /** Waits until it is time for another attempt; throws the error where there is to be none. */
  async wait(error: unknown): Promise<void> {
    this.signal.throwIfAborted();
    const delay = DELAYS[this.#failures++];
    if (!(error instanceof TransientError) || delay === undefined || error.retryAfter > MAX_DELAY) throw error;
    await sleep(Math.max(delay, error.retryAfter), this.signal);
  }
}

export async function withRetries<T>(signal: AbortSignal, action: () => Promise<T>): Promise<T> {
  const retries = new Retries(signal);
  for (;;) {
    try {
      return await action();
    } catch (error) {
      await retries.wait(error);
    }
  }
}

/** Part of a file, and how to know that the file is still the same. */
export interface Range {
  from: number;
  /** Exclusive; absent for all that follows. */
  to?: number | undefined;
  /** A validator of an earlier response. */
  version?: string | undefined;
}

/**
 * Asks for a file of the host.
 *
 * @returns `undefined` for one that is not there
 * @throws {EmbervecError} which is a {@link TransientError} where another attempt may help
 */
export async function request(host: Host, url: string, range?: Range): Promise<Body | undefined> {
  const headers: Record<string, string> = { ...host.headers };
  const { origin, protocol } = new URL(url);
  // The files of an extension: a part of one comes as if it were the whole, and one that is not there is a failure of the network.
  const isHttp = protocol === "http:" || protocol === "https:";
  if (range && isHttp) headers["Range"] = `bytes=${range.from}-${range.to === undefined ? "" : range.to - 1}`;
  // To another origin it would need the host's consent (CORS), which few give; there the response's validators are compared.
  const isOwn = origin === globalThis.location?.origin;
  if (range?.version !== undefined && isHttp && isOwn) headers["If-Range"] = range.version;
  const body = new Body(url, host.signal);
  const opening = body.open(headers);
  const response = await (isHttp ? opening : opening.catch(() => host.signal.throwIfAborted()));
  if (!response) return undefined;
  const { status } = response;
  if (response.ok) return body;
  body.cancel();
  if (status === 404 || status === 410) return undefined;
  if (status === 401 || status === 403) {
    throw new EmbervecError(
      "model_not_found",
      `${url} is refused (HTTP ${status}): the model does not exist, or is private; a token goes into the option \`headers\``,
    );
  }
  const message = `${url} failed with HTTP ${status}; try again later`;
  if (status === 408 || status === 425 || status === 429 || status >= 500) {
    throw new TransientError(message, {}, retryAfter(response.headers.get("retry-after")));
  }
  throw new EmbervecError("network", message);
}

/** A response's body, which comes in pieces. */
export class Body {
  response!: Response;
  #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  /** Of the piece that came last, what nobody has taken. */
  #rest = new Uint8Array(0);
  /** Bytes that have been taken. */
  #taken = 0;
  readonly #abort = new AbortController();
  /** How long bytes have been waited for since the last {@link STALL_BYTES}, and how many have come since. */
  #waited = 0;
  #came = 0;

  constructor(
    readonly url: string,
    private readonly signal: AbortSignal,
  ) {}

  async open(headers: Record<string, string>): Promise<Response> {
    try {
      // Not kept by the browser, too: once is enough, and what it keeps is not verified.
      this.response = await this.#watched(() => fetch(this.url, { headers, cache: "no-store", signal: AbortSignal.any([this.signal, this.#abort.signal]) }));
    } catch (cause) {
      this.signal.throwIfAborted();
      throw new TransientError(
        `${this.url} could not be reached: there is no network, the host is down or does not allow requests from this page (CORS), or the page's own Content-Security-Policy does not (connect-src)`,
        { cause },
      );
    }
    this.#waited = 0;
    this.#reader = this.response.body?.getReader();
    return this.response;
  }

  /** The next bytes, at most `limit`; `undefined` at the end. */
  async read(limit: number): Promise<Uint8Array | undefined> {
    while (this.#rest.byteLength === 0) {
      let piece: Uint8Array<ArrayBuffer> | undefined;
      try {
        ({ value: piece } = (await this.#watched(async () => this.#reader?.read())) as { value?: Uint8Array<ArrayBuffer> });
      } catch (cause) {
        this.signal.throwIfAborted();
        const length = this.response.headers.get("content-length");
        const of = length === null ? "" : ` of ${length}`;
        throw new TransientError(`${this.url} broke off after ${this.#taken}${of} bytes (${messageOf(cause)})`, { cause });
      }
      if (!piece) return undefined;
      this.#rest = piece;
      this.#came += piece.byteLength;
      if (this.#came >= STALL_BYTES) this.#waited = this.#came = 0;
    }
    const bytes = this.#rest.subarray(0, limit);
    this.#rest = this.#rest.subarray(bytes.byteLength);
    this.#taken += bytes.byteLength;
    return bytes;
  }

  /** All of it, which may be so many bytes at most. */
  async bytes(limit: number): Promise<Uint8Array<ArrayBuffer>> {
    const refuse = () => {
      this.cancel();
      throw new EmbervecError("integrity", `${this.url} has more than ${limit} bytes, which no file of its kind has`);
    };
    if (lengthOf(this.response) > limit) refuse();
    const pieces: Uint8Array[] = [];
    let size = 0;
    for (let piece = await this.read(Infinity); piece; piece = await this.read(Infinity)) {
      size += piece.byteLength;
      // A body that is compressed on its way is longer than its header says.
      if (size > limit) refuse();
      pieces.push(piece);
    }
    return joined(pieces);
  }

  cancel(): void {
    this.#abort.abort();
  }

  async #watched<T>(action: () => Promise<T>): Promise<T> {
    const started = performance.now();
    const stop = () => this.#abort.abort(new Error(`fewer than ${STALL_BYTES} bytes came in ${STALL_MS / 1000} s`));
    const stalled = setTimeout(stop, STALL_MS - this.#waited);
    try {
      return await action();
    } finally {
      clearTimeout(stalled);
      this.#waited += performance.now() - started;
    }
  }
}

/** The bytes of a response's body as it is on its way, as far as the host says so, else 0. */
export function lengthOf({ headers }: Response): number {
  const length = Number(headers.get("content-length") ?? 0);
  return Number.isInteger(length) && length >= 0 && length <= MAX_FILE_BYTES ? length : 0;
}

/**
 * What tells this version of a file from others: a strong ETag or a date, as far as the page may see them. `undefined` where nothing
 * does.
 */
export function versionOf({ headers }: Response): string | undefined {
  const etag = headers.get("etag");
  if (etag?.startsWith('"')) return etag;
  return headers.get("last-modified") || undefined;
}

/** In seconds, or as a date. */
function retryAfter(header: string | null): number {
  if (header === null) return 0;
  const ms = /^\d+$/.test(header) ? 1000 * Number(header) : Date.parse(header) - Date.now();
  return ms > 0 ? ms : 0;
}

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", abort);
      resolve();
    }, ms);
    signal.addEventListener("abort", abort, { once: true });
  });
}
