// How the files of a static folder are read: from a server, or from what was kept of it.

import { bytesOf } from "../bytes.js";
import type { CacheChoice } from "../cache/cache.js";
import { EmbervecError, messageOf } from "../errors.js";
import { settled } from "../settle.js";
import type { ReadFile } from "./folder-index.js";
import { openEntries } from "./manage.js";
import type { FetchRequest } from "./protocol.js";

/** Milliseconds without an answer after which a request is made again. */
const ANSWER_MS = 30_000;

const ATTEMPTS = 3;
const PAUSE_MS = 500;

/** What keys begin with of what is kept of folders. */
const KEPT = "folder ";

export async function readFolder(
  { url, headers, credentials }: FetchRequest,
  cache: CacheChoice,
  signal: AbortSignal,
): Promise<{ read: ReadFile; name: string }> {
  const { entries } = await openEntries(cache);
  const ask = async (path: string, range: string | undefined) =>
    fetch(new URL(path, url), {
      headers: range === undefined ? headers : { ...headers, Range: range },
      ...(credentials && { credentials }),
      // The manifest decides; the others are named by it.
      ...(path === "manifest.json" && { cache: "no-cache" as const }),
    });
  const read: ReadFile = async (path, range, limit) => {
    const key = `${KEPT}${url} ${path} ${range ? `${range.offset} ${range.length}` : ""} `;
    const isManifest = path === "manifest.json";
    // The newest manifest, or offline the one that is there: the others have the SHA-256 that it names.
    const kept = isManifest ? undefined : await entries.get(key).catch(() => undefined);
    const known = bytesOf(kept, limit);
    if (known && (!range || known.byteLength === range.length)) return known;
    try {
      const bytes = await request(ask, path, range, limit, signal);
      await entries.put(key, bytes).catch(() => {});
      return bytes;
    } catch (error) {
      const old = isManifest ? bytesOf(await entries.get(key).catch(() => undefined), limit) : undefined;
      if (old) return old;
      throw error;
    }
  };
  return { read, name: url };
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
  const bytes = await readUpTo(response, status === 206 || !range ? limit : range.offset + range.length, path, signal);
  if (!range || status === 206) return bytes;
  // The host ignores Range, and sends all.
  return bytes.slice(range.offset, range.offset + range.length);
}

/** What is longer than the manifest says is not read on. */
async function readUpTo(
  response: Response,
  limit: number,
  path: string,
  signal: AbortSignal,
): Promise<Uint8Array<ArrayBuffer>> {
  const reader = response.body?.getReader();
  const pieces: Uint8Array[] = [];
  let length = 0;
  const next = () => settled("the host", () => reader?.read(), { ms: ANSWER_MS, signal });
  for (let read = await next(); read && !read.done; read = await next()) {
    pieces.push(read.value);
    length += read.value.byteLength;
    if (length < limit) continue;
    // All that was asked for. With more to come it is another file.
    reader?.cancel().catch(() => {});
    break;
  }
  const bytes = new Uint8Array(Math.min(length, limit));
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece.subarray(0, bytes.length - at), at);
    at = Math.min(bytes.length, at + piece.byteLength);
  }
  if (length > limit && path === "manifest.json")
    throw new EmbervecError("integrity", "manifest.json of the index is larger than any index has");
  return bytes;
}
