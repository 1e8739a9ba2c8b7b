// As `web-parts.ts`, for Node.

import type { Entries } from "../cache/cache.js";
import type { Locks } from "../cache/locks.js";
import { OwnCache } from "../cache/own.js";
import { EmbervecError } from "../errors.js";
import { NO_GPU } from "./node.js";
import { FolderCache, cacheFolder } from "./node/folder-cache.js";

export { folderFetch } from "./node/model-folder.js";

export function openCache(locks: Locks): Entries {
  return new OwnCache(new FolderCache(cacheFolder), locks);
}

export function checkRequirements(): void {
  if (typeof WebAssembly === "object") return;
  throw new EmbervecError("unsupported_device", "embervec needs WebAssembly, which `--jitless` switches off");
}

/** Nobody asks for a GPU: see `checkDevice`. */
export class Accelerator {
  readonly isDemanded: boolean = false;

  static async start(_options: object): Promise<never> {
    throw new EmbervecError("unsupported_device", NO_GPU);
  }

  async encode(_batch: object): Promise<Float32Array | undefined> {
    return undefined;
  }

  fail(_error: unknown): void {}
}

/** What the other sources import is here, too. */
export type Same = Check<typeof import("./node-parts.js")>;
type Check<T extends Omit<typeof import("./web-parts.js"), "Accelerator">> = T;
