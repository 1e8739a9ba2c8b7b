/** The view of a document around a passage: its sections before and after are fetched as somebody reads on. */

import { type Collection, type SectionMetadata, sectionOf } from "./collection";
import { button, byId, element } from "./dom";
import { messageOf } from "./errors";
import type { Range } from "./marks";
import type { Hit } from "./search";
import type { StoredDocument } from "embervec/search";

export interface Passage {
  readonly collection: Collection;
  readonly id: string;
  /** Where it begins in the section's text; the index knows where it ends. */
  readonly start: number;
}

/** Sections that are fetched at once, and as many as make about a screen. */
const STEP = 20;
/** Of a section that is a whole book, what lies around the passage. */
const SHOWN_CHARACTERS = 60_000;

export class ReaderView {
  readonly #dialog = byId("reader", HTMLDialogElement);
  readonly #title = byId("reader-title", HTMLHeadingElement);
  readonly #place = byId("reader-place", HTMLParagraphElement);
  readonly #body = byId("reader-body", HTMLDivElement);
  readonly #sections = element("div", "reader-sections");
  readonly #before = button("Show what comes before", "button small", () => void this.#extend(-1));
  readonly #after = button("Show what follows", "button small", () => void this.#extend(1));
  readonly #hitNav = byId("reader-hits", HTMLElement);
  readonly #hitCount = byId("reader-count", HTMLSpanElement);
  #passage: Passage | undefined;
  #doc = "";
  /** The sections that are shown: from, and up to but without. */
  #shown = { from: 0, to: 0 };
  #hits: readonly Hit[] = [];
  /** Counts what was opened: what an older one still delivers is dropped. */
  #turn = 0;

