/** The user's own text: pasted into a dialog, chosen as files, or dropped anywhere on the page. */

import { byId, formatCount } from "./dom";
import type { Passage } from "./passages";
import { splitText } from "./split";

const MAX_FILE_BYTES = 20_000_000;
const TEXT_NAME = /\.(txt|text|md|markdown)$/i;

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
  const read = async (list: Iterable<File>) => {
    notes = [];
    for (const file of list) {
      if (!TEXT_NAME.test(file.name) && !file.type.startsWith("text/")) notes.push(`${file.name} is not a text file.`);
      else if (file.size > MAX_FILE_BYTES) notes.push(`${file.name} is larger than 20 MB.`);
      else {
        try {
          const passages = splitText(await file.text(), file.name);
          if (passages.length === 0) notes.push(`${file.name} holds no text.`);
          fromFiles = [...fromFiles, ...passages];
        } catch {
          notes.push(`${file.name} could not be read.`);
        }
      }
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
  files.addEventListener("change", () => void read([...(files.files ?? [])]).then(() => (files.value = "")));
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
    const dropped = [...(event.dataTransfer?.files ?? [])];
    void read(dropped).then(() => {
      if (dialog.open) return;
      if (fromFiles.length > 0 && notes.length === 0) submit();
      else dialog.showModal(); // with what was refused, and why
    });
  });
}
