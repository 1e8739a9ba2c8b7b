/** The list of collections: what is in them, and what can be done with them. */

import { announce } from "./announcer";
import { ask } from "./ask";
import type { Collection } from "./collection";
import { button, byId, element, formatCount, formatSize } from "./dom";
import { messageOf } from "./errors";
import type { Library, ReadyCorpus } from "./library";
import { modelName } from "./models";
import type { Passage } from "./reader-view";

export interface CollectionsActions {
  readonly open: (passage: Passage) => void;
  /** Of what is being added there. */
  readonly stopAdding: (collection: Collection) => void;
  readonly rebuild: (collection: Collection) => void;
  readonly switchModel: (model: string) => void;
  readonly fail: (error: unknown) => void;
  readonly failImport: (error: unknown) => void;
}

const SHOWN_DOCUMENTS = 100;
/** While documents are added, the list follows at this distance. */
const LIST_MS = 700;

/** A collection keeps its element, so that it stays open and keeps the focus while it grows. */
class CollectionView {
  readonly item: HTMLLIElement;
  readonly #collection: Collection;
  readonly #library: Library;
  readonly #actions: CollectionsActions;
  readonly #name = element("span", "collection-name");
  readonly #size = element("small", "");
  readonly #problem = element("div", "collection-problem");
  readonly #documents = element("ul", "documents");
  readonly #details = element("details", "collection");
  readonly #open: Set<string>;
  #shown = SHOWN_DOCUMENTS;
  #listed = -1;
  #listSoon: ReturnType<typeof setTimeout> | undefined;

