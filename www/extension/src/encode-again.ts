/** The button that encodes pages of another model again, and stops that: the panels and the options page have one each. */

import { formatCount } from "../../src/dom";
import type { Encoder } from "./encoder";
import type { SavedList } from "./protocol";

export class EncodeAgain {
  readonly #button: HTMLButtonElement;
  readonly #progress: HTMLElement;
  readonly #encoder: Encoder;
  #isRunning = false;

  /** @param onStart is to call {@link run} */
  constructor(button: HTMLButtonElement, progress: HTMLElement, encoder: Encoder, onStart: () => void) {
    this.#button = button;
    this.#progress = progress;
    this.#encoder = encoder;
    button.addEventListener("click", () => {
      if (this.#isRunning) void encoder.request("stopEncodingSaved", null);
      else onStart();
    });
  }

  show({ encoding }: SavedList): void {
    this.#isRunning = encoding !== undefined;
    this.#button.textContent = this.#isRunning ? "Stop" : "Encode again";
    this.#progress.textContent = encoding
      ? `Encoding: ${encoding.done.toLocaleString("en")} of ${formatCount(encoding.total, "passage")}.`
      : "";
  }

  /** @returns what has come of it, in a sentence */
  async run(): Promise<string> {
    const isDone = await this.#encoder.request("encodeSavedAgain", null);
    return isDone ? "The saved pages are encoded." : "Stopped. The saved pages are found by their words, as before.";
  }
}
