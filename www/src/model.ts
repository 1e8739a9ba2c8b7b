/** The model's life: on its way, ready, stopped or failed. */

import { Embedder, type ProgressEvent } from "embervec";
import { type ModelChoice, resolved } from "./models";
import { underServiceWorker } from "./offline";

export type ModelState = "loading" | "ready" | "stopped" | "failed";

export interface ModelProgress {
  /** What is done; it never falls. `undefined` while the length is unknown. */
  readonly share: number | undefined;
  readonly loaded: number;
  readonly total: number;
  readonly stage: ProgressEvent["stage"] | "start";
  readonly remainingMs: number | undefined;
}

/** How much of the bar is the download; the rest is reading it into memory. */
const DOWNLOAD_SHARE = 0.9;
/** A speed says something after this long. */
const MEASURED_MS = 1000;

/** Dispatches `change`, a few times a second at the most while it is on its way. */
export class Model extends EventTarget {
  state: ModelState = "loading";
  choice: ModelChoice;
  embedder: Embedder | undefined;
  error: unknown;
  progress: ModelProgress = { share: undefined, loaded: 0, total: 0, stage: "start", remainingMs: undefined };
  loadMs = 0;
  #controller: AbortController | undefined;
  #downloadStart: { at: number; loaded: number } | undefined;
  #notify: ReturnType<typeof setTimeout> | undefined;

  constructor(choice: ModelChoice) {
    super();
    this.choice = choice;
  }

  async load(choice: ModelChoice = this.choice): Promise<void> {
    this.#controller?.abort();
    const controller = new AbortController();
    this.#controller = controller;
    const previous = this.embedder;
    // A download that is taken up again goes on from what is stored, and so does its bar.
    const isSame = JSON.stringify(choice) === JSON.stringify(this.choice) && previous === undefined;
    this.choice = choice;
    this.embedder = undefined;
    this.error = undefined;
    this.#downloadStart = undefined;
    if (!isSame) this.progress = { share: undefined, loaded: 0, total: 0, stage: "start", remainingMs: undefined };
    this.#become("loading");
    const started = performance.now();
    try {
      await previous?.dispose().catch(() => {}); // it is given up in any case
      await underServiceWorker;
      const embedder = await Embedder.load(resolved(choice.model), {
        device: choice.device,
        dtype: choice.dtype,
        progress: (event) => this.#report(event),
        signal: controller.signal,
      });
      if (controller.signal.aborted) return void embedder.dispose().catch(() => {});
      this.embedder = embedder;
      for (const change of ["device", "workers"] as const) embedder.addEventListener(change, () => this.#changed());
      this.loadMs = performance.now() - started;
      this.#become("ready");
    } catch (error) {
      if (this.#controller !== controller) return; // a newer load has taken over
      this.error = error;
      this.#become(controller.signal.aborted ? "stopped" : "failed");
    }
  }

  stop(): void {
    this.#controller?.abort();
  }

  #report({ stage, loaded, total }: ProgressEvent): void {
    const now = performance.now();
    const part = total > 0 ? loaded / total : 0;
    let share: number | undefined;
    let remainingMs: number | undefined;
    if (stage === "download") {
      // What is stored already is not counted as speed.
      const start = (this.#downloadStart ??= { at: now, loaded });
      if (total > 0) share = part * DOWNLOAD_SHARE;
      if (now - start.at > MEASURED_MS && loaded > start.loaded && total > 0)
        remainingMs = ((total - loaded) * (now - start.at)) / (loaded - start.loaded);
    } else if (total > 0) {
      share = DOWNLOAD_SHARE + part * (1 - DOWNLOAD_SHARE);
    }
    const before = this.progress.share;
    if (share !== undefined && before !== undefined) share = Math.max(share, before);
    this.progress = { share: share ?? before, loaded, total, stage, remainingMs };
    this.#notify ??= setTimeout(() => this.#changed(), 200);
  }

  #become(state: ModelState): void {
    this.state = state;
    this.#changed();
  }

  #changed(): void {
    clearTimeout(this.#notify);
    this.#notify = undefined;
    this.dispatchEvent(new Event("change"));
  }
}
