/** The panel that says what went wrong and what to do about it. */

import { button, byId } from "./dom";
import { codeOf, messageOf } from "./errors";

interface Advice {
  readonly title: string;
  readonly advice: string;
}

/** Of a model that does not load. */
const LOADING: Readonly<Record<string, Advice>> = {
  invalid_input: {
    title: "The model's address is not valid",
    advice: "Give a hub id such as sentence-transformers/all-MiniLM-L6-v2, or the address of a folder.",
  },
  model_not_found: {
    title: "The model was not found",
    advice: "Check its name or address. The folder must hold config.json, tokenizer.json and model.safetensors.",
  },
  unauthorized: {
    title: "The model's host requires a login",
    advice:
      "The model is private, its terms must be accepted, or it does not exist. Choose a public model, or check the name.",
  },
  network: {
    title: "The model could not be fetched",
    advice: "Check the connection and try again. Once it is stored, the model loads without a network.",
  },
  integrity: {
    title: "The download was damaged",
    advice: "It was not used. Try again. If it happens twice, the copy on the server is broken.",
  },
  quota: {
    title: "There is no room to store the model",
    advice: "Free some space or leave private browsing, then try again.",
  },
  unsupported_model: {
    title: "This model cannot run here",
    advice:
      "Choose a BERT model whose folder holds model.safetensors, for example sentence-transformers/all-MiniLM-L6-v2.",
  },
  unsupported_device: {
    title: "This device or precision is not available",
    advice: "Go back to the automatic choices, which work everywhere.",
  },
};

/** At any time. */
const ANYTIME: Readonly<Record<string, Advice>> = {
  storage: {
    title: "The browser's storage has failed, or was cleared",
    advice:
      "Reload the page and add what is missing. If that fails, leave private browsing or let this page store data.",
  },
  invalid_input: { title: "This text could not be encoded", advice: "Change the text and try again." },
  device_lost: {
    title: "The GPU was lost",
    advice: "Try again to restart it, or run on the CPU, which works everywhere.",
  },
  quota: {
    title: "There is no room left",
    advice: "Nothing that was stored is lost. Delete a collection or a model, or free some space, then try again.",
  },
  integrity: {
    title: "A collection is damaged",
    advice: "Delete it and add its documents again, or import a copy.",
  },
};

/** Of a file that is imported. */
const IMPORTING: Readonly<Record<string, Advice>> = {
  integrity: {
    title: "This file is not a whole collection",
    advice: "Nothing was changed. Choose a file that was made with Export.",
  },
  unsupported_model: {
    title: "This file was made by a newer version of this page",
    advice: "Nothing was changed. Reload the page, which fetches its newest version, and import the file again.",
  },
};

/** What went wrong and what to do about it, in one line. */
export function adviceOf(error: unknown): string {
  const known = ANYTIME[codeOf(error)];
  return known === undefined ? messageOf(error) : `${known.title}. ${known.advice}`;
}

/** What is wrong with the demo's own setting up, not with the visitor's choice. */
const NO_DEMO_MODEL = "The folder models/ beside this page holds no model. Run `cargo xtask model` and try again.";

export interface Remedy {
  readonly label: string;
  readonly run: () => void;
}

export interface FailureOptions {
  /** The first is the one that helps most often. */
  readonly remedies?: readonly Remedy[];
  /** Whether it was the model's loading that failed, and whether that model is the page's own. */
  readonly loading?: "own" | "other";
  /** Whether it was a file that could not be imported. */
  readonly importing?: true;
  /** What failed, and is over once it succeeds; nothing else that succeeds takes the failure away. */
  readonly of?: Attempt;
}

/** What may fail, and be tried again. */
export type Attempt = "search" | "model";

export class FailurePanel {
  readonly #panel = byId("failure", HTMLElement);
  #of: Attempt | undefined;

  show(error: unknown, { remedies = [], loading, importing, of }: FailureOptions = {}): void {
    this.#of = of;
    const code = codeOf(error);
    const special = importing ? IMPORTING : loading === undefined ? {} : LOADING;
    const known = special[code] ?? ANYTIME[code];
    const advice = code === "model_not_found" && loading === "own" ? NO_DEMO_MODEL : known?.advice;
    byId("failure-title", HTMLHeadingElement).textContent = known?.title ?? "Something went wrong";
    byId("failure-advice", HTMLParagraphElement).textContent =
      advice ?? "Try again. If it fails in the same way, reload the page.";
    byId("failure-code", HTMLElement).textContent = code;
    byId("failure-message", HTMLSpanElement).textContent = messageOf(error);
    const actions = remedies.map(({ label, run }, index) =>
      button(label, index === 0 ? "button primary" : "button", () => {
        this.hide();
        run();
      }),
    );
    byId("failure-actions", HTMLDivElement).replaceChildren(
      ...actions,
      button("Close", "button quiet", () => this.hide()),
    );
    this.#panel.hidden = false;
  }

  /** This has been tried again, or has succeeded. */
  settle(of: Attempt): void {
    if (this.#of === of) this.hide();
  }

  hide(): void {
    if (this.#panel.contains(document.activeElement)) byId("query", HTMLInputElement).focus({ preventScroll: true });
    this.#panel.hidden = true;
  }
}
