/** The panel about the model and what is stored, and the button that opens it and says how far things are. */

import { deleteModel, type EmbedderInfo, listModels } from "embervec";
import { button, byId, element, formatBytes, formatLeft, formatMilliseconds, formatSeconds, formatSize } from "./dom";
import type { Model } from "./model";
import { availableModels, DEFAULT_CHOICE, languageOf, type ModelChoice, modelName, resolved } from "./models";
import { isKept } from "./offline";

const BITS = { fp32: 32, fp16: 16, q8: 8 };
const OTHER = "other";

export interface PanelActions {
  readonly load: () => void;
  readonly switchModel: (choice: ModelChoice) => void;
  readonly eraseAll: () => void;
  /** Bytes that the vectors of all collections take in memory. */
  readonly vectorBytes: () => number;
}

export class Panel {
  readonly #dialog = byId("panel", HTMLDialogElement);
  readonly #model: Model;
  readonly #actions: PanelActions;
  readonly #bar = byId("setup-progress", HTMLProgressElement);
  readonly #modelSelect = byId("model-choice", HTMLSelectElement);
  readonly #address = byId("model-address", HTMLInputElement);

  constructor(model: Model, actions: PanelActions) {
    this.#model = model;
    this.#actions = actions;
    byId("panel-open", HTMLButtonElement).addEventListener("click", () => void this.#open());
    byId("panel-close", HTMLButtonElement).addEventListener("click", () => this.#dialog.close());
    this.#dialog.addEventListener("click", (event) => event.target === this.#dialog && this.#dialog.close());
    byId("setup-button", HTMLButtonElement).addEventListener("click", () =>
      model.state === "loading" ? model.stop() : actions.load(),
    );
    byId("erase", HTMLButtonElement).addEventListener("click", () => {
      this.#dialog.close();
      actions.eraseAll();
    });
    byId("settings", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      this.#switch();
    });
    this.#modelSelect.addEventListener("change", () => this.#showAddress());
    model.addEventListener("change", () => this.show());
    this.show();
  }

  show(): void {
    const { state, choice, embedder, loadMs } = this.#model;
    byId("panel-open", HTMLButtonElement).dataset["state"] = state;
    byId("pill-text", HTMLSpanElement).textContent = this.#pill();
    this.#showSetup();
    fact("model", modelName(choice.model));
    const language = languageOf(choice.model);
    fact("language", language === undefined ? "" : `Reads ${language}.`);
    if (embedder === undefined) {
      fact("device", state === "loading" ? "starting" : "not started");
      fact("dtype", "unknown yet");
      fact("load", "not loaded yet");
      // Nothing of the model before.
      for (const name of ["reason", "kernels", "load-source", "kept"]) fact(name, "");
      return;
    }
    const { info } = embedder;
    fact("device", deviceName(info.device) + (info.workers > 1 ? `, up to ${info.workers} workers` : ""));
    fact("reason", info.deviceReason);
    fact("dtype", `${info.dtype}: ${BITS[info.dtype]} bits per number, ${info.dimension} numbers per text`);
    fact("kernels", `${simdName(info.simd)}; fastest here: ${info.kernels}`);
    fact("load", formatSeconds(loadMs));
    fact("load-source", info.cached ? "from this browser's storage" : "downloaded");
    fact("kept", info.storedReason);
    void this.#showOffline(info);
  }

  showQuery(encodeMs: number, searchMs: number): void {
    fact("time", formatMilliseconds(encodeMs + searchMs));
    fact("parts", `${formatMilliseconds(encodeMs)} to encode, ${formatMilliseconds(searchMs)} to search`);
  }

  showSpeed(passagesPerSecond: number): void {
    if (passagesPerSecond > 0)
      fact(
        "speed",
        `${passagesPerSecond < 10 ? passagesPerSecond.toFixed(1) : Math.round(passagesPerSecond)} passages a second`,
      );
  }

  #pill(): string {
    const { state, choice, progress, embedder } = this.#model;
    if (state === "ready" && embedder !== undefined)
      return [languageOf(choice.model) ?? modelName(choice.model), deviceName(embedder.info.device)].join(" · ");
    if (state === "stopped") return "Model stopped";
    if (state === "failed") return "No model";
    const { share, remainingMs } = progress;
    const left = remainingMs === undefined ? "" : ` · ${formatLeft(remainingMs)} left`;
    return share === undefined ? "Starting the model" : `Model ${Math.floor(share * 100)} %${left}`;
  }

