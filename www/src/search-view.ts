/** The search box and what it finds. */

import { type Address, replaceAddress } from "./address";
import { announceSoon } from "./announcer";
import type { Collection } from "./collection";
import { button, byId, formatCount, formatMilliseconds } from "./dom";
import type { Library } from "./library";
import { LiveSearch } from "./live-search";
import { Results } from "./results";
import { type Found, type Hit, searchAll, searchLike } from "./search";
import type { SearchMode } from "embervec/search";
import { Sentences } from "./why";

const PAGE_OF_RESULTS = 10;
const DEBOUNCE_MS = 60;
/** While passages arrive, a search is done again at most this often. */
const REFRESH_MS = 500;
/** Below this cosine the best hit is usually about something else. */
const WEAK_SCORE = 0.25;
/** On a lower window, the search box goes to its top so that a whole hit fits below. */
const LOW_WINDOW = 480;

export interface SearchActions {
  readonly open: (hit: Hit) => void;
  readonly addressOf: (hit: Hit) => string;
  readonly fail: (error: unknown, retry: () => void) => void;
  readonly succeed: () => void;
  readonly onTime: (encodeMs: number, searchMs: number) => void;
  /** What the map shows: the vector of the query, or of nothing. */
  readonly onVector: (vector: Float32Array | undefined) => void;
  /** What the box says while the model is not there. */
  readonly modelNote: () => string;
  readonly add: () => void;
}

export class SearchView {
  readonly #library: Library;
  readonly #actions: SearchActions;
  readonly #input = byId("query", HTMLInputElement);
  readonly #mode = byId("mode", HTMLSelectElement);
  readonly #scope = byId("scope", HTMLSelectElement);
  readonly #type = byId("type", HTMLSelectElement);
  readonly #note = byId("results-note", HTMLParagraphElement);
  readonly #more = byId("more", HTMLButtonElement);
  readonly #results: Results;
  readonly #live = new LiveSearch(DEBOUNCE_MS);
  readonly #sentences = new Sentences();
  #shown = PAGE_OF_RESULTS;
  /** What is shown is like this hit, not what the box asks for. */
  #like: Hit | undefined;
  #refresh: ReturnType<typeof setTimeout> | undefined;
  #wanted: Address;

