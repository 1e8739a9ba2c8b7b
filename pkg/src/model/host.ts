// One request to the model host, and when to make it again.

import { joined } from "../bytes.js";
import { EmbervecError, messageOf } from "../errors.js";
import { MAX_FILE_BYTES } from "../limits.js";
import { HOST_MUST_BE, PASS_TOKEN, canFetch } from "../platform/web.js";
import { TimeoutError, settled } from "../settle.js";
import { type HostFetch, type HostResponse, platformFetch } from "./fetch.js";

/** Where a model comes from, and for how long it is wanted. */
export interface Host {
  /** Address of the model folder. */
  base: string;
  /** Address under which a hub gives the pointers of large files; see {@link ModelSource}. */
  pointers: string | undefined;
  headers: Record<string, string>;
  signal: AbortSignal;
  /** As the option of `load`. */
  credentials?: RequestCredentials | undefined;
  /** The caller's, in place of the platform's. */
  fetch?: HostFetch | undefined;
  /** The SHA-256 that files must have, by path. */
  integrity?: ReadonlyMap<string, string>;
  /** Whether the load has started over: whole files only, so that no two responses have to fit each other. */
  isSecond?: boolean;
  /** How long the hub's pointers are waited for; no more once one has not come. */
  patience?: Patience;
  /** Is told of every piece that comes. */
  heard?: () => void;
}

interface Patience {
  ms: number;
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

/** What has come does not fit together: a file has changed, or a host's machines disagree. A load then starts over, once. */
export class StaleError extends EmbervecError {}

/** The host wants to know who asks; or, on many hosts, there is no such file. */
export class RefusedError extends EmbervecError {
  constructor(
    url: string,
    readonly status: number,
  ) {
    super(
      "unauthorized",
      `${url} was refused (HTTP ${status}). Either it does not exist: check the model's name. Or you must log in: accept ` +
        `the model's terms on its host, and ${PASS_TOKEN}`,
    );
  }

