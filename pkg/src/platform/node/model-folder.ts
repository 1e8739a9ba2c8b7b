// A model's folder on this machine, read as if a host had it.

import { type FileHandle, open, stat } from "node:fs/promises";
import { fileURLToPath } from "node:url";

import { EmbervecError, messageOf } from "../../errors.js";
import { CHUNK_BYTES } from "../../limits.js";
import type { HostFetch, HostResponse } from "../../model/fetch.js";

/** What says that a file is not there, or that it is none. */
const MISSING = ["ENOENT", "ENOTDIR", "ELOOP", "ENAMETOOLONG", "EISDIR"];

/** Links are followed, wherever they lead: the hub's own cache is made of them. Addresses do not lead out of the folder. */
export function folderFetch(base: string): HostFetch | undefined {
  if (!base.startsWith("file:")) return undefined;
  return async (url, { signal }) => {
    const path = pathIn(base, url);
    let file: FileHandle | undefined;
    try {
      // Before it is opened: a pipe's opening may never end.
      if (!(await stat(path)).isFile()) return notFound();
      file = await open(path);
      const { size, mtime } = await file.stat();
      return opened(path, file, size, mtime, signal ?? undefined);
    } catch (error) {
      await file?.close();
      if (MISSING.includes((error as NodeJS.ErrnoException).code ?? "")) return notFound();
      throw unreadable(path, error);
    }
  };
}

function notFound(): HostResponse {
  return { status: 404, headers: new Headers(), redirected: false, read: async () => undefined };
}

function opened(
  path: string,
  file: FileHandle,
  size: number,
  mtime: Date,
  signal: AbortSignal | undefined,
): HostResponse {
  let reading: Promise<unknown> = Promise.resolve();
  let isClosed = false;
  const close = () => {
    isClosed = true;
    signal?.removeEventListener("abort", close);
    // Not while something is read from it.
    void reading.finally(() => file.close().catch(() => {})).catch(() => {});
  };
  if (signal?.aborted) close();
  else signal?.addEventListener("abort", close);
  const next = async () => {
    const { bytesRead, buffer } = await file.read(new Uint8Array(CHUNK_BYTES), 0, CHUNK_BYTES);
    return bytesRead === 0 ? undefined : buffer.subarray(0, bytesRead);
  };
  return {
    status: 200,
    headers: new Headers({ "content-length": String(size), "last-modified": mtime.toUTCString() }),
    redirected: false,
    read: async () => {
      if (isClosed) return undefined;
      try {
        const piece = await (reading = next());
        if (!piece) close();
        return piece as Uint8Array | undefined;
      } catch (error) {
        throw unreadable(path, error);
      }
    },
  };
}

function pathIn(base: string, url: string): string {
  let folder: string;
  let path: string;
  try {
    folder = fileURLToPath(base);
    path = fileURLToPath(url);
  } catch (cause) {
    throw new EmbervecError("invalid_input", `${url} names no file of this machine: ${messageOf(cause)}`, { cause });
  }
  if (path.startsWith(folder)) return path;
  throw new EmbervecError("invalid_input", `${url} leads out of the model's folder`);
}

function unreadable(path: string, cause: unknown): EmbervecError {
  return new EmbervecError("storage", `${path} cannot be read: ${messageOf(cause)}`, { cause });
}
