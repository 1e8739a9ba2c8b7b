// How the files of a static folder are read: from a server, or from what was kept of it.

import { bytesOf, joined } from "../bytes.js";
import type { CacheChoice } from "../cache/cache.js";
import { EmbervecError, codeOf, messageOf } from "../errors.js";
import { settled } from "../settle.js";
import type { ReadFile } from "./folder-index.js";
import { openEntries } from "./manage.js";
import type { FetchRequest } from "./protocol.js";

/** Milliseconds without an answer after which a request is made again. */
const ANSWER_MS = 30_000;

/** Requests at the same time: as many as browsers make to a host of HTTP/1.1. Of thousands at once some would fail. */
const REQUESTS = 6;

const ATTEMPTS = 3;
const PAUSE_MS = 500;

/** What keys begin with of what is kept of a folder. */
const keptKey = (url: string): string => `folder ${url} `;

export async function readFolder(
  { url, headers, credentials }: FetchRequest,
  cache: CacheChoice,
  signal: AbortSignal,
): Promise<{ read: ReadFile; name: string }> {
  const { entries, absent } = await openEntries(cache);
  // In memory all of it would be there twice.
  const kept = absent === undefined ? entries : undefined;
  const askWith =
    (cache: RequestCache): Ask =>
    async (path, range) =>
      fetch(new URL(path, url), {
        headers: range === undefined ? headers : { ...headers, Range: range },
        ...(credentials && { credentials }),
        cache,
      });
  const lanes = new Lanes(REQUESTS);
  const read: ReadFile = async (path, range, limit, check) => {
    const key = `${keptKey(url)}${path} ${range ? `${range.offset} ${range.length}` : ""} `;
    const keptOrNone = async () => {
      const bytes = bytesOf(await kept?.get(key).catch(() => undefined), limit);
      if (!bytes) return undefined;
      try {
        await check(bytes);
        return bytes;
      } catch {
        // It is of the folder's version before, or damaged: it is fetched again.
        return undefined;
      }
    };
    const fetched = async (cache: RequestCache) => {
      const bytes = await lanes.run(() => request(askWith(cache), path, range, limit, signal));
      await check(bytes);
      return bytes;
    };
    const keep = async (bytes: Uint8Array<ArrayBuffer>) => {
      await kept?.put(key, bytes).catch(() => {});
      return bytes;
    };
    const before = await keptOrNone();
    if (path === "manifest.json") {
      // The newest, or offline the one that is there: it decides which the others are.
      const newest = await fetched("no-cache").catch((error: unknown) => before ?? Promise.reject(error));
      if (before && isSame(before, newest)) return newest;
      // Of another version much would stay that is never asked for again.
      await kept?.delete([keptKey(url)]).catch(() => {});
      return keep(newest);
    }
    if (before) return before;
    const bytes = await fetched("default").catch((error: unknown) => {
      // The browser's own cache may have the version before.
      if (codeOf(error) === "integrity") return fetched("reload");
      throw error;
    });
    return keep(bytes);
  };
  return { read, name: url };
}

/** Deletes what is kept of a folder. */
export async function deleteFolder(cache: CacheChoice, url: string): Promise<void> {
  const { entries } = await openEntries(cache);
  try {
    await entries.delete([keptKey(url)]);
  } finally {
    entries.close();
  }
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return a.byteLength === b.byteLength && a.every((byte, i) => byte === b[i]);
}

/** Runs a few at a time, in the order of asking. */
class Lanes {
  readonly #waiting: (() => void)[] = [];

  constructor(private free: number) {}

  async run<T>(action: () => Promise<T>): Promise<T> {
    if (this.free > 0) this.free -= 1;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await action();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.free += 1;
    }
  }
}

type Ask = (path: string, range: string | undefined) => Promise<Response>;

async function request(
  ask: Ask,
  path: string,
  range: { offset: number; length: number } | undefined,
  limit: number,
  signal: AbortSignal,
): Promise<Uint8Array<ArrayBuffer>> {
  const header = range && `bytes=${range.offset}-${range.offset + range.length - 1}`;
  for (let attempt = 1; ; attempt++) {
    try {
      return await once(ask, path, range, header, limit, signal);
    } catch (error) {
      if (error instanceof EmbervecError || signal.aborted || attempt === ATTEMPTS) {
        if (error instanceof EmbervecError || signal.aborted) throw error;
        throw new EmbervecError("network", `${path} of the index could not be fetched: ${messageOf(error)}`, {
          cause: error,
        });
      }
      await new Promise((resolve) => setTimeout(resolve, attempt * PAUSE_MS));
    }
  }
}

async function once(
  ask: Ask,
  path: string,
  range: { offset: number; length: number } | undefined,
  header: string | undefined,
  limit: number,
  signal: AbortSignal,
): Promise<Uint8Array<ArrayBuffer>> {
  const response = await settled("the host", () => ask(path, header), { ms: ANSWER_MS, signal });
  const { status, url } = response;
  if (status === 404 || status === 410)
    throw new EmbervecError(
      "index_not_found",
      `there is no ${path} at ${url || path}: ${status}. A folder of an index holds manifest.json beside its other files`,
    );
  if (status === 401 || status === 403)
    throw new EmbervecError(
      "unauthorized",
      `the host answers ${status} for ${path} of the index; pass a token in \`headers\``,
    );
  if (!response.ok) throw new Error(`the host answers ${status}`);
  // The host may ignore Range, and send all.
  const end = range && status !== 206 ? range.offset + range.length : undefined;
  const bytes = await readUpTo(response, end ?? limit, signal);
  if (end !== undefined) return bytes.slice(range!.offset, end);
  if (bytes.byteLength <= limit) return bytes;
  const problem = path === "manifest.json" ? "larger than any index has" : "longer than its manifest.json says";
  throw new EmbervecError("integrity", `${path} of the index is ${problem}`);
}

/** All bytes up to a limit; some more where there are more. */
async function readUpTo(response: Response, limit: number, signal: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
  const reader = response.body?.getReader();
  const pieces: Uint8Array[] = [];
  let length = 0;
  const next = () => settled("the host", () => reader?.read(), { ms: ANSWER_MS, signal });
  for (let read = await next(); read && !read.done; read = await next()) {
    pieces.push(read.value);
    length += read.value.byteLength;
    if (length <= limit) continue;
    reader?.cancel().catch(() => {});
    break;
  }
  return joined(pieces);
}
