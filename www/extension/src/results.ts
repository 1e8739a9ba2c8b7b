/** What is below the search box: hits, saved pages, or what to do. */

import { button, element, formatCount } from "../../src/dom";
import type { Hit, SavedPage } from "./protocol";
import { linkToPassage } from "./text-fragment";

/** With `onShow` a hit is in the page that is open; else it is a link to a page that is not. */
export function renderHits(container: HTMLElement, hits: readonly Hit[], onShow?: (hit: Hit) => void): void {
  const list = element("ol", "ranking");
  for (const hit of hits) {
    const bar = element("span", "score-bar");
    bar.style.setProperty("--score", String(Math.max(0, hit.score)));
    bar.setAttribute("aria-hidden", "true");
    const number = element("span", "score", hit.score.toFixed(2));
    number.title = `similarity ${hit.score.toFixed(4)}`;
    const head = element("span", "hit-head", element("span", "topic", hit.title), number);
    const target = onShow
      ? button("", "hit-target", () => onShow(hit))
      : linkTo(linkToPassage(hit.url, hit.text), "hit-target");
    target.append(bar, head, element("span", "hit-text", hit.text));
    list.append(element("li", "hit", target));
  }
  container.replaceChildren(list);
}

export function renderSavedPages(
  container: HTMLElement,
  pages: readonly SavedPage[],
  onRemove: (page: SavedPage) => void,
): void {
  const list = element("ul", "");
  for (const page of pages) {
    const link = linkTo(page.url, "");
    link.textContent = page.title;
    const date = new Date(page.savedAt).toLocaleDateString("en-GB", { dateStyle: "medium" });
    const about = [new URL(page.url).host, date, formatCount(page.passageCount, "passage")].filter(Boolean).join(" · ");
    const remove = button("Remove", "button quiet small", () => onRemove(page));
    remove.setAttribute("aria-label", `Remove ${page.title}`);
    list.append(element("li", "saved-page", element("div", "", link, element("small", "", about)), remove));
  }
  container.replaceChildren(list);
}

export function renderEmpty(container: HTMLElement, title: string, text: string): void {
  container.replaceChildren(element("div", "empty", element("p", "empty-title", title), element("p", "", text)));
}

function linkTo(url: string, className: string): HTMLAnchorElement {
  const link = element("a", className);
  link.href = url;
  link.target = "_blank";
  link.rel = "noreferrer";
  return link;
}
