/** What is being added, how far it is, and what could not be read. */

import type { Adding, Told } from "./adding";
import { announce } from "./announcer";
import { button, byId, element, formatCount, formatLeft } from "./dom";
import { adviceOf } from "./failure";

/** Of the files that one sentence is about. */
const NAMED_FILES = 5;
/** Nobody reads more, and thousands of lines would take long to show. */
const MOST_LINES = 30;

export class ReportView {
  readonly #container = byId("reports", HTMLElement);

  /** The newest on top: it is also what is encoded first. What was told before and is done has been read. */
  follow(adding: Adding): void {
    const title = element("h2", "");
    const text = element("p", "hint");
    const refused = element("ul", "refused");
    const action = button("Stop", "button small", () => {
      if (adding.state === "running") return adding.stop();
      const next = byId("query", HTMLInputElement);
      if (row.contains(document.activeElement)) next.focus({ preventScroll: true });
      row.remove();
    });
    const row = element("section", "panel report", element("div", "panel-head", title, action), text, refused);
    const show = () => {
      row.dataset["state"] = adding.state;
      title.textContent = titleOf(adding);
      text.textContent = textOf(adding);
      action.textContent = adding.state === "running" ? "Stop" : "Close";
      const lines = [...linesOf(adding.refused), ...linesOf(adding.notes)];
      if (lines.length > MOST_LINES) lines.splice(MOST_LINES, Infinity, `and ${lines.length - MOST_LINES} more notes`);
      if (refused.children.length !== lines.length || adding.state !== "running")
        refused.replaceChildren(...lines.map((line) => element("li", "", line)));
      if (adding.state !== "running") announce([title.textContent, text.textContent, ...lines.slice(0, 3)].join(" "));
      // Nobody has to close what went well.
      if (adding.state === "done" && lines.length === 0)
        setTimeout(() => row.contains(document.activeElement) || row.remove(), 6000);
    };
    adding.addEventListener("change", show);
    show();
    for (const done of this.#container.querySelectorAll('[data-state="done"]')) done.remove();
    this.#container.prepend(row);
  }
}

function titleOf({ state, collection }: Adding): string {
  if (state === "running") return `Adding to ${collection.name}`;
  if (state === "done") return `Added to ${collection.name}`;
  return state === "stopped" ? "Stopped" : `Not all could be added to ${collection.name}`;
}

function textOf({ state, error, documents, progress, isWaiting, remainingMs }: Adding): string {
  if (state === "failed") return adviceOf(error);
  const parts = documents > 0 || state !== "running" ? [formatCount(documents, "document")] : [];
  if (progress !== undefined && progress.passages > 0) parts.push(formatCount(progress.passages, "passage"));
  if (state === "running" && isWaiting) parts.push("found by words until the model is there");
  if (state === "running" && remainingMs !== undefined) parts.push(`${formatLeft(remainingMs)} left`);
  return `${parts.join(" · ")}${state === "stopped" ? ". What was done stays." : ""}`;
}

function linesOf(told: Told): string[] {
  return [...told].map(([sentence, paths]) => {
    const named = paths.slice(0, NAMED_FILES).join(", ");
    const more = paths.length > NAMED_FILES ? ` and ${(paths.length - NAMED_FILES).toLocaleString("en")} more` : "";
    return `${named}${more}: ${sentence}`;
  });
}
