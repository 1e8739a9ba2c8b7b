/** The user's own text: pasted into a dialog, chosen as files, or dropped anywhere on the page. */

import { DocumentReader, filesFromDrop, filesFromInput, placeText } from "./documents/reader";
import type { SourceFile } from "./documents/types";
import { byId, formatCount } from "./dom";
import type { Passage } from "./passages";
import { cut, splitText } from "./split";

export function setUpOwnText(onPassages: (passages: Passage[]) => void): void {
  const dialog = byId("own-dialog", HTMLDialogElement);
  const form = byId("own-form", HTMLFormElement);
  const textarea = byId("own-text", HTMLTextAreaElement);
  const files = byId("own-files", HTMLInputElement);
  const count = byId("own-count", HTMLParagraphElement);
  const add = byId("own-add", HTMLButtonElement);
  const veil = byId("drop-veil", HTMLDivElement);
  let fromFiles: Passage[] = [];
  let notes: string[] = [];

  const collect = () => [...fromFiles, ...splitText(textarea.value, "Your text")];
  const refresh = () => {
    const passages = collect();
    const parts = passages.length === 0 ? ["No text yet."] : [formatCount(passages.length, "passage") + " so far."];
    count.textContent = [...parts, ...notes].join(" ");
    add.disabled = passages.length === 0;
  };
  const reset = () => {
    fromFiles = [];
    notes = [];
    textarea.value = "";
    files.value = "";
    refresh();
  };
  const reader = new DocumentReader();
  const read = async (sources: Iterable<SourceFile> | AsyncIterable<SourceFile>) => {
    notes = [];
    for await (const event of reader.read(sources)) {
      const { name } = event.document;
      if (event.kind === "problem") notes.push(`${name}: ${event.problem}`);
      else {
        notes.push(...event.notes.map((note) => `${name}: ${note}`));
        for (const section of event.sections) {
          const topic = [name, placeText(section)].filter((part) => part !== "").join(", ");
          fromFiles.push(...cut(section.text).map((text) => ({ topic, text })));
        }
      }
      refresh();
    }
    refresh();
  };
  const submit = () => {
    const passages = collect();
    dialog.close();
    reset();
    if (passages.length > 0) onPassages(passages);
  };

  byId("own-open", HTMLButtonElement).addEventListener("click", () => {
    refresh();
    dialog.showModal();
    textarea.focus();
  });
  byId("own-cancel", HTMLButtonElement).addEventListener("click", () => dialog.close());
  textarea.addEventListener("input", refresh);
  files.addEventListener(
    "change",
    () => void read(filesFromInput([...(files.files ?? [])])).then(() => (files.value = "")),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });

  const carriesFiles = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
  addEventListener("dragover", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    veil.hidden = dialog.open;
  });
  addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) veil.hidden = true;
  });
  addEventListener("drop", (event) => {
    veil.hidden = true;
    if (!carriesFiles(event)) return;
    event.preventDefault();
    if (event.dataTransfer === null) return;
    void read(filesFromDrop(event.dataTransfer)).then(() => {
      if (dialog.open) return;
      if (fromFiles.length > 0 && notes.length === 0) submit();
      else dialog.showModal(); // with what was refused, and why
    });
  });
}