  #showSetup(): void {
    const { state, progress } = this.#model;
    const { share, loaded, total, stage, remainingMs } = progress;
    byId("setup", HTMLElement).hidden = state === "ready";
    byId("setup-title", HTMLHeadingElement).textContent =
      state === "loading" ? "Getting ready" : state === "stopped" ? "Stopped" : "Not loaded";
    byId("setup-button", HTMLButtonElement).textContent = state === "loading" ? "Stop" : "Continue";
    if (share === undefined) this.#bar.removeAttribute("value");
    else this.#bar.value = share;
    const what =
      stage === "download"
        ? `Downloading: ${formatBytes(loaded, total)}`
        : stage === "start"
          ? "Looking for the model"
          : "Reading it into memory";
    const left = remainingMs === undefined ? "" : `, ${formatLeft(remainingMs)} left`;
    byId("setup-detail", HTMLParagraphElement).textContent = state === "loading" ? `${what}${left}.` : "";
  }

  async #open(): Promise<void> {
    this.#dialog.showModal();
    byId("panel-title", HTMLHeadingElement).focus();
    const { dtype, device } = this.#model.choice;
    byId("model-dtype", HTMLSelectElement).value = dtype === "auto" ? "" : dtype;
    byId("model-device", HTMLSelectElement).value = device === "auto" ? "" : device;
    await Promise.all([this.#showModels(), this.#showStorage(), this.#showStored()]);
  }

  async #showModels(): Promise<void> {
    const { model } = this.#model.choice;
    const known = await availableModels();
    const options = known.map(({ address, name, language }) => new Option(`${name} (${language})`, address));
    this.#modelSelect.replaceChildren(...options, new Option("Another one …", OTHER));
    const current = known.find(({ address }) => resolved(address) === resolved(model));
    this.#modelSelect.value = current?.address ?? OTHER;
    this.#address.value = current === undefined ? model : "";
    this.#showAddress();
    const others = known.filter(
      ({ address, language }) => address !== current?.address && language !== current?.language,
    );
    const buttons = others.map(({ address, name, language }) =>
      button(`Switch to ${name}, which reads ${language}`, "link", () => {
        this.#dialog.close();
        this.#actions.switchModel({ ...DEFAULT_CHOICE, model: address });
      }),
    );
    byId("other-models", HTMLSpanElement).replaceChildren(...buttons);
  }

  #showAddress(): void {
    const isOther = this.#modelSelect.value === OTHER;
    this.#address.hidden = byId("model-address-label", HTMLLabelElement).hidden = !isOther;
    this.#address.required = isOther;
  }

  #switch(): void {
    const model = this.#modelSelect.value === OTHER ? this.#address.value.trim() : this.#modelSelect.value;
    const choice = {
      model,
      dtype: (byId("model-dtype", HTMLSelectElement).value || "auto") as ModelChoice["dtype"],
      device: (byId("model-device", HTMLSelectElement).value || "auto") as ModelChoice["device"],
    };
    this.#dialog.close();
    this.#actions.switchModel(choice);
  }

  async #showStorage(): Promise<void> {
    const vectors = this.#actions.vectorBytes();
    const heap = (performance as { memory?: { usedJSHeapSize: number } }).memory?.usedJSHeapSize;
    const parts = [`${formatSize(vectors)} of vectors`];
    if (heap !== undefined) parts.push(`${formatSize(heap)} of this page's scripts`);
    fact("memory", parts.join(", "));
    const { usage, quota } = (await navigator.storage?.estimate?.().catch(() => undefined)) ?? {};
    fact(
      "storage",
      usage === undefined || quota === undefined
        ? "This browser does not say."
        : `${formatSize(usage)} of ${formatSize(quota)}`,
    );
  }

  async #showStored(): Promise<void> {
    const list = byId("stored", HTMLUListElement);
    try {
      const models = await listModels();
      const items = models.map(({ model, weights, size, complete }) => {
        const name = modelName(model);
        const about = `${weights === "q8" ? "8 bits" : "original"}, ${formatSize(size)}${complete ? "" : ", not complete"}`;
        const remove = button("Delete", "button small", () => void deleteModel(model).then(() => this.#showStored()));
        remove.setAttribute("aria-label", `Delete ${name}`);
        return element("li", "", element("span", "", name, element("small", "", about)), remove);
      });
      list.replaceChildren(...(items.length > 0 ? items : [element("li", "hint", "None.")]));
    } catch {
      list.replaceChildren(element("li", "hint", "This browser stores nothing for this page."));
    }
  }

  /** Where the GPU is a choice, the CPU does its work offline. */
  async #showOffline({ simd, stored }: EmbedderInfo): Promise<void> {
    const artefacts = [`embervec-${simd}`];
    if (this.#model.choice.device === "webgpu") artefacts.push("embervec-webgpu");
    byId("offline", HTMLParagraphElement).hidden = !(stored && (await isKept(artefacts)));
  }
}

export function deviceName(device: string): string {
  return device === "webgpu" ? "GPU" : "CPU";
}

function simdName(simd: string): string {
  return simd === "relaxed" ? "relaxed SIMD" : "SIMD";
}

function fact(name: string, text: string): void {
  const node = byId(`fact-${name}`, HTMLElement);
  if (node.textContent !== text) node.textContent = text;
}
