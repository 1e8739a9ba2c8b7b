/** The marked hit, and a bar to go on to the next one, which stay until somebody takes them away. */

import { documentOf, rootOf, viewOf } from "./own";
import type { Passage } from "./passages";

const HIGHLIGHT = "embervec";
/** Dark on light on any page. */
const STYLE = `::highlight(${HIGHLIGHT}) { background-color: #ffcf9e; color: #221b15; }`;
const BAR_STYLE = `
  :host { all: initial; position: fixed !important; inset: auto 16px 16px auto !important; z-index: 2147483647 !important; margin: 0; padding: 0; border: 0; background: none; color-scheme: light dark; }
  div { display: flex; align-items: center; gap: 4px; padding: 4px 4px 4px 12px; border: 1px solid light-dark(#8d7f70, #85766a); border-radius: 12px; background: light-dark(#fffdfa, #1d1713); color: light-dark(#221b15, #f0e6db); box-shadow: 0 4px 20px rgb(0 0 0 / 30%); font: 14px/1.4 system-ui, sans-serif; }
  span { margin-right: 4px; font-variant-numeric: tabular-nums; white-space: nowrap; }
  button { all: unset; display: grid; place-items: center; width: 32px; height: 32px; border-radius: 8px; cursor: pointer; }
  button:hover { background: light-dark(#f7e3d5, #3a2315); }
  button:focus-visible { outline: 2px solid light-dark(#ad3d0b, #ff9b5e); outline-offset: -2px; }
  button::before, button::after { content: ""; grid-area: 1 / 1; box-sizing: border-box; }
  .previous::before, .next::before { width: 10px; height: 10px; border: solid currentColor; border-width: 2px 0 0 2px; transform: translateY(2px) rotate(45deg); }
  .next::before { transform: translateY(-3px) rotate(225deg); }
  .clear::before, .clear::after { width: 16px; height: 2px; background: currentColor; transform: rotate(45deg); }
  .clear::after { transform: rotate(-45deg); }
  @media print { :host { display: none; } }
  @media (forced-colors: active) { button:focus-visible { outline-color: Highlight; } button::before, button::after { forced-color-adjust: none; border-color: ButtonText; } .clear::before, .clear::after { background: ButtonText; } }
`;

export interface Marked {
  readonly key: string;
  readonly query: string;
  /** Of all hits, best first, the position among the page's passages. */
  readonly hits: readonly number[];
  /** Which of the hits is marked. */
  readonly at: number;
  readonly passages: readonly Passage[];
}

export class Marks {
  readonly #onChange: () => void;
  #marked: Marked | undefined;
  #marking: Document | undefined;
  #bar: Bar | undefined;

  constructor(onChange: () => void) {
    this.#onChange = onChange;
  }

  get marked(): Marked | undefined {
    return this.#marked;
  }

  /** `false` if that hit is no longer in the page. */
  show(marked: Marked): boolean {
    const ranges = marked.passages[marked.hits[marked.at] ?? -1]?.ranges() ?? [];
    const [first] = ranges;
    if (!first) return false;
    this.#marked = marked;
    this.#mark(ranges, documentOf(first.startContainer));
    this.#bar ??= new Bar(
      (step) => this.step(step),
      () => this.clear(),
    );
    this.#bar.show(marked.at + 1, marked.hits.length);
    scrollTo(first);
    this.#onChange();
    return true;
  }

  /** To the next hit that is still there; after the last comes the first. */
  step(step: 1 | -1): void {
    const marked = this.#marked;
    if (!marked) return;
    const count = marked.hits.length;
    for (let i = 1; i <= count; i++) {
      if (this.show({ ...marked, at: (marked.at + step * i + count * i) % count })) return;
    }
    this.#bar?.say("No longer on the page");
  }

  clear(): void {
    if (!this.#marked) return;
    this.#marked = undefined;
    highlightsOf(this.#marking)?.delete(HIGHLIGHT);
    this.#bar?.remove();
    this.#bar = undefined;
    this.#onChange();
  }

  #mark(ranges: Range[], place: Document): void {
    const view = place.defaultView as (Window & typeof globalThis) | null;
    if (!view) return;
    if (this.#marking !== place) highlightsOf(this.#marking)?.delete(HIGHLIGHT);
    this.#marking = place;
    const sheets = place.adoptedStyleSheets;
    if (!sheets.some(({ cssRules }) => cssRules[0]?.cssText.startsWith(`::highlight(${HIGHLIGHT})`))) {
      const sheet = new view.CSSStyleSheet();
      sheet.replaceSync(STYLE);
      place.adoptedStyleSheets = [...sheets, sheet];
    }
    view.CSS.highlights.set(HIGHLIGHT, new view.Highlight(...ranges));
  }
}

const highlightsOf = (place: Document | undefined) =>
  (place?.defaultView as (Window & typeof globalThis) | null | undefined)?.CSS.highlights;

function scrollTo(range: Range): void {
  const behavior = matchMedia("(prefers-reduced-motion: reduce)").matches ? "instant" : "smooth";
  const parent = range.startContainer.parentElement;
  const view = viewOf(range.startContainer);
  const isLong = (parent?.getBoundingClientRect().height ?? 0) > view.innerHeight / 2;
  if (!isLong) return parent?.scrollIntoView({ block: "center", behavior });
  // Of a long paragraph the passage may be any part.
  parent?.scrollIntoView({ block: "nearest", behavior: "instant" });
  view.scrollBy({ top: range.getBoundingClientRect().top - view.innerHeight / 3, behavior });
}

/** In a shadow tree, where the page's styles and scripts do not reach it. */
class Bar {
  readonly #host = document.createElement("embervec-hits");
  readonly #place: HTMLSpanElement;

  constructor(onStep: (step: 1 | -1) => void, onClear: () => void) {
    const root = this.#host.attachShadow({ mode: "closed" });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(BAR_STYLE);
    root.adoptedStyleSheets = [sheet];
    const bar = document.createElement("div");
    bar.setAttribute("role", "group");
    bar.setAttribute("aria-label", "Hits of the search by meaning");
    this.#place = document.createElement("span");
    this.#place.setAttribute("role", "status");
    bar.append(
      this.#place,
      iconButton("Previous hit", "previous", () => onStep(-1)),
      iconButton("Next hit", "next", () => onStep(1)),
      iconButton("Clear the mark", "clear", onClear),
    );
    bar.addEventListener("keydown", (event) => {
      event.stopPropagation(); // a page's own keys are for the page
      if (event.key === "Escape") onClear();
    });
    root.append(bar);
    this.#host.popover = "manual"; // above whatever the page puts on top
    rootOf(document).append(this.#host);
    this.#host.showPopover();
  }

  show(at: number, count: number): void {
    this.say(`Hit ${at} of ${count}`);
    // A page that has replaced its own elements has taken the bar along.
    if (!this.#host.isConnected) {
      rootOf(document).append(this.#host);
      this.#host.showPopover();
    }
  }

  say(text: string): void {
    this.#place.textContent = text;
  }

  remove(): void {
    this.#host.remove();
  }
}

function iconButton(label: string, icon: string, onClick: () => void): HTMLButtonElement {
  const button = document.createElement("button");
  button.type = "button";
  button.className = icon;
  button.setAttribute("aria-label", label);
  button.title = label;
  button.addEventListener("click", onClick);
  return button;
}
