// Parts of the package that differ between a browser and Node. For Node, build.mjs takes `node-parts.ts` in place of this file.

import type { Entries } from "../cache/cache.js";
import { IndexedDbCache } from "../cache/indexeddb.js";
import type { Locks } from "../cache/locks.js";
import type { HostFetch } from "../model/fetch.js";

export { Accelerator } from "../gpu/accelerator.js";
export { checkRequirements } from "../requirements.js";

export function openCache(_locks: Locks): Entries {
  return new IndexedDbCache();
}

/** Reads a model's folder that lies on this machine; `undefined` for other addresses. */
export function folderFetch(_base: string): HostFetch | undefined {
  return undefined;
}
