/** The list of hits. A hit that stays from one letter to the next keeps its element, and with it the focus and what is open. */

import { button, element } from "./dom";
import { marked, placesOf } from "./marks";
import type { Hit } from "./search";
import { nearest, type Sentence } from "./why";

export interface ResultsActions {
  readonly addressOf: (hit: Hit) => string;
  readonly open: (hit: Hit) => void;
  readonly like: (hit: Hit) => void;
  /** Whether hits say which collection they are of. */
  readonly namesCollections: () => boolean;
}

/** Lines are not filled to the last character. */
const FILLED = 0.92;

class HitView {
  readonly item: HTMLLIElement;
  hit: Hit;
  readonly #bar = element("span", "score-bar");
  readonly #title = element("a", "");
  readonly #place = element("span", "hit-place");
  readonly #score = element("span", "score");
  readonly #text = element("p", "hit-text");
  readonly #why = element("div", "why");
  readonly #whyButton: HTMLButtonElement;
  readonly #actions: ResultsActions;
  #sentences: readonly Sentence[] = [];

  constructor(hit: Hit, actions: ResultsActions) {
    this.hit = hit;
    this.#actions = actions;
    this.#bar.setAttribute("aria-hidden", "true");
    this.#title.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return; // in a tab of its own
      event.preventDefault();
      actions.open(this.hit);
    });
    this.#text.addEventListener("click", () => {
      if (getSelection()?.isCollapsed !== false) actions.open(this.hit);
    });
    this.#why.hidden = true;
    this.#whyButton = button("Why?", "link", () => this.#toggleWhy());
    this.#whyButton.setAttribute("aria-expanded", "false");
    const like = button("More like this", "link", () => actions.like(this.hit));
    const head = element("div", "hit-head", element("h3", "", this.#title), this.#place, this.#score);
    this.item = element(
      "li",
      "hit",
      this.#bar,
      head,
      this.#text,
      element("p", "hit-actions", like, this.#whyButton),
      this.#why,
    );
  }

  /** @param best word score of those that have nothing else, which is drawn as 1 */
  update(hit: Hit, best: number): void {
    const isSameText = this.hit === hit || (this.hit.text === hit.text && this.hit.words.join() === hit.words.join());
    this.hit = hit;
    this.#title.textContent = hit.title;
    this.#title.href = this.#actions.addressOf(hit);
    const { semantic } = hit.scores;
    this.#place.textContent = [hit.place, this.#actions.namesCollections() ? hit.collection.name : ""]
      .filter(Boolean)
      .join(" · ");
    this.#score.textContent = semantic === undefined ? "" : semantic.toFixed(2);
    this.#score.title = semantic === undefined ? "" : `similarity ${semantic.toFixed(4)}`;
    const share = semantic ?? (hit.wordShare ?? 0) / best;
    this.#bar.style.setProperty("--score", String(Math.min(1, Math.max(0, share))));
    if (!isSameText || this.#text.childNodes.length === 0) this.#show(undefined);
    if (!this.#why.hidden) this.#showWhy();
  }

  /** The sentences come a moment after the hits; nothing may jump then. */
  mark(sentences: readonly Sentence[]): void {
    this.#sentences = sentences;
    this.#show(nearest(sentences));
    if (!this.#why.hidden) this.#showWhy();
  }

  /** Where the sentence would be below the lines that are shown, the text begins later: not with a gap, and as high as before. */
  #show(sentence: Sentence | undefined): void {
    const { text, words } = this.hit;
    const from = (start: number) => {
      const rest = text.slice(start);
      const range = sentence && { start: sentence.start - start, end: sentence.end - start };
      return marked(rest, range, placesOf(words, rest));
    };
    this.#text.replaceChildren(...from(0));
    if (sentence === undefined || sentence.start === 0) return;
    const { clientHeight, scrollHeight } = this.#text;
    const fitting = Math.floor((text.length * clientHeight * FILLED) / Math.max(1, scrollHeight));
    if (scrollHeight <= clientHeight + 2 || sentence.end <= fitting) return;
    const latest = Math.min(sentence.start, text.length - fitting);
    const begin = this.#sentences.findLast(({ start }) => start <= latest)?.start ?? 0;
    if (begin > 0) this.#text.replaceChildren("… ", ...from(begin));
  }

  #toggleWhy(): void {
    this.#why.hidden = !this.#why.hidden;
    this.#whyButton.setAttribute("aria-expanded", String(!this.#why.hidden));
    if (!this.#why.hidden) this.#showWhy();
  }

  #showWhy(): void {
    const { text, words, scores } = this.hit;
    const rows = [...this.#sentences]
      .sort((a, b) => b.score - a.score)
      .slice(0, 3)
      .map(({ start, end, score }) =>
        element("li", "", element("span", "score", score.toFixed(2)), ` ${text.slice(start, end)}`),
      );
    const found = words.length === 0 ? "None of your words." : `Your words: ${[...new Set(words)].join(", ")}.`;
    const meaning =
      scores.semantic === undefined
        ? "Found by words only."
        : `The passage as a whole is ${scores.semantic.toFixed(2)} near to the query${rows.length > 0 ? "; its nearest sentences:" : "."}`;
    this.#why.replaceChildren(element("p", "", meaning), element("ol", "", ...rows), element("p", "", found));
  }
}

export class Results {
  readonly #container: HTMLElement;
  readonly #actions: ResultsActions;
  readonly #list = element("ol", "ranking");
  #views: HitView[] = [];

  constructor(container: HTMLElement, actions: ResultsActions) {
    this.#container = container;
    this.#actions = actions;
  }

  get hits(): readonly Hit[] {
    return this.#views.map(({ hit }) => hit);
  }

  show(hits: readonly Hit[]): void {
    const before = new Map(this.#views.map((view) => [view.hit.key, view]));
    const best = Math.max(
      ...hits.map(({ scores, wordShare }) => (scores.semantic === undefined ? (wordShare ?? 0) : 0)),
    );
    this.#views = hits.map((hit) => {
      const view = before.get(hit.key) ?? new HitView(hit, this.#actions);
      view.update(hit, best);
      return view;
    });
    const focused = document.activeElement;
    this.#views.forEach(({ item }, index) => {
      if (this.#list.children[index] !== item) this.#list.insertBefore(item, this.#list.children[index] ?? null);
    });
    while (this.#list.children.length > this.#views.length) this.#list.lastElementChild?.remove();
    if (this.#list.parentNode !== this.#container) this.#container.replaceChildren(this.#list);
    // An element that is moved loses the focus.
    if (focused instanceof HTMLElement && focused !== document.activeElement && this.#list.contains(focused))
      focused.focus({ preventScroll: true });
  }

  /** @param sentences of each hit, in their order */
  mark(sentences: readonly (readonly Sentence[])[]): void {
    sentences.forEach((list, index) => this.#views[index]?.mark(list));
  }

  empty(title: string, text: string, ...actions: Node[]): void {
    this.#views = [];
    const box = element("div", "empty", element("p", "empty-title", title), element("p", "", text));
    if (actions.length > 0) box.append(element("div", "actions", ...actions));
    this.#container.replaceChildren(box);
  }

  clear(): void {
    this.#views = [];
    this.#container.replaceChildren();
  }

  focus(index: number): void {
    this.#views[index]?.item.querySelector("a")?.focus();
  }
}
