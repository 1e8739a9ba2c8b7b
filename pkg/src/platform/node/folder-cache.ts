// Node's cache: a file for each entry.

import { randomUUID } from "node:crypto";
import { readFile, readdir, rename, rm, rmdir, stat, statfs, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, isAbsolute, join } from "node:path";

import type { ModelCache } from "../../cache/cache.js";
import { EmbervecError, messageOf } from "../../errors.js";
import { MAX_PART_BYTES } from "../../limits.js";
import { keyOf, nameOf, scopeOf } from "./file-names.js";
import { makeFolder } from "./make-folder.js";

/** Where models are kept: `$EMBERVEC_CACHE`, else `$HF_HOME/embervec`, `$XDG_CACHE_HOME/embervec`, `~/.cache/embervec`. */
export function cacheFolder(): string {
  const home =
    folderIn("EMBERVEC_CACHE") ?? join(folderIn("HF_HOME") ?? xdgFolder() ?? join(homeFolder(), ".cache"), "embervec");
  return join(home, "models");
}

/** As Python's packages read such a variable: where no shell has written out `~`, it is the home folder all the same. */
function folderIn(variable: string): string | undefined {
  const path = process.env[variable];
  if (!path?.trim()) return undefined;
  // A drive of Windows is one letter.
  if (/^[a-z][a-z0-9+.-]+:/i.test(path))
    throw new EmbervecError("storage", `the environment variable ${variable} must be a folder's path, not an address`);
  return /^~([\\/]|$)/.test(path) ? join(homeFolder(), path.slice(1)) : path;
}

/** Its specification has relative paths ignored. */
function xdgFolder(): string | undefined {
  const folder = folderIn("XDG_CACHE_HOME");
  return folder !== undefined && isAbsolute(folder) ? folder : undefined;
}

/** A user of a container may have none. */
function homeFolder(): string {
  try {
    const home = homedir();
    if (home !== "") return home;
  } catch {
    // The user is not known here.
  }
  throw new EmbervecError("storage", "there is no home folder for the cache; set EMBERVEC_CACHE");
}

/** What begins so is being written, or was left by a process that is gone. */
const TEMPORARY = ".tmp";
/** A file that has been written for so many milliseconds is one of those. */
const LEFT_MS = 3_600_000;

/** Folders in each other that a name can have; a link may make more of them. */
const MAX_DEPTH = 32;

/**
 * Any number of threads and processes may use the same folder: an entry comes into being by being renamed, so it is whole or not there.
 * Whatever else lies in the folder stays as it is.
 */
export class FolderCache implements ModelCache {
  #hasTidied = false;

  /** @param place is asked for when it is used, and may throw */
  constructor(private readonly place: () => string) {}

  private get folder(): string {
    return this.place();
  }

  async get(key: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const path = join(this.folder, nameOf(key));
    try {
      // Nothing of ours is larger than a part of an index. Before it is opened: a pipe's opening may never end.
      const found = await stat(path);
      if (!found.isFile() || found.size > MAX_PART_BYTES) return undefined;
      return new Uint8Array(await readFile(path));
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  async put(key: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    const path = join(this.folder, nameOf(key));
    const temporary = join(this.folder, `${TEMPORARY}-${process.pid}-${randomUUID()}`);
    try {
      await this.#tidy();
      await writeFile(temporary, bytes, { flag: "wx" });
      for (let attempt = 1; ; attempt++) {
        try {
          await makeFolder(dirname(path));
          return await rename(temporary, path);
        } catch (error) {
          // Another process has just deleted the folder, or (Windows) is reading the file that this one replaces.
          if (attempt === RENAMES) throw error;
          await new Promise((resolve) => setTimeout(resolve, attempt * 10));
        }
      }
    } catch (error) {
      await rm(temporary, { force: true }).catch(() => {});
      throw refusal(error);
    }
  }

  async delete(prefix: string): Promise<void> {
    for (const key of await this.keys(prefix)) {
      const path = join(this.folder, nameOf(key));
      try {
        await rm(path, { force: true });
      } catch (error) {
        throw refusal(error);
      }
      await this.#prune(dirname(path));
    }
  }

  async keys(prefix: string): Promise<string[]> {
    const keys: string[] = [];
    const scope = scopeOf(prefix);
    await list(this.folder, scope, scope.length, (name) => {
      const key = keyOf(name);
      if (key?.startsWith(prefix)) keys.push(key);
    });
    return keys;
  }

  async room(): Promise<number> {
    const { bavail, bsize } = await statfs(this.folder);
    return bavail * bsize;
  }

  /** Removes what earlier processes were writing when they ended. */
  async #tidy(): Promise<void> {
    if (this.#hasTidied) return;
    this.#hasTidied = true;
    await makeFolder(this.folder);
    for (const name of await readdir(this.folder)) {
      if (!name.startsWith(TEMPORARY)) continue;
      const path = join(this.folder, name);
      const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: Date.now() }));
      if (Date.now() - mtimeMs > LEFT_MS) await rm(path, { force: true }).catch(() => {});
    }
  }

  /** Removes folders that hold nothing any more. */
  async #prune(folder: string): Promise<void> {
    try {
      for (let empty = folder; empty.length > this.folder.length; empty = dirname(empty)) await rmdir(empty);
    } catch {
      // It still holds something.
    }
  }
}

/** How often a rename is tried. */
const RENAMES = 5;

/** Calls `found` with the path of each file below `folder/below`, in parts. */
async function list(
  folder: string,
  below: readonly string[],
  depth: number,
  found: (name: string[]) => void,
): Promise<void> {
  if (depth > MAX_DEPTH) return;
  let entries: { name: string; isFile(): boolean; isDirectory(): boolean }[];
  try {
    entries = await readdir(join(folder, ...below), { withFileTypes: true });
  } catch (error) {
    if (isMissing(error)) return;
    throw error;
  }
  for (const entry of entries) {
    const name = [...below, entry.name];
    if (entry.isFile()) found(name);
    else if (entry.isDirectory() && !entry.name.startsWith(".")) await list(folder, name, depth + 1, found);
  }
}

function isMissing(error: unknown): boolean {
  return ["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "");
}

/** As a cache has to say it. */
function refusal(error: unknown): unknown {
  const { code = "" } = error as NodeJS.ErrnoException;
  const name = ["ENOSPC", "EDQUOT"].includes(code)
    ? "QuotaExceededError"
    : ["EROFS", "EACCES", "EPERM"].includes(code)
      ? "NoModificationAllowedError"
      : undefined;
  return name ? Object.assign(new Error(messageOf(error), { cause: error }), { name }) : error;
}
