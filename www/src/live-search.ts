/** Runs one search at a time, the newest; an older one is ended. The first is at once, the next ones wait for a pause. */

export class LiveSearch {
  readonly #debounceMs: number;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #running: AbortController | undefined;
  #lastRun = 0;

  constructor(debounceMs: number) {
    this.#debounceMs = debounceMs;
  }

  run(search: (signal: AbortSignal) => Promise<void>): void {
    this.cancel();
    const now = performance.now();
    const wait = now - this.#lastRun > 2 * this.#debounceMs ? 0 : this.#debounceMs;
    this.#lastRun = now;
    this.#timer = setTimeout(() => {
      const controller = new AbortController();
      this.#running = controller;
      void search(controller.signal).catch((error: unknown) => {
        if (!controller.signal.aborted) throw error;
      });
    }, wait);
  }

  cancel(): void {
    clearTimeout(this.#timer);
    this.#running?.abort();
  }
}
