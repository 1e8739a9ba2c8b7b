import { Embedder, EmbervecError, type EncodeOptions, type LoadOptions } from "../index.js";

/** An embedder of the caller's, or one that is loaded when it is first needed and then shared. */
export class LazyEmbedder {
  #loading: Promise<Embedder> | undefined;

  /** @param model an id or address, as {@link Embedder.load} takes it, or an embedder, which stays the caller's */
  constructor(
    readonly model: string | Embedder,
    readonly options: LoadOptions = {},
  ) {
    if (model === undefined || model === "") {
      throw new EmbervecError(
        "invalid_input",
        "there is no model: give a hub id, the address of a folder, or an Embedder",
      );
    }
  }

  /** A wait that is aborted ends at once; the load goes on for whoever else waits. One that has failed is made again. */
  async get(signal?: AbortSignal): Promise<Embedder> {
    if (typeof this.model !== "string") return this.model;
    signal?.throwIfAborted();
    if (!this.#loading) {
      const loading = Embedder.load(this.model, this.options);
      this.#loading = loading;
      loading.catch(() => {
        if (this.#loading === loading) this.#loading = undefined;
      });
    }
    return unlessAborted(this.#loading, signal);
  }

  /** Ends an embedder that was loaded here. The next call loads it again. */
  async dispose(): Promise<void> {
    const loading = this.#loading;
    this.#loading = undefined;
    await (await loading?.catch(() => undefined))?.dispose();
  }
}

function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

/** The first `dimensions` of a vector, scaled to length 1, as hosted APIs give them. */
export function dimensionOptions(dimensions: number | undefined): Pick<EncodeOptions, "truncateDim" | "normalize"> {
  return dimensions === undefined ? {} : { truncateDim: dimensions, normalize: true };
}

/** The signals' own reason, from whichever aborts first. `AbortSignal.any` is missing before Safari 17.4. */
export function anySignal(...signals: (AbortSignal | undefined)[]): AbortSignal | undefined {
  const given = signals.filter((signal) => signal !== undefined);
  if (given.length < 2) return given[0];
  const controller = new AbortController();
  for (const signal of given) {
    const abort = () => controller.abort(signal.reason);
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort, { once: true, signal: controller.signal });
  }
  return controller.signal;
}
