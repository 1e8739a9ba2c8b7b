/** The panel that says what went wrong and what to do about it. */

import { EmbervecError } from "embervec";
import { button, byId } from "./dom";

const ADVICE: Readonly<Record<string, { title: string; advice: string }>> = {
  model_not_found: {
    title: "The model is not there",
    advice: "Check its name or address. The folder must hold config.json, tokenizer.json and model.safetensors.",
  },
  network: {
    title: "The model could not be fetched",
    advice: "Check the connection and try again. Once it has been stored, the model loads without a network.",
  },
  integrity: {
    title: "The download arrived damaged",
    advice: "Nothing of it was used. Try again; if it happens twice, the copy on the server is broken.",
  },
  quota: {
    title: "There is no room to store the model",
    advice: "Free some space or leave private browsing, then try again.",
  },
  unsupported_model: {
    title: "This model cannot run here",
    advice: "Choose a BERT model whose folder holds model.safetensors, for example sentence-transformers/all-MiniLM-L6-v2.",
  },
  invalid_input: { title: "This text could not be encoded", advice: "Change the text and try again." },
  device_lost: {
    title: "The graphics device went away",
    advice: "Try again to start it anew, or run on the CPU, which works everywhere.",
  },
};

export interface FailureOptions {
  readonly retryLabel: string;
  readonly onRetry: () => void;
}

export class FailurePanel {
  readonly #panel = byId("failure", HTMLDivElement);

  show(error: unknown, { retryLabel, onRetry }: FailureOptions): void {
    const code = error instanceof EmbervecError ? error.code : error instanceof Error ? error.name : "error";
    const known = ADVICE[code];
    byId("failure-title", HTMLHeadingElement).textContent = known?.title ?? "Something went wrong";
    byId("failure-advice", HTMLParagraphElement).textContent = known?.advice ?? "Try again. If it fails in the same way, reload the page.";
    byId("failure-code", HTMLElement).textContent = code;
    byId("failure-message", HTMLSpanElement).textContent = error instanceof Error ? error.message : String(error);

    const actions = [
      button(retryLabel, "button primary", () => {
        this.hide();
        onRetry();
      }),
    ];
    const parameters = new URLSearchParams(location.search);
    if (parameters.has("model")) actions.push(button("Use the demo's model", "button", () => reloadWith("model", undefined)));
    if (parameters.get("device") !== "cpu" && code !== "network" && code !== "model_not_found") {
      actions.push(button("Run on the CPU", "button", () => reloadWith("device", "cpu")));
    }
    byId("failure-actions", HTMLDivElement).replaceChildren(...actions);
    this.#panel.hidden = false;
  }

  hide(): void {
    if (this.#panel.contains(document.activeElement)) byId("query", HTMLInputElement).focus({ preventScroll: true });
    this.#panel.hidden = true;
  }
}

function reloadWith(name: string, value: string | undefined): void {
  const url = new URL(location.href);
  if (value === undefined) url.searchParams.delete(name);
  else url.searchParams.set(name, value);
  location.assign(url);
}
