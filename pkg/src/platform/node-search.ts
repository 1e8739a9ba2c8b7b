// As `web-search.ts`, for Node.

import { Thread } from "./node/thread.js";
import type { WorkerScript } from "./web.js";

export const INDEX_KEEPS = "The cache folder keeps the index for the next time.";

export function searchWorkerScript(workerUrl: string | undefined): WorkerScript {
  const url = workerUrl === undefined ? new URL("./search-worker.js", import.meta.url) : new URL(workerUrl);
  return { url, start: () => new Thread(url) as unknown as Worker };
}

export function searchWasmAddress(): URL {
  return new URL("../embervec-search.wasm", import.meta.url);
}

/** What the other sources import is here, too. */
export type Same = Check<typeof import("./node-search.js")>;
type Check<T extends typeof import("./web-search.js")> = T;
