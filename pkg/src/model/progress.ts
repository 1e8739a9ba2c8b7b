import type { ProgressCallback } from "../types.js";

/** An event for every so many bytes: some hundred for a model. */
const STEP_BYTES = 256 << 10;

/** Counts the bytes of all files of one stage. What is reported never goes down. */
export class Progress {
  #loaded = 0;
  #reported = 0;
  #total = 0;

  constructor(
    private readonly stage: "download" | "load",
    private readonly callback: ProgressCallback,
  ) {}

  /** So many more bytes are to come. */
  expect(bytes: number): void {
    this.#total += bytes;
  }

  /** So many bytes have come, or fewer than was thought. */
  add(file: string, bytes: number): void {
    this.#loaded += bytes;
    if (this.#loaded - this.#reported >= STEP_BYTES) this.#report(file);
  }

  /** The file is complete, with so many bytes more than expected. */
  end(file: string, unexpected = 0): void {
    this.#total += unexpected;
    this.#report(file);
  }

  #report(file: string): void {
    this.#reported = Math.max(this.#reported, this.#loaded);
    this.callback({ stage: this.stage, file, loaded: this.#reported, total: Math.max(this.#total, this.#reported) });
  }
}
