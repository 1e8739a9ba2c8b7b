/** A question in a dialog: a name, or whether something is really meant. */

import { byId } from "./dom";

interface Question {
  readonly title: string;
  readonly text: string;
  readonly ok: string;
  /** What is there to be changed; none: the question is only whether. */
  readonly input?: { readonly label: string; readonly value: string };
}

let answer: (value: string | undefined) => void = () => {};

/** What was typed, "" where nothing was asked for, and `undefined` for no. */
export function ask({ title, text, ok, input: wanted }: Question): Promise<string | undefined> {
  const dialog = byId("ask", HTMLDialogElement);
  const input = byId("ask-input", HTMLInputElement);
  byId("ask-title", HTMLHeadingElement).textContent = title;
  byId("ask-text", HTMLParagraphElement).textContent = text;
  byId("ask-ok", HTMLButtonElement).textContent = ok;
  byId("ask-label", HTMLLabelElement).textContent = wanted?.label ?? "";
  input.hidden = byId("ask-label", HTMLLabelElement).hidden = wanted === undefined;
  input.value = wanted?.value ?? "";
  input.required = wanted !== undefined;
  dialog.returnValue = "";
  dialog.showModal();
  if (wanted === undefined) byId("ask-cancel", HTMLButtonElement).focus();
  else input.select();
  return new Promise((resolve) => (answer = resolve));
}

export function setUpAsk(): void {
  const dialog = byId("ask", HTMLDialogElement);
  byId("ask-form", HTMLFormElement).addEventListener("submit", () => (dialog.returnValue = "ok"));
  byId("ask-cancel", HTMLButtonElement).addEventListener("click", () => dialog.close(""));
  dialog.addEventListener("close", () =>
    answer(dialog.returnValue === "ok" ? byId("ask-input", HTMLInputElement).value.trim() : undefined),
  );
}
