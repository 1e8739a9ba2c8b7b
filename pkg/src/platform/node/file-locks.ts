// Locks that all threads and processes share that use a cache folder: files that whoever has a lock creates, and touches while it has it.

import { createHash, randomUUID } from "node:crypto";
import { closeSync, fstatSync, futimesSync, openSync, rmSync, statSync } from "node:fs";
import { rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";

import { USE } from "../../cache/cache.js";
import { makeFolder } from "./make-folder.js";

/** A lock whose file has not been touched for so many milliseconds was left by a process that is gone. */
const STALE_MS = 5_000;
const TOUCH_MS = 1_000;
/** Milliseconds between two looks at a lock that somebody has. */
const POLL_MS = 100;

/**
 * The part of the platform's `LockManager` that {@link Locks} uses. Nothing right or wrong depends on these locks: without them two
 * processes fetch the same model. A `shared` one only says that a model is in use: everybody gets it, and nobody the exclusive one of
 * that name, which would say that the model is in no use. So no model is deleted to make room for another one.
 */
export class FileLocks {
  /** @param folder is asked for when a lock is, and may throw */
  constructor(private readonly folder: () => string) {}

  async request<T>(
    name: string,
    { mode, ifAvailable, signal }: LockOptions,
    hold: (lock: Lock | null) => T | PromiseLike<T>,
  ): Promise<T> {
    const lock: Lock = { name, mode: mode ?? "exclusive" };
    if (lock.mode === "shared") return hold(lock);
    if (ifAvailable && name.startsWith(USE)) return hold(null);
    const folder = join(this.folder(), ".locks");
    const path = join(folder, createHash("sha256").update(name).digest("hex"));
    await makeFolder(folder);
    let file = await take(path);
    while (file === undefined) {
      if (ifAvailable) return hold(null);
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      signal?.throwIfAborted();
      file = await take(path);
    }
    const touching = setInterval(touch, TOUCH_MS, file);
    touching.unref();
    try {
      signal?.throwIfAborted();
      return await hold(lock);
    } finally {
      clearInterval(touching);
      release(path, file);
    }
  }
}

/** By its descriptor: at its path there may be somebody else's by now. */
function touch(file: number): void {
  try {
    futimesSync(file, new Date(), new Date());
  } catch {
    // It will be stale.
  }
}

/** At once: this thread may end as soon as it has said that it is done. */
function release(path: string, file: number): void {
  try {
    // No other file has its number while it is open.
    const [own, there] = [fstatSync(file, { bigint: true }), statSync(path, { bigint: true })];
    if (own.ino === there.ino && own.dev === there.dev) rmSync(path, { force: true });
  } catch {
    // It is gone, or it will be stale.
  } finally {
    closeSync(file);
  }
}

/** @returns the descriptor of the lock's file; `undefined` where somebody has it, or had it until now */
async function take(path: string): Promise<number | undefined> {
  try {
    return openSync(path, "wx");
  } catch (error) {
    // Windows says of a file that is being deleted that it may not be opened.
    const isRefused = isOneOf(error, "EPERM", "EACCES");
    if (!isRefused && !isOneOf(error, "EEXIST")) throw error;
    const found = await stat(path).catch((missing: unknown) => {
      if (isRefused || !isOneOf(missing, "ENOENT")) throw error;
      return undefined;
    });
    if (found && Math.abs(Date.now() - found.mtimeMs) > STALE_MS) await bury(path);
    return undefined;
  }
}

/** Only one of those that see that a lock is stale can take it away. */
async function bury(path: string): Promise<void> {
  const grave = `${path}.${randomUUID()}`;
  try {
    await rename(path, grave);
  } catch (error) {
    // Somebody else was faster. What cannot be taken away would be waited for without end.
    if (isOneOf(error, "ENOENT")) return;
    throw error;
  }
  await rm(grave, { force: true }).catch(() => {});
}

function isOneOf(error: unknown, ...codes: string[]): boolean {
  return codes.includes((error as NodeJS.ErrnoException).code ?? "");
}
