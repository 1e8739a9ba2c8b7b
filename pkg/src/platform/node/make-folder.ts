// Folders that may have to be made.

import { mkdir, stat } from "node:fs/promises";
import { dirname } from "node:path";

/** Makes a folder, and those that it is in, where they are missing. Node's own `recursive` never ends below /proc. */
export async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const parent = dirname(path);
    if (code === "ENOENT" && parent !== path) {
      await makeFolder(parent);
      // What is still missing is not waited for.
      await mkdir(path).catch((again: unknown) => refuseUnlessFolder(path, again));
    } else {
      await refuseUnlessFolder(path, error);
    }
  }
}

/** Another process may have made it; of a drive or a read-only disk a system says something else than that it is there. */
async function refuseUnlessFolder(path: string, error: unknown): Promise<void> {
  const found = await stat(path).catch(() => undefined);
  if (!found?.isDirectory()) throw error;
}
