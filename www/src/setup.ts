/** The panel with the bars for download, start and encoding. */

import { byId, formatBytes, formatSeconds } from "./dom";

/** What `Embedder.load` reports. Stages that this page does not know are shown as part of the start. */
export interface LoadProgress {
  readonly stage: string;
  readonly file?: string | undefined;
  readonly loaded: number;
  readonly total?: number | undefined;
}

type StepState = "waiting" | "active" | "done" | "halted";

class Step {
  readonly #row: HTMLElement;
  readonly #bar: HTMLProgressElement;
  readonly #detail: HTMLElement;
  state: StepState = "waiting";

  constructor(name: string) {
    this.#row = byId(`step-${name}`, HTMLDivElement);
    this.#bar = byId(`${name}-progress`, HTMLProgressElement);
    this.#detail = byId(`${name}-detail`, HTMLOutputElement);
  }

  show(state: StepState, detail: string, loaded = 0, total = 0): void {
    this.state = state;
    this.#row.dataset["state"] = state;
    this.#detail.textContent = detail;
    if (state === "done") this.#bar.value = 1;
    else if (state === "waiting") this.#bar.value = 0;
    else if (total > 0) this.#bar.value = Math.min(1, loaded / total);
    else if (state === "active") this.#bar.removeAttribute("value"); // length unknown
  }

  halt(): void {
    if (this.state === "active")
      this.show(
        "halted",
        this.#bar.value > 0 ? `stopped at ${Math.round(this.#bar.value * 100)} %` : "stopped",
        this.#bar.value,
        1,
      );
  }
}

export class SetupPanel {
  readonly #panel = byId("setup", HTMLElement);
  readonly #title = byId("setup-title", HTMLHeadingElement);
  readonly #button = byId("setup-stop", HTMLButtonElement);
  readonly #download = new Step("download");
  readonly #load = new Step("load");
  readonly #encode = new Step("encode");
  #onButton: () => void = () => {};
  #downloadStarted = 0;
  #downloadBytes = 0;

  constructor() {
    this.#button.addEventListener("click", () => this.#onButton());
  }

  startLoading(onStop: () => void): void {
    this.#downloadStarted = 0;
    this.#downloadBytes = 0;
    this.#present("Getting ready", "Stop", onStop, false);
    this.#download.show("active", "looking for the model");
    this.#load.show("waiting", "");
    this.#encode.show("waiting", "");
  }

  loadProgress({ stage, file, loaded, total = 0 }: LoadProgress): void {
    if (stage === "config") {
      this.#download.show("active", file ?? "reading the model's description");
    } else if (stage === "download") {
      const now = performance.now();
      if (this.#downloadStarted === 0) {
        this.#downloadStarted = now;
        this.#downloadBytes = loaded; // what a cache already holds is not counted as speed
      }
      const seconds = (now - this.#downloadStarted) / 1000;
      const speed =
        seconds > 0.5 && loaded < total
          ? ` · ${((loaded - this.#downloadBytes) / 1e6 / seconds).toFixed(1)}\u00a0MB/s`
          : "";
      this.#download.show(
        total > 0 && loaded >= total ? "done" : "active",
        formatBytes(loaded, total) + speed,
        loaded,
        total,
      );
    } else {
      if (this.#download.state !== "done") this.#download.show("done", "from this browser's storage");
      this.#load.show("active", stage === "load" ? "" : stage, loaded, total);
    }
  }

  loaded(ms: number): void {
    if (this.#download.state !== "done") this.#download.show("done", "from this browser's storage");
    this.#load.show("done", `ready after ${formatSeconds(ms)}`);
  }

  startEncoding(total: number, onStop: () => void): void {
    this.#present("Reading the passages", "Stop", onStop, true);
    this.#encode.show("active", `0 of ${total.toLocaleString("en")}`, 0, total);
  }

  encodeProgress(done: number, total: number, perSecond: number): void {
    const speed = perSecond > 0 ? ` · ${perSecond < 10 ? perSecond.toFixed(1) : Math.round(perSecond)}/s` : "";
    this.#encode.show("active", `${done.toLocaleString("en")} of ${total.toLocaleString("en")}${speed}`, done, total);
  }

  /** The bars keep what was reached. After a failure there is nothing to continue here: its own panel says what to do. */
  halt(title: string, onContinue?: () => void): void {
    this.#download.halt();
    this.#load.halt();
    this.#encode.halt();
    this.#present(title, "Continue", onContinue, this.#load.state === "done");
  }

  hide(): void {
    if (this.#panel.contains(document.activeElement)) byId("query", HTMLInputElement).focus({ preventScroll: true });
    this.#panel.hidden = true;
  }

  #present(title: string, label: string, onButton: (() => void) | undefined, modelReady: boolean): void {
    this.#title.textContent = title;
    this.#button.textContent = label;
    this.#button.hidden = onButton === undefined;
    this.#onButton = onButton ?? (() => {});
    this.#panel.hidden = false;
    this.#panel.dataset["modelReady"] = String(modelReady);
  }
}