  /** @param open names of the collections whose documents are shown */
  constructor(collection: Collection, library: Library, actions: CollectionsActions, open: Set<string>) {
    this.#collection = collection;
    this.#open = open;
    this.#library = library;
    this.#actions = actions;
    this.#details.append(
      element("summary", "", this.#name, this.#size),
      this.#problem,
      element("div", "actions", ...this.#buttons()),
      this.#documents,
    );
    this.#details.open = open.has(collection.name);
    this.#details.addEventListener("toggle", () => {
      if (this.#details.open) open.add(collection.name);
      else open.delete(collection.name);
      this.#listNow();
    });
    this.item = element("li", "", this.#details);
    this.update();
  }

  update(): void {
    const { name, index, problem, kind } = this.#collection;
    const { storedBytes, stored, storedReason } = index.info;
    const { passages } = this.#collection;
    this.#name.textContent = name;
    if (this.#details.open) this.#open.add(name);
    const size = storedBytes > 0 ? ` · ${formatSize(storedBytes)}` : "";
    this.#size.textContent = `${formatCount(passages, "passage")}${size}`;
    const problems: Node[] = [];
    if (problem !== undefined) problems.push(...this.#modelProblem(problem));
    if (kind === "own" && !stored) problems.push(element("p", "", `Not kept for the next visit: ${storedReason}`));
    const text = problems.map((node) => node.textContent).join();
    if (this.#problem.textContent !== text) this.#problem.replaceChildren(...problems);
    this.#listSoon ??= setTimeout(() => {
      this.#listSoon = undefined;
      this.#listNow();
    }, LIST_MS);
  }

  #modelProblem(problem: string): Node[] {
    const { isOfAnotherModel, index, kind } = this.#collection;
    if (!isOfAnotherModel) return [element("p", "", problem)];
    const { embeddingSpace } = index.info;
    const nodes: Node[] = [element("p", "", `Searched by words only: ${problem}`)];
    const actions: Node[] = [];
    if (embeddingSpace !== undefined)
      actions.push(
        button(`Switch to ${modelName(embeddingSpace.model)}`, "button small", () =>
          this.#actions.switchModel(embeddingSpace.model),
        ),
      );
    if (kind === "own")
      actions.push(button("Encode it with this model", "button small", () => this.#actions.rebuild(this.#collection)));
    return [...nodes, element("div", "actions", ...actions)];
  }

  #buttons(): Node[] {
    if (this.#collection.kind === "ready")
      return [button("Close", "button small", () => this.#run(() => this.#close()))];
    return [
      button("Rename", "button small", () => this.#run(() => this.#rename())),
      button("Export", "button small", () => this.#run(() => this.#export())),
      button("Delete", "button small danger", () => this.#run(() => this.#delete())),
    ];
  }

  /** A collection that is closed, also meanwhile, has no list: another model opens all anew. */
  #listNow(): void {
    const isOpen = () => this.#library.collections.includes(this.#collection);
    if (isOpen()) void this.#list().catch((error: unknown) => isOpen() && this.#actions.fail(error));
  }

  #run(action: () => Promise<void>): void {
    void action().catch((error: unknown) => this.#actions.fail(error));
  }

  async #rename(): Promise<void> {
    const { name } = this.#collection;
    const input = { label: "New name", value: name };
    const wanted = await ask({ title: `Rename ${name}`, text: "", ok: "Rename", input });
    if (wanted !== undefined && wanted !== "") await this.#library.rename(this.#collection, wanted);
  }

  async #export(): Promise<void> {
    const blob = await this.#collection.index.export();
    const link = element("a", "");
    link.href = URL.createObjectURL(blob);
    link.download = `${this.#collection.name.replace(/[\\/:*?"<>|]/g, "_")}.embervec`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    announce(`${this.#collection.name} exported, ${formatSize(blob.size)}.`);
  }

  async #delete(): Promise<void> {
    const { name, passages } = this.#collection;
    const text = `It has ${formatCount(passages, "passage")}. This cannot be undone.`;
    if ((await ask({ title: `Delete ${name}?`, text, ok: "Delete" })) === undefined) return;
    this.#actions.stopAdding(this.#collection);
    await this.#library.remove(this.#collection);
    this.#open.delete(name);
    announce(`${name} deleted.`);
    byId("library-new", HTMLButtonElement).focus();
  }

  async #close(): Promise<void> {
    await this.#library.remove(this.#collection);
    announce(`${this.#collection.name} closed.`);
    byId("library-new", HTMLButtonElement).focus();
  }

  /** Only while it is open, and again only when it has changed. */
  async #list(): Promise<void> {
    const { passages } = this.#collection;
    if (!this.#details.open || this.#listed === passages) return;
    this.#listed = passages;
    const documents = await this.#collection.documents();
    const focused = document.activeElement?.closest("li")?.dataset["doc"];
    const items = documents.slice(0, this.#shown).map((entry) => {
      const { doc, title, id } = entry;
      const open = button(title, "link", () => this.#actions.open({ collection: this.#collection, id, start: 0 }));
      const item = element("li", "", open);
      item.dataset["doc"] = doc;
      if (this.#collection.kind === "own") {
        const remove = button("Remove", "link quiet", () => this.#run(() => this.#removeDocument(doc, title)));
        remove.setAttribute("aria-label", `Remove ${title}`);
        item.append(remove);
      }
      return item;
    });
    if (documents.length > this.#shown) {
      const more = button(`Show all ${documents.length.toLocaleString("en")}`, "link", () => {
        this.#shown = Infinity;
        this.#listed = -1;
        void this.#list();
      });
      items.push(element("li", "", more));
    }
    this.#documents.replaceChildren(...items);
    items
      .find(({ dataset }) => focused !== undefined && dataset["doc"] === focused)
      ?.querySelector("button")
      ?.focus();
  }

  async #removeDocument(doc: string, title: string): Promise<void> {
    await this.#collection.removeDocument(doc);
    announce(`${title} removed.`);
    this.#details.querySelector("summary")?.focus();
  }
}

export class CollectionsView {
  readonly #library: Library;
  readonly #actions: CollectionsActions;
  readonly #list = element("ul", "collections");
  readonly #views = new Map<Collection, CollectionView>();
  /** By name: another model opens all collections anew. */
  readonly #open = new Set<string>();

  constructor(library: Library, actions: CollectionsActions) {
    this.#library = library;
    this.#actions = actions;
    byId("library", HTMLDivElement).append(this.#list);
    byId("library-new", HTMLButtonElement).addEventListener("click", () => void this.#new());
    const file = byId("library-import", HTMLInputElement);
    file.addEventListener("change", () => void this.#import(file));
    this.show();
  }

  show(): void {
    const { collections } = this.#library;
    for (const known of this.#views.keys()) if (!collections.includes(known)) this.#views.delete(known);
    const items = collections.map((collection) => {
      const view = this.#views.get(collection);
      if (view === undefined) {
        const fresh = new CollectionView(collection, this.#library, this.#actions, this.#open);
        this.#views.set(collection, fresh);
        return fresh.item;
      }
      view.update();
      return view.item;
    });
    if (items.length !== this.#list.children.length || items.some((item, index) => item !== this.#list.children[index]))
      this.#list.replaceChildren(...items);
    this.#showReady();
  }

  #showReady(): void {
    const closed = this.#library.corpora.filter((corpus) => !this.#library.isOpen(corpus));
    byId("ready", HTMLElement).hidden = closed.length === 0;
    const list = byId("ready-list", HTMLUListElement);
    if (list.dataset["names"] === closed.map(({ name }) => name).join()) return;
    list.dataset["names"] = closed.map(({ name }) => name).join();
    list.replaceChildren(...closed.map((corpus) => this.#readyItem(corpus)));
  }

  #readyItem(corpus: ReadyCorpus): HTMLElement {
    const { title, description, source, licence, passages, bytes } = corpus;
    const open = button("Open", "button small", () => {
      open.disabled = true;
      open.textContent = "Opening …";
      void this.#library.openReady(corpus).then(
        () => announce(`${title} is open.`),
        (error: unknown) => {
          open.disabled = false;
          open.textContent = "Open";
          this.#actions.fail(new Error(`${title} could not be opened: ${messageOf(error)}`, { cause: error }));
        },
      );
    });
    open.setAttribute("aria-label", `Open ${title}`);
    return element(
      "li",
      "",
      element("div", "panel-head", element("strong", "", title), open),
      element("p", "", description),
      element("small", "", `${formatCount(passages, "passage")} · ${formatSize(bytes)} · ${source} · ${licence}`),
    );
  }

  async #new(): Promise<void> {
    const name = await ask({
      title: "New collection",
      text: "An empty one. You can also name a new collection when you add documents.",
      ok: "Create",
      input: { label: "Name", value: "" },
    });
    if (name === undefined || name === "") return;
    await this.#library.create(name).catch((error: unknown) => this.#actions.fail(error));
  }

  async #import(input: HTMLInputElement): Promise<void> {
    const [file] = input.files ?? [];
    input.value = "";
    if (file === undefined) return;
    try {
      const { name } = await this.#library.import(file, file.name.replace(/\.embervec$/i, ""));
      announce(`${name} imported.`);
    } catch (error) {
      this.#actions.failImport(error);
    }
  }
}