  constructor(library: Library, address: Address, actions: SearchActions) {
    this.#library = library;
    this.#actions = actions;
    this.#wanted = address;
    this.#results = new Results(byId("results", HTMLDivElement), {
      addressOf: actions.addressOf,
      open: actions.open,
      like: (hit) => this.#showLike(hit),
      namesCollections: () => this.collections.length > 1,
    });
    this.#input.value = address.query;
    this.#mode.value = address.mode;
    this.#wire();
    this.showChoices();
  }

  get query(): string {
    return this.#input.value.trim();
  }

  get hits(): readonly Hit[] {
    return this.#results.hits;
  }

  /** Those that are searched. */
  get collections(): readonly Collection[] {
    const { value } = this.#scope;
    const one = value === "" ? undefined : this.#library.find(value);
    return one === undefined ? this.#library.collections : [one];
  }

  get address(): Address {
    return {
      query: this.query,
      mode: this.#mode.value as SearchMode,
      scope: this.#scope.value || this.#wanted.scope,
      type: this.#type.value || this.#wanted.type,
      open: undefined,
    };
  }

  /** Back and forward lead to other queries. */
  goTo(address: Address): void {
    this.#wanted = address;
    this.#input.value = address.query;
    this.#mode.value = address.mode;
    this.#scope.value = this.#type.value = "";
    this.showChoices();
    this.run();
  }

  ask(query: string): void {
    this.#input.value = query;
    this.#shown = PAGE_OF_RESULTS;
    this.run();
  }

  focus(): void {
    this.#input.focus({ preventScroll: true });
  }

  /** What the address names may not be there yet; it is chosen when it is. */
  showChoices(types?: readonly string[]): void {
    const names = this.#library.collections.map(({ name }) => name);
    choose(this.#scope, "All collections", names, this.#scope.value || this.#wanted.scope);
    if (types !== undefined) choose(this.#type, "All types", types, this.#type.value || this.#wanted.type);
  }

  scopeTo(collection: Collection): void {
    this.showChoices();
    this.#scope.value = collection.name;
    this.#onChoice();
  }

  /** Passages have come or gone: what is shown is searched again, but not for each of them. */
  refresh(): void {
    this.#refresh ??= setTimeout(() => {
      this.#refresh = undefined;
      if (this.query === "" && this.#like === undefined) this.#showHome();
      else if (this.#like === undefined) this.#search(this.query, false);
    }, REFRESH_MS);
  }

  run(): void {
    const { query } = this;
    this.#like = undefined;
    replaceAddress(this.address);
    if (query === "") {
      this.#live.cancel();
      this.#shown = PAGE_OF_RESULTS;
      this.#showHome();
    } else this.#search(query, true);
  }

  #wire(): void {
    this.#input.addEventListener("input", () => {
      this.#shown = PAGE_OF_RESULTS;
      this.run();
    });
    byId("search-form", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      this.run();
    });
    for (const select of [this.#mode, this.#scope, this.#type])
      select.addEventListener("change", () => this.#onChoice());
    byId("clear", HTMLButtonElement).addEventListener("click", () => {
      this.#clear();
      this.focus();
    });
    this.#more.addEventListener("click", () => void this.#showMore());
    addEventListener("keydown", (event) => this.#onKey(event));
  }

  #onChoice(): void {
    this.#wanted = { ...this.#wanted, scope: "", type: "" };
    this.#shown = PAGE_OF_RESULTS;
    this.run();
  }

  #onKey(event: KeyboardEvent): void {
    const { target } = event;
    if (document.querySelector("dialog[open]") !== null) return;
    const isTyping = target instanceof HTMLInputElement || target instanceof HTMLSelectElement;
    if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      this.#input.focus();
      this.#input.select();
    } else if (event.key === "Escape" && target === this.#input && this.#input.value !== "") {
      event.preventDefault();
      this.#clear();
    } else if (event.key === "ArrowDown" && target === this.#input && this.hits.length > 0) {
      event.preventDefault();
      this.#results.focus(0);
    }
  }

  #clear(): void {
    this.#input.value = "";
    this.run();
  }

  /** @param isNew whether it is another question: who reads the answers to the last one is not moved */
  #search(query: string, isNew: boolean): void {
    const options = { query, mode: this.#mode.value as SearchMode, type: this.#type.value, topK: this.#shown + 1 };
    this.#live.run(async (signal) => {
      try {
        const found = await searchAll(this.collections, { ...options, signal });
        this.#actions.succeed();
        this.#show(query, found);
        if (isNew) this.#showBegin();
        await this.#explain(query, signal);
      } catch (error) {
        if (!signal.aborted) this.#actions.fail(error, () => this.run());
      }
    });
  }

  #show(query: string, found: Found): void {
    const { hits, encodeMs, searchMs, isByMeaning } = found;
    this.#begin("Closest passages");
    if (isByMeaning) this.#actions.onTime(encodeMs, searchMs);
    this.#note.textContent = this.#noteOf(found);
    if (hits.length === 0) this.#showNothing(found);
    else this.#results.show(hits.slice(0, this.#shown));
    this.#more.hidden = hits.length <= this.#shown;
    announceSoon(
      hits.length === 0
        ? `Nothing found for ${query}.`
        : `${formatCount(Math.min(hits.length, this.#shown), "passage")}. ${this.#note.textContent} First: ${hits[0]!.title}. ${hits[0]!.text}`,
    );
  }

  #noteOf({ passages, isByMeaning, encodeMs, searchMs, truncated, hits, notes }: Found): string {
    const parts: string[] = [];
    const wantsMeaning = this.#mode.value !== "keyword";
    const searched = formatCount(passages, "passage");
    if (isByMeaning) {
      const how = this.#mode.value === "semantic" ? "by meaning" : "by meaning and words";
      parts.push(`${searched} searched ${how} in ${formatMilliseconds(encodeMs + searchMs)}.`);
      const best = Math.max(...hits.map(({ scores }) => scores.semantic ?? 0));
      if (hits.length > 0 && best < WEAK_SCORE) parts.push("No close match.");
    } else {
      parts.push(`${searched} searched by words${wantsMeaning ? " only" : ""} in ${formatMilliseconds(searchMs)}.`);
      if (wantsMeaning) parts.push(this.#actions.modelNote());
    }
    if (truncated) parts.push("The query is longer than the model reads; its end was left out.");
    return [...parts, ...notes].filter(Boolean).join(" ");
  }

  /** Which sentences matched is known a moment later. */
  async #explain(query: string, signal: AbortSignal): Promise<void> {
    const { hits } = this.#results;
    if (hits.length === 0) return;
    const reasons = await this.#sentences.rank(
      query,
      hits.map(({ text }) => text),
      signal,
    );
    signal.throwIfAborted();
    this.#actions.onVector(reasons?.query);
    if (reasons !== undefined) this.#results.mark(reasons.sentences);
  }

  /** The sentences are those of this model. */
  useModel(embedder: Parameters<Sentences["use"]>[0]): void {
    this.#sentences.use(embedder);
  }

  #showLike(hit: Hit): void {
    this.#like = hit;
    this.#live.run(async (signal) => {
      try {
        const options = { topK: this.#shown, type: this.#type.value, signal };
        const hits = await searchLike(hit, this.collections, options);
        signal.throwIfAborted();
        this.#begin("More like this");
        const back = button("Back to the query", "link", () => this.run());
        this.#note.replaceChildren(`Like “${hit.text.slice(0, 60).trim()} …” of ${hit.title}. `, back);
        this.#results.show(hits);
        this.#results.mark(hits.map(() => []));
        if (hits.length === 0)
          this.#results.empty("Nothing is like it", "Only collections that are searched by meaning can tell.");
        this.#more.hidden = true;
        byId("results-title", HTMLHeadingElement).focus({ preventScroll: true });
        byId("search-form", HTMLFormElement).scrollIntoView();
        announceSoon(`${formatCount(hits.length, "passage")} like it.`);
      } catch (error) {
        if (!signal.aborted) this.#actions.fail(error, () => this.#showLike(hit));
      }
    });
  }

  #showMore(): void {
    const first = this.#shown;
    this.#shown += PAGE_OF_RESULTS;
    this.#live.run(async (signal) => {
      const options = { query: this.query, mode: this.#mode.value as SearchMode, type: this.#type.value };
      const found = await searchAll(this.collections, { ...options, topK: this.#shown + 1, signal });
      this.#show(this.query, found);
      this.#results.focus(first);
      await this.#explain(this.query, signal);
    });
  }

  #showNothing({ passages }: Found): void {
    if (passages > 0) {
      this.#results.empty("Nothing found", "Try other words, or search by meaning in all collections.");
      return;
    }
    const add = button("Add documents", "button primary", this.#actions.add);
    this.#results.empty("Nothing to search yet", "Add documents of your own, or open a ready collection.", add);
  }

  #begin(title: string): void {
    byId("home", HTMLDivElement).hidden = true;
    const heading = byId("results-title", HTMLHeadingElement);
    heading.hidden = false;
    heading.textContent = title;
  }

  /** The box stays at the top of the window, and must not cover the best hit. */
  #showBegin(): void {
    const form = byId("search-form", HTMLFormElement);
    if (innerHeight < LOW_WINDOW) form.scrollIntoView();
    const covered = form.getBoundingClientRect().bottom - byId("results-area", HTMLElement).getBoundingClientRect().top;
    if (covered > 0) scrollBy(0, -covered);
  }

  #showHome(): void {
    byId("home", HTMLDivElement).hidden = false;
    byId("results-title", HTMLHeadingElement).hidden = true;
    this.#note.textContent = "";
    this.#more.hidden = true;
    this.#results.clear();
    this.#actions.onVector(undefined);
  }
}

/** The options anew, where they have changed; what is chosen stays chosen if it is there. One that there is only one of is no choice. */
function choose(select: HTMLSelectElement, all: string, names: readonly string[], chosen: string): void {
  const before = [...select.options].slice(1).map(({ value }) => value);
  if (before.join("\n") !== names.join("\n"))
    select.replaceChildren(new Option(all, ""), ...names.map((name) => new Option(name, name)));
  select.value = names.includes(chosen) ? chosen : "";
  select.closest("label")!.hidden = names.length < 2 && select.value === "";
}
