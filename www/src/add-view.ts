/** The ways into a collection: files, a folder or text in the dialog, and whatever is dropped or pasted on the page. */

import { type Source, soonListed } from "./adding";
import { ACCEPT, filesFromDrop, filesFromInput } from "./documents/reader";
import type { SourceFile } from "./documents/types";
import { byId, formatCount } from "./dom";
import type { Library } from "./library";

/** A collection by its name; one that is not there is made. */
export type OnAdd = (collection: string, source: Source) => void;

const NEW = "\n"; // no collection is called so
const USUAL_NAME = "My documents";

export class AddView {
  readonly #dialog = byId("add-dialog", HTMLDialogElement);
  readonly #files = byId("add-files", HTMLInputElement);
  readonly #folder = byId("add-folder", HTMLInputElement);
  readonly #text = byId("add-text", HTMLTextAreaElement);
  readonly #chosen = byId("add-chosen", HTMLParagraphElement);
  readonly #collection = byId("add-collection", HTMLSelectElement);
  readonly #name = byId("add-name", HTMLInputElement);
  readonly #submit = byId("add-submit", HTMLButtonElement);
  readonly #library: Library;
  readonly #onAdd: OnAdd;
  /** The collection that is searched, where it is one's own. */
  readonly #current: () => string | undefined;

  constructor(library: Library, onAdd: OnAdd, current: () => string | undefined) {
    this.#library = library;
    this.#onAdd = onAdd;
    this.#current = current;
    this.#files.accept = ACCEPT;
    for (const id of ["add-open", "home-add"]) byId(id, HTMLButtonElement).addEventListener("click", () => this.open());
    byId("add-cancel", HTMLButtonElement).addEventListener("click", () => this.#dialog.close());
    this.#dialog.addEventListener("close", () => this.#reset());
    this.#collection.addEventListener("change", () => this.#refresh());
    for (const input of [this.#files, this.#folder]) input.addEventListener("change", () => this.#refresh());
    this.#text.addEventListener("input", () => this.#refresh());
    byId("add-form", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      this.#add();
    });
    this.#setUpDrop();
  }

  open(): void {
    const own = this.#library.collections.filter(({ kind }) => kind === "own").map(({ name }) => name);
    const usual = own.length === 0 ? [USUAL_NAME] : own;
    this.#collection.replaceChildren(
      ...usual.map((name) => new Option(name, name)),
      new Option("A new collection …", NEW),
    );
    this.#collection.value = this.#current() ?? usual[0]!;
    this.#refresh();
    this.#dialog.showModal();
    this.#text.focus();
  }

  #add(): void {
    const isNew = this.#collection.value === NEW;
    const name = isNew
      ? this.#library.freeName(this.#name.value || this.#folderName() || USUAL_NAME)
      : this.#collection.value;
    const text = this.#text.value.trim();
    const source: SourceFile[] = [...filesOf(this.#files), ...filesOf(this.#folder)];
    if (text !== "") source.push({ text, name: nameOf(text) });
    this.#dialog.close();
    if (source.length > 0) this.#onAdd(name, source);
  }

  #reset(): void {
    this.#files.value = this.#folder.value = this.#text.value = this.#name.value = "";
  }

  #refresh(): void {
    const count = (this.#files.files?.length ?? 0) + (this.#folder.files?.length ?? 0);
    this.#chosen.hidden = count === 0;
    this.#chosen.textContent = `${formatCount(count, "file")} chosen.`;
    this.#submit.disabled = count === 0 && this.#text.value.trim() === "";
    this.#name.hidden = this.#collection.value !== NEW;
    this.#name.placeholder = this.#folderName() ?? "Name of the new collection";
  }

  #folderName(): string | undefined {
    return this.#folder.files?.[0]?.webkitRelativePath.split("/")[0] || undefined;
  }

  #setUpDrop(): void {
    const veil = byId("drop-veil", HTMLDivElement);
    const carriesFiles = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
    addEventListener("dragover", (event) => {
      if (!carriesFiles(event)) return;
      event.preventDefault();
      veil.hidden = document.querySelector("dialog[open]") !== null;
    });
    addEventListener("dragleave", (event) => {
      if (event.relatedTarget === null) veil.hidden = true;
    });
    addEventListener("drop", (event) => {
      veil.hidden = true;
      if (!carriesFiles(event) || event.dataTransfer === null) return;
      event.preventDefault();
      if (this.#dialog.open) this.#dialog.close();
      const target = this.#current() ?? this.#usual();
      void soonListed(filesFromDrop(event.dataTransfer)).then((source) => this.#onAdd(target, source));
    });
  }

  #usual(): string {
    return this.#library.collections.find(({ kind }) => kind === "own")?.name ?? USUAL_NAME;
  }
}

function filesOf(input: HTMLInputElement): SourceFile[] {
  return input.files === null ? [] : [...filesFromInput(input.files)];
}

/** A text that is pasted has no name: its first words are one. */
function nameOf(text: string): string {
  const line = text
    .slice(0, 200)
    .split("\n", 1)[0]!
    .replace(/^[#>*\s-]+/, "")
    .trim();
  if (line.length <= 60) return line || "Pasted text";
  return `${line.slice(0, line.lastIndexOf(" ", 60) > 20 ? line.lastIndexOf(" ", 60) : 60)} …`;
}