  constructor(onClose: () => void) {
    this.#dialog.addEventListener("close", onClose);
    byId("reader-close", HTMLButtonElement).addEventListener("click", () => this.#dialog.close());
    byId("reader-previous", HTMLButtonElement).addEventListener("click", () => void this.#step(-1));
    byId("reader-next", HTMLButtonElement).addEventListener("click", () => void this.#step(1));
    // A click beside the dialog is one on the dialog itself.
    this.#dialog.addEventListener("click", (event) => event.target === this.#dialog && this.#dialog.close());
    this.#body.append(this.#before, this.#sections, this.#after);
  }

  get isOpen(): boolean {
    return this.#dialog.open;
  }

  close(): void {
    this.#dialog.close();
  }

  /** @param hits what the search has found; those in the same document are gone through with a button */
  async open(passage: Passage, hits: readonly Hit[]): Promise<void> {
    const turn = ++this.#turn;
    this.#passage = passage;
    this.#sections.replaceChildren();
    this.#before.hidden = this.#after.hidden = true;
    if (!this.#dialog.open) this.#dialog.showModal();
    const { collection, id } = passage;
    let stored: StoredDocument | undefined;
    try {
      stored = await collection.get(id);
    } catch (error) {
      return this.#fail(messageOf(error));
    }
    if (turn !== this.#turn) return;
    if (stored === undefined) return this.#fail("It is no longer in this collection.");
    const section = sectionOf(id, stored.metadata);
    this.#doc = section.doc;
    this.#hits = hits
      .filter((hit) => hit.collection === collection && hit.doc === section.doc)
      .sort((a, b) => a.n - b.n || a.start - b.start);
    this.#title.textContent = section.title;
    this.#place.textContent = [collection.name, section.doc === section.title ? "" : section.doc]
      .filter(Boolean)
      .join(" · ");
    const range = stored.passages.find(({ start }) => start === passage.start);
    this.#sections.replaceChildren(this.#render(stored, section, range));
    this.#shown = { from: section.n, to: section.n + 1 };
    this.#showHits();
    this.#title.focus({ preventScroll: true });
    await this.#extend(-1, turn);
    await this.#extend(1, turn);
    if (turn === this.#turn) this.#reveal();
  }

  /** Adds sections at one end. */
  async #extend(direction: -1 | 1, turn = this.#turn): Promise<void> {
    const passage = this.#passage;
    if (passage === undefined) return;
    const { from, to } = this.#shown;
    const [begin, end] = direction < 0 ? [Math.max(0, from - STEP), from] : [to, to + STEP];
    const sections = await passage.collection.sections(this.#doc, begin, end);
    if (turn !== this.#turn) return;
    const views = sections.map((stored) => this.#render(stored, sectionOf(stored.id, stored.metadata)));
    const isAtEnd = views.length < end - begin;
    if (direction < 0) {
      const height = this.#body.scrollHeight;
      this.#sections.prepend(...views);
      this.#before.hidden = begin === 0 || isAtEnd;
      this.#shown = { from: begin, to };
      // What is being read stays where it is.
      this.#body.scrollTop += this.#body.scrollHeight - height;
    } else {
      this.#sections.append(...views);
      this.#after.hidden = isAtEnd;
      this.#shown = { from, to: end };
    }
    this.#tidyPlaces();
  }

  /** A place is named where it begins, not at each of its paragraphs. */
  #tidyPlaces(): void {
    let before = "";
    for (const heading of this.#sections.querySelectorAll<HTMLElement>(".reader-section > h3")) {
      // The number of a line says nothing where all lines are there.
      heading.hidden = /^(line \d+)?$/.test(heading.textContent ?? "") || heading.textContent === before;
      before = heading.textContent ?? "";
    }
  }

  #render({ text }: StoredDocument, { place }: SectionMetadata, range?: Range): HTMLElement {
    const [from, to] = windowOf(text, range);
    const paragraphs: HTMLElement[] = [];
    let at = from;
    for (const paragraph of text.slice(from, to).split("\n")) {
      const end = at + paragraph.length;
      if (paragraph.trim() !== "") paragraphs.push(paragraphOf(paragraph, at, end, range));
      at = end + 1;
    }
    if (from > 0) paragraphs.unshift(element("p", "hint", "…"));
    if (to < text.length) paragraphs.push(element("p", "hint", "…"));
    return element("section", "reader-section", element("h3", "", place), ...paragraphs);
  }

  async #step(direction: -1 | 1): Promise<void> {
    const index = this.#hits.findIndex((hit) => isSame(hit, this.#passage));
    const next = this.#hits[index + direction];
    if (next === undefined) return;
    await this.open(next, this.#hits);
    const again = byId(direction < 0 ? "reader-previous" : "reader-next", HTMLButtonElement);
    if (!again.disabled) again.focus();
  }

  #showHits(): void {
    const index = this.#hits.findIndex((hit) => isSame(hit, this.#passage));
    this.#hitNav.hidden = this.#hits.length < 2 || index < 0;
    this.#hitCount.textContent = `Hit ${index + 1} of ${this.#hits.length} here`;
    byId("reader-previous", HTMLButtonElement).disabled = index <= 0;
    byId("reader-next", HTMLButtonElement).disabled = index >= this.#hits.length - 1;
  }

  #reveal(): void {
    this.#sections.querySelector("mark")?.scrollIntoView({ block: "center" });
  }

  #fail(message: string): void {
    this.#title.textContent = "This document could not be opened";
    this.#place.textContent = "";
    this.#sections.replaceChildren(element("p", "", message));
  }
}

function isSame(a: Passage, b: Passage | undefined): boolean {
  return b !== undefined && a.collection === b.collection && a.id === b.id && a.start === b.start;
}

function windowOf(text: string, range: Range | undefined): [number, number] {
  if (text.length <= SHOWN_CHARACTERS) return [0, text.length];
  const middle = range === undefined ? 0 : range.start;
  const from = Math.max(0, text.lastIndexOf("\n", Math.max(0, middle - SHOWN_CHARACTERS / 2)) + 1);
  return [from, Math.min(text.length, from + SHOWN_CHARACTERS)];
}

/** A paragraph at [start, end) of the section, with the part of the passage that lies in it. */
function paragraphOf(text: string, start: number, end: number, range: Range | undefined): HTMLElement {
  if (range === undefined || range.end <= start || range.start >= end) return element("p", "", text);
  const [from, to] = [Math.max(range.start, start) - start, Math.min(range.end, end) - start];
  return element("p", "", text.slice(0, from), element("mark", "", text.slice(from, to)), text.slice(to));
}