  /** What it means once the host has answered for other files of the folder. */
  amongAnswers(): EmbervecError {
    return this.status === 403 ? new EmbervecError("model_not_found", this.message, { cause: this }) : this;
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

/** With which another attempt may help; 304 is a proxy's mistake, for nothing is asked conditionally. */
const TRANSIENT: readonly number[] = [304, 408, 425, 429];

/**
 * Asks for a file of the host.
 *
 * @returns `undefined` for one that is not there. A response's status is one of success, or 416 for a range behind the end.
 * @throws {EmbervecError} which is a {@link TransientError} where another attempt may help
 */
export async function request(host: Host, url: string, range?: Range): Promise<Body | undefined> {
  const headers: Record<string, string> = { ...host.headers };
  const { origin, protocol } = new URL(url);
  // The files of an extension: a part of one comes as if it were the whole, and one that is not there is a failure of the network.
  const isHttp = protocol === "http:" || protocol === "https:";
  if (!host.fetch && !canFetch(protocol)) {
    const instead = "Use an address that begins with https:, or give the option `fetch`.";
    throw new EmbervecError(
      "invalid_input",
      `${url} cannot be fetched, because it begins with ${protocol}. ${instead}`,
    );
  }
  if (range && isHttp) headers["Range"] = `bytes=${range.from}-${range.to === undefined ? "" : range.to - 1}`;
  // To another origin it would need the host's consent (CORS), which few give; there the response's validators are compared.
  const isOwn = origin === globalThis.location?.origin;
  if (range?.version !== undefined && isHttp && isOwn) headers["If-Range"] = range.version;
  const body = new Body(url, host.signal, host.fetch, host.heard);
  const opening = body.open(headers, host.credentials);
  const response = await (isHttp || host.fetch ? opening : opening.catch(() => host.signal.throwIfAborted()));
  if (!response) return undefined;
  const { status } = response;
  const isPart = status === 206;
  const isEmpty = status === 204 || status === 205;
  if (status >= 200 && status < 300 && !isEmpty && (range || !isPart)) return body;
  body.cancel();
  if (isPart) throw new TransientError(`${url} came in part, though all of it was asked for`);
  if (status === 416 && range) return body;
  if (isEmpty || status === 404 || status === 410) return undefined;
  const pause = response.headers.get("retry-after");
  if (status === 401 || (status === 403 && pause === null)) throw new RefusedError(url, status);
  const message = `${url} failed with HTTP ${status}; try again later`;
  if (status >= 500 || status === 403 || TRANSIENT.includes(status))
    throw new TransientError(message, {}, retryAfter(pause));
  throw new EmbervecError("network", message);
}

/** Longer than this nothing waits for what it can do without. */
export const PATIENCE_MS = 2000;

/**
 * A request for what a load can do without: it may fail, and is not waited for long. What comes and is damaged is an error
 * all the same.
 */
export class Aside<T> {
  /** Why there is no result. */
  problem: EmbervecError | undefined;
  readonly #abort = new AbortController();
  readonly #result: Promise<T | undefined>;
  /** When something of it came. */
  #heardAt = 0;

  constructor(host: Host, ask: (host: Host) => Promise<T | undefined>) {
    follow(host.signal, this.#abort);
    const heard = () => void (this.#heardAt = performance.now());
    this.#result = ask({ ...host, signal: this.#abort.signal, heard }).catch((error: unknown) => {
      host.signal.throwIfAborted();
      const isOptional = error instanceof EmbervecError && (error.code === "network" || error instanceof RefusedError);
      if (!isOptional && !this.#abort.signal.aborted) throw error;
      this.problem ??= error as EmbervecError;
      return undefined;
    });
    // Whoever awaits it sees the error.
    this.#result.catch(() => {});
  }

  /**
   * The result. `undefined` where it has failed, or nothing of it has come for so many milliseconds after `others`, or for as
   * long again as these have taken.
   */
  async beside(others: Promise<unknown>, patience: Patience = { ms: PATIENCE_MS }): Promise<T | undefined> {
    const started = performance.now();
    const end = new AbortController();
    const giveUp = async () => {
      await others.catch(() => {});
      const now = performance.now();
      const ms = patience.ms && Math.max(patience.ms, now - started);
      for (let left = ms; left > 0; left = Math.max(now, this.#heardAt) + ms - performance.now())
        await sleep(left, end.signal);
      patience.ms = 0;
      this.problem ??= new TransientError("it has not answered in time");
      this.#abort.abort(this.problem);
    };
    giveUp().catch(() => {});
    try {
      return await this.#result;
    } finally {
      end.abort();
    }
  }
}

/** `AbortSignal.any` is missing before Safari 17.4. */
function follow(signal: AbortSignal, controller: AbortController): void {
  const abort = () => controller.abort(signal.reason);
  if (signal.aborted) abort();
  else signal.addEventListener("abort", abort, { once: true, signal: controller.signal });
}

/** A response's body, which comes in pieces. */
export class Body {
  response!: HostResponse;
  /** Of the piece that came last, what nobody has taken. */
  #rest = new Uint8Array(0);
  /** Bytes that have been taken. */
  #taken = 0;
  #isOver = false;
  /** What no message may show. */
  #secrets: string[] = [];
  readonly #abort = new AbortController();
  /** How long bytes have been waited for since the last {@link STALL_BYTES}, and how many have come since. */
  #waited = 0;
  #came = 0;

  constructor(
    readonly url: string,
    private readonly signal: AbortSignal,
    private readonly fetch: HostFetch = platformFetch,
    private readonly heard = () => {},
  ) {}

  async open(headers: Record<string, string>, credentials?: RequestCredentials): Promise<HostResponse> {
    const { signal } = this.#abort;
    this.#secrets = Object.values(headers).filter((value) => value !== "");
    follow(this.signal, this.#abort);
    try {
      // Not kept by the browser, too: once is enough, and what it keeps is not verified.
      const init: RequestInit = { headers, cache: "no-store", signal, ...(credentials && { credentials }) };
      this.response = await this.#watched(() => this.fetch(this.url, init));
    } catch (cause) {
      this.#refuse(cause);
      if (cause instanceof TimeoutError)
        throw new TransientError(`${this.url} was not answered (${messageOf(cause)})`, { cause });
      if (this.fetch !== platformFetch) {
        throw new TransientError(`${this.url} could not be fetched by the option \`fetch\`: ${this.#messageOf(cause)}`);
      }
      const reason = reasonOf(cause);
      const why = reason && ` (${this.#hidden(reason)})`;
      throw new TransientError(`Could not fetch ${this.url}${why}. ${HOST_MUST_BE}`, {
        cause: new Error(this.#messageOf(cause)),
      });
    }
    this.#waited = 0;
    return this.response;
  }

  /** The next bytes, at most `limit`; `undefined` at the end. */
  async read(limit: number): Promise<Uint8Array | undefined> {
    while (this.#rest.byteLength === 0) {
      if (this.#isOver) return undefined;
      let piece: Uint8Array | undefined;
      try {
        piece = await this.#watched(() => this.response.read());
      } catch (cause) {
        this.#refuse(cause);
        const length = this.response.headers.get("content-length");
        const of = length === null ? "" : ` of ${length}`;
        throw new TransientError(`${this.url} broke off after ${this.#taken}${of} bytes (${this.#messageOf(cause)})`);
      }
      if (!piece) return void this.end();
      this.heard();
      this.#rest = piece as Uint8Array<ArrayBuffer>;
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

  /** Nothing more of it is read: it ends here. */
  end(): void {
    this.#isOver = true;
    this.#rest = new Uint8Array(0);
    this.cancel();
  }

  /** Throws what is not a failure of the host's. */
  #refuse(cause: unknown): void {
    this.signal.throwIfAborted();
    // A `fetch` that does not heed its signal would go on.
    this.cancel();
    if (cause instanceof EmbervecError) throw cause;
  }

  #messageOf(cause: unknown): string {
    const reason = reasonOf(cause);
    return this.#hidden(messageOf(cause) + (reason && `: ${reason}`));
  }

  /** A platform may repeat a header that it does not like. */
  #hidden(message: string): string {
    return this.#secrets.reduce((message, secret) => message.replaceAll(secret, "…"), message);
  }

  /** Ends in time, and at once when the signal aborts, whatever the `fetch` does. */
  async #watched<T>(start: () => Promise<T>): Promise<T> {
    const started = performance.now();
    try {
      return await settled(this.url, start, { ms: Math.max(0, STALL_MS - this.#waited), signal: this.#abort.signal });
    } catch (error) {
      if (!(error instanceof TimeoutError)) throw error;
      throw new TimeoutError(`fewer than ${STALL_BYTES} bytes came in ${STALL_MS / 1000} s`);
    } finally {
      this.#waited += performance.now() - started;
    }
  }
}

/** What Node says in an error's cause: the error itself is only "fetch failed". Browsers' have none. */
function reasonOf(error: unknown): string {
  const { cause } = Object(error) as { cause?: unknown };
  const { message, code } = Object(cause) as { message?: unknown; code?: unknown };
  // Of several addresses that have all refused there is only the code.
  return [message, code].find((text): text is string => typeof text === "string" && text !== "") ?? "";
}

/** The bytes of a response's body as it is on its way, as far as the host says so, else 0. */
export function lengthOf({ headers }: HostResponse): number {
  const length = Number(headers.get("content-length") ?? 0);
  return Number.isInteger(length) && length >= 0 && length <= MAX_FILE_BYTES ? length : 0;
}

/**
 * What tells this version of a file from others: a strong ETag or a date, as far as the page may see them. `undefined` where nothing
 * does.
 */
export function versionOf({ headers }: HostResponse): string | undefined {
  const isWeak = headers.get("etag")?.startsWith("W/");
  return (isWeak ? undefined : tagOf(headers)) || headers.get("last-modified") || undefined;
}

/** Whether a response is of this version: servers that compress a file weaken its ETag, or append to it. */
export function isOfVersion({ headers }: HostResponse, version: string): boolean {
  return tagOf(headers) === version || headers.get("last-modified") === version;
}

/** A file's ETag, as it is where nothing is compressed. */
export function tagOf(headers: Headers): string | undefined {
  const [, tag] = /^(?:W\/)?"([^"]+?)(?:--?(?:gzip|br|zstd|deflate))?"$/.exec(headers.get("etag") ?? "") ?? [];
  return tag && `"${tag}"`;
}

/** In seconds, or as a date. */
function retryAfter(header: string | null): number {
  if (header === null) return 0;
  const ms = /^\d+$/.test(header) ? 1000 * Number(header) : Date.parse(header) - Date.now();
  return ms > 0 ? ms : 0;
}

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
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
