// Locks that all threads and processes share that use a cache folder: files that whoever has a lock creates, and touches while it has it.

import { createHash, randomUUID } from "node:crypto";
import { rmSync } from "node:fs";
import { mkdir, open, rename, rm, stat, utimes } from "node:fs/promises";
import { join } from "node:path";

/** A lock whose file has not been touched for so many milliseconds was left by a process that is gone. */
const STALE_MS = 5_000;
const TOUCH_MS = 1_000;
/** Milliseconds between two looks at a lock that somebody has. */
const POLL_MS = 100;

/**
 * The part of the platform's `LockManager` that {@link Locks} uses. Nothing right or wrong depends on these locks: without them two
 * processes fetch the same model, and one may delete what another one has in use, which fetches it again. So `shared` ones, which only
 * say that a model is in use, are given to everybody.
 */
export class FileLocks {
  constructor(private readonly folder: string) {}

  async request<T>(
    name: string,
    { mode, ifAvailable, signal }: LockOptions,
    hold: (lock: Lock | null) => T | PromiseLike<T>,
  ): Promise<T> {
    const lock: Lock = { name, mode: mode ?? "exclusive" };
    if (lock.mode === "shared") return hold(lock);
    const folder = join(this.folder, ".locks");
    const path = join(folder, createHash("sha256").update(name).digest("hex"));
    await mkdir(folder, { recursive: true });
    while (!(await take(path))) {
      if (ifAvailable) return hold(null);
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      signal?.throwIfAborted();
    }
    const touching = setInterval(() => void utimes(path, new Date(), new Date()).catch(() => {}), TOUCH_MS);
    touching.unref();
    try {
      signal?.throwIfAborted();
      return await hold(lock);
    } finally {
      clearInterval(touching);
      release(path);
    }
  }
}

/** At once: this thread may end as soon as it has said that it is done. */
function release(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    // It will be stale.
  }
}

async function take(path: string): Promise<boolean> {
  try {
    await (await open(path, "wx")).close();
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
  const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: Date.now() }));
  if (Math.abs(Date.now() - mtimeMs) > STALE_MS) {
    // Only one of those that see it so can take it away.
    const grave = `${path}.${randomUUID()}`;
    await rename(path, grave).catch(() => {});
    await rm(grave, { force: true });
  }
  return false;
}
