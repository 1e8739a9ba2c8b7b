// As `web.ts`, for `embervec/search`: a page that does not search must not be given a bundler's copy of these files.

import { withoutCredentials } from "../addresses.js";
import { besides, startAt, startBeside } from "../worker/start.js";
import type { WorkerScript } from "./web.js";

export const INDEX_KEEPS: string = "This browser keeps the index for the next visit.";

/** As {@link workerScript} of the embedder. */
export function searchWorkerScript(url: string | undefined, page: string): WorkerScript {
  const name = "embervec search";
  if (url !== undefined) return { url: new URL(url), start: () => startAt(url, name) };
  const plain = () => new Worker(new URL("./search-worker.js", import.meta.url), { type: "module", name });
  return { url: besides("search-worker.js", page), start: () => startBeside("search-worker.js", name, plain) };
}

/** Written out, because bundlers look for exactly this. */
export function searchWasmAddress(): URL {
  return withoutCredentials(new URL("./embervec-search.wasm", import.meta.url));
}
