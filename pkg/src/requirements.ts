// What a browser must have, found by trying, not by its name. The table in pkg/README.md says where each version comes from.

import { EmbervecError } from "./errors.js";

/** A function that gives a null reference and a vector: reference types, several results, SIMD. */
const MODULE = Uint8Array.of(
  0,
  97,
  115,
  109,
  1,
  0,
  0,
  0,
  1,
  6,
  1,
  96,
  0,
  2,
  111,
  123,
  3,
  2,
  1,
  0,
  10,
  10,
  1,
  8,
  0,
  208,
  111,
  65,
  0,
  253,
  15,
  11,
);

/** In the order of a message. What these versions have besides is not asked for. */
const REQUIREMENTS: [what: string, isThere: () => boolean][] = [
  ["WebAssembly (which Lockdown Mode and the like switch off)", () => typeof WebAssembly === "object"],
  ["WebAssembly SIMD and reference types", () => typeof WebAssembly !== "object" || WebAssembly.validate(MODULE)],
  ["module workers", hasModuleWorkers],
  ["AbortSignal.throwIfAborted", () => "throwIfAborted" in AbortSignal.prototype],
];

/** Fails where a model could not run, before anything is fetched for it. */
export function checkRequirements(): void {
  if (typeof Worker === "undefined") {
    const where =
      "call Embedder.load in a page or a worker of a browser, not while rendering on a server, nor in a service worker";
    throw new EmbervecError("unsupported_device", `embervec needs Web Workers; ${where}`);
  }
  const missing = REQUIREMENTS.filter(([, isThere]) => !isThere()).map(([what]) => what);
  if (missing.length === 0) return;
  const versions = "It runs in Chrome 100, Edge 100, Firefox 114, Safari 16.4, and later versions";
  throw new EmbervecError(
    "unsupported_device",
    `embervec needs ${missing.join(" and ")}, which this browser does not have. ${versions}.`,
  );
}

/** A browser that has them asks for a worker's type, and gets no further. Another one starts an empty worker. */
function hasModuleWorkers(): boolean {
  const options: WorkerOptions = {
    get type(): never {
      throw new Error("It asks.");
    },
  };
  try {
    // Not a string, which Parcel takes for an old way of writing a worker of its own.
    new Worker(new URL("data:text/javascript,"), options).terminate();
    return false;
  } catch {
    // Or it refuses this address; then nothing is known.
    return true;
  }
}
