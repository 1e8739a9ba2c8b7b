/** Runs one query at a time, the newest; what an older one still delivers is dropped. */

export interface QueryVector {
  readonly query: string;
  readonly embedding: Float32Array;
  readonly encodeMs: number;
}

export interface LiveSearchOptions {
  readonly debounceMs: number;
  readonly encode: (query: string, signal: AbortSignal) => Promise<Float32Array>;
  readonly onVector: (vector: QueryVector) => void;
  readonly onError: (error: unknown) => void;
}

export class LiveSearch {
  readonly #options: LiveSearchOptions;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #running: AbortController | undefined;

  constructor(options: LiveSearchOptions) {
    this.#options = options;
  }

  /** Waits for a pause in typing. */
  schedule(query: string): void {
    this.cancel();
    this.#timer = setTimeout(() => void this.run(query), this.#options.debounceMs);
  }

  async run(query: string): Promise<void> {
    this.cancel();
    const controller = new AbortController();
    this.#running = controller;
    const { encode, onVector, onError } = this.#options;
    try {
      const started = performance.now();
      const embedding = await encode(query, controller.signal);
      if (!controller.signal.aborted) onVector({ query, embedding, encodeMs: performance.now() - started });
    } catch (error) {
      if (!controller.signal.aborted) onError(error);
    }
  }

  cancel(): void {
    clearTimeout(this.#timer);
    this.#running?.abort();
  }
}
