/** Runs in the page, in a world of its own, and only when the user has asked for it there. */

import { passagesOf } from "./passages";

/** Called from the panel, through `chrome.scripting`. */
export interface PageReader {
  read(): { url: string; title: string; passages: string[] };
  /** Scrolls to a passage and marks it; `false` where it is no longer in the page. */
  show(text: string, index: number): boolean;
}

declare global {
  var embervec: PageReader | undefined;
}

const HIGHLIGHT = "embervec";
/** Dark on light on any page. */
const STYLE = `::highlight(${HIGHLIGHT}) { background-color: #ffcf9e; color: #221b15; }`;

globalThis.embervec = {
  read: () => ({
    url: addressOf(location),
    title: document.title.trim() || location.host || location.pathname,
    passages: read().map(({ text }) => text),
  }),
  show: (text, index) => {
    const passages = read();
    const passage = passages[index]?.text === text ? passages[index] : passages.find((other) => other.text === text);
    const ranges = passage?.ranges() ?? [];
    const [first] = ranges;
    if (!first) return false;
    mark(ranges);
    scrollTo(first);
    return true;
  },
};

function read() {
  return passagesOf(document.body ?? document.documentElement);
}

/** A part of the page has the page's own address, but where a script uses the fragment as a path. */
function addressOf({ href, hash }: Location): string {
  return /^#(!|\/)/.test(hash) || hash === "" ? href : href.slice(0, -hash.length);
}

function mark(ranges: Range[]): void {
  const sheets = document.adoptedStyleSheets;
  if (!sheets.some(({ cssRules }) => cssRules[0]?.cssText.startsWith(`::highlight(${HIGHLIGHT})`))) {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    document.adoptedStyleSheets = [...sheets, sheet];
  }
  CSS.highlights.set(HIGHLIGHT, new Highlight(...ranges));
  addEventListener("pointerdown", () => CSS.highlights.delete(HIGHLIGHT), { once: true });
}

function scrollTo(range: Range): void {
  const behavior = matchMedia("(prefers-reduced-motion: reduce)").matches ? "instant" : "smooth";
  const parent = range.startContainer.parentElement;
  const isLong = (parent?.getBoundingClientRect().height ?? 0) > innerHeight / 2;
  if (!isLong) return parent?.scrollIntoView({ block: "center", behavior });
  // Of a long paragraph the passage may be any part.
  parent?.scrollIntoView({ block: "nearest", behavior: "instant" });
  scrollBy({ top: range.getBoundingClientRect().top - innerHeight / 3, behavior });
}
