import { Embedder, EmbervecError, type EncodeOptions, type LoadOptions, type ProgressCallback } from "../index.js";

/** What a caller gives for a load that may be for others, too. */
export interface Loading {
  signal?: AbortSignal | undefined;
  progress?: ProgressCallback | undefined;
}

interface Load {
  readonly result: Promise<Embedder>;
  readonly end: AbortController;
  /** Those of all who wait: one that several gave is called once. */
  readonly watchers: ProgressCallback[];
  isOver: boolean;
}

/** An embedder of the caller's, or one that is loaded when it is first needed and then shared. */
export class LazyEmbedder {
  #load: Load | undefined;

  /**
   * @param model an id or address, as {@link Embedder.load} takes it, or an embedder, which stays the caller's
   * @param options their signal ends the load for all: it must belong to whoever owns this object
   */
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

  /**
   * A wait that is aborted ends at once; the load goes on for whoever else waits. One that has failed is made again.
   *
   * @param signal ends the call that the embedder is for
   * @param loading heeded while the model is loaded
   */
  async get(signal?: AbortSignal, loading: Loading = {}): Promise<Embedder> {
    signal?.throwIfAborted();
    if (typeof this.model !== "string") return this.model;
    if (this.#load?.isOver) return this.#load.result;
    loading.signal?.throwIfAborted();
    const { result, watchers } = (this.#load ??= this.#start(this.model));
    const { progress } = loading;
    if (progress) watchers.push(progress);
    try {
      return await unlessAborted(result, signal, loading.signal);
    } finally {
      if (progress) watchers.splice(watchers.indexOf(progress), 1);
    }
  }

  #start(model: string): Load {
    const { progress, signal } = this.options;
    const end = new AbortController();
    const watchers = progress ? [progress] : [];
    const tell: ProgressCallback = (event) => {
      for (const watch of new Set(watchers)) watch(event);
    };
    const result = withSignals([end.signal, signal], (either) =>
      Embedder.load(model, { ...this.options, progress: tell, signal: either }),
    );
    const load: Load = { result, end, watchers, isOver: false };
    result.then(
      () => {
        load.isOver = true;
      },
      () => {
        if (this.#load === load) this.#load = undefined;
      },
    );
    return load;
  }

  /** Ends an embedder that was loaded here, or its load. The next call loads it again. */
  async dispose(): Promise<void> {
    const load = this.#load;
    this.#load = undefined;
    load?.end.abort(new EmbervecError("disposed", "the model was disposed of while it was being loaded"));
    await (await load?.result.catch(() => undefined))?.dispose();
  }
}

/** What the promise gives, unless a signal aborts first. */
async function unlessAborted<T>(promise: Promise<T>, ...signals: (AbortSignal | undefined)[]): Promise<T> {
  let release = () => {};
  const aborted = new Promise<never>((_, reject) => {
    release = onAbort(signals, reject);
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    release();
  }
}

/** Runs a call with a signal that aborts as the first of these does. `AbortSignal.any` is missing before Safari 17.4. */
export async function withSignals<T>(
  signals: (AbortSignal | undefined)[],
  call: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const either = new AbortController();
  const release = onAbort(signals, (reason) => either.abort(reason));
  try {
    return await call(either.signal);
  } finally {
    release();
  }
}

/** What is to be done on a signal's abort. It has one listener for all, because Node warns of more than ten. */
const waiting = new WeakMap<AbortSignal, { actions: Set<() => void>; listener: () => void }>();

/** Calls `action` with the reason of the first signal that aborts, or has, until the function that it gives is called. */
function onAbort(signals: (AbortSignal | undefined)[], action: (reason: unknown) => void): () => void {
  const given = signals.filter((signal) => signal !== undefined);
  const aborted = given.find((signal) => signal.aborted);
  if (aborted) action(aborted.reason);
  const releases = aborted ? [] : given.map((signal) => listen(signal, () => action(signal.reason)));
  return () => {
    for (const release of releases) release();
  };
}

function listen(signal: AbortSignal, action: () => void): () => void {
  let entry = waiting.get(signal);
  if (!entry) {
    const actions = new Set<() => void>();
    entry = { actions, listener: () => actions.forEach((each) => each()) };
    waiting.set(signal, entry);
    signal.addEventListener("abort", entry.listener);
  }
  const { actions, listener } = entry;
  actions.add(action);
  return () => {
    actions.delete(action);
    if (actions.size > 0) return;
    signal.removeEventListener("abort", listener);
    waiting.delete(signal);
  };
}

/** Without options that are `undefined`, which are left out, and hide no default. */
export function given<T extends object>(options: T): { [Name in keyof T]?: Exclude<T[Name], undefined> } {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T;
}

/** Prompts of the caller's. */
export interface WithPrompts {
  /**
   * Put before queries and before documents, instead of the model's own. For a model whose folder has no prompts but that was trained
   * with some, such as E5: `{ query: "query: ", document: "passage: " }`.
   */
  prompts?: {
    /** Put before queries. */
    query?: string;
    /** Put before documents. */
    document?: string;
  };
}

/** The caller's prompt for a role, if there is one. */
export function promptOption(
  role: "query" | "document",
  prompts: WithPrompts["prompts"] = {},
): Pick<EncodeOptions, "prompt"> {
  const unknown = Object.keys(prompts).find((name) => name !== "query" && name !== "document");
  if (unknown !== undefined) {
    throw new EmbervecError("invalid_input", `prompts are for "query" and "document"; there is no "${unknown}"`);
  }
  const prompt = prompts[role];
  return prompt === undefined ? {} : { prompt };
}

/** The first `dimensions` of a vector, scaled to length 1, as hosted APIs give them. */
export function dimensionOptions(dimensions: number | undefined): Pick<EncodeOptions, "truncateDim" | "normalize"> {
  return dimensions === undefined ? {} : { truncateDim: dimensions, normalize: true };
}
