/** What is below the search box: hits, saved pages, or what to do. */

import { button, element, formatCount } from "../../src/dom";
import type { Hit, SavedPage } from "./protocol";

/** Where a saved page can be read, at a passage of it. */
export function linkToReader(url: string, index?: number): string {
  return `reader.html?${new URLSearchParams({ url, ...(index !== undefined && { passage: String(index) }) })}`;
}

export interface HitOptions {
  /** Of a hit in the page that is open; one in a saved page is a link to that. */
  readonly onShow: (hit: Hit) => void;
  /** Of the hit that is marked in the page. */
  readonly marked: number | undefined;
  /** Keeps what is there, in place of another list: the same query has more hits. */
  readonly isRefresh: boolean;
}

/** Those beside the page's main text are under a heading of their own. */
export function renderHits(container: HTMLElement, hits: readonly Hit[], options: HitOptions): void {
  const main = hits.filter(({ isAside }) => !isAside);
  const aside = hits.filter(({ isAside }) => isAside);
  const old = options.isRefresh ? container.querySelector<HTMLOListElement>(".ranking") : null;
  const list = old ?? element("ol", "ranking");
  fill(list, main.length > 0 ? main : aside, options);
  const parts: Node[] = [list];
  if (main.length > 0 && aside.length > 0) {
    const more = element("ol", "ranking-aside");
    fill(more, aside, options);
    parts.push(element("h2", "aside-title", "Beside the main text"), more);
  }
  if (!old) return container.replaceChildren(...parts);
  while (list.nextSibling) list.nextSibling.remove();
  container.append(...parts.slice(1));
}

/** What is there already stays the same element, so that the focus stays with it. */
function fill(list: HTMLOListElement, hits: readonly Hit[], options: HitOptions): void {
  const known = new Map([...list.children].map((item) => [(item as HTMLElement).dataset["id"], item as HTMLElement]));
  const focused = list.contains(document.activeElement) ? (document.activeElement as HTMLElement) : undefined;
  const items = hits.map((hit) => {
    const isHere = hit.savedAt === undefined;
    const id = `${hit.index} ${hit.score ?? ""} ${hit.savedAt ?? ""} ${hit.url}`;
    const item = known.get(id) ?? hitItem(hit, options.onShow);
    item.dataset["id"] = id;
    const target = item.firstElementChild;
    if (options.marked === hit.index && isHere) target?.setAttribute("aria-current", "true");
    else target?.removeAttribute("aria-current");
    return item;
  });
  if (items.length === list.children.length && items.every((item, index) => list.children[index] === item)) return;
  list.replaceChildren(...items);
  focused?.focus({ preventScroll: true });
}

function hitItem(hit: Hit, onShow: (hit: Hit) => void): HTMLLIElement {
  const isHere = hit.savedAt === undefined;
  const target = isHere
    ? button("", "hit-target", () => onShow(hit))
    : linkTo(linkToReader(hit.url, hit.index), "hit-target");
  const head = element("span", "hit-head", element("span", "topic", isHere ? hit.heading || hit.title : hit.title));
  if (hit.score !== undefined) {
    const bar = element("span", "score-bar");
    bar.style.setProperty("--score", String(Math.max(0, hit.score)));
    bar.setAttribute("aria-hidden", "true");
    target.append(bar);
    const number = element("span", "score", hit.score.toFixed(2));
    number.title = `similarity ${hit.score.toFixed(4)}`;
    head.append(number);
  }
  target.append(head, element("span", "hit-text", hit.text));
  return element("li", "hit", target);
}

/** By the days on which they were saved, the last one first. */
export function renderSavedPages(
  container: HTMLElement,
  pages: readonly SavedPage[],
  onRemove: (page: SavedPage) => void,
): void {
  const parts: Node[] = [];
  let day = "";
  let list = element("ul", "");
  for (const page of pages) {
    const saved = new Date(page.savedAt);
    const date = saved.toLocaleDateString("en-GB", { dateStyle: "medium" });
    if (date !== day) {
      day = date;
      list = element("ul", "");
      parts.push(element("h2", "day", date), list);
    }
    const link = linkTo(linkToReader(page.url), "");
    link.textContent = page.title || page.url;
    const time = saved.toLocaleTimeString("en-GB", { timeStyle: "short" });
    const about = [new URL(page.url).host, time, formatCount(page.passageCount, "passage")].filter(Boolean).join(" · ");
    const remove = button("Remove", "button quiet small", () => onRemove(page));
    remove.setAttribute("aria-label", `Remove ${page.title}`);
    list.append(element("li", "saved-page", element("div", "", link, element("small", "", about)), remove));
  }
  container.replaceChildren(...parts);
}

export function renderEmpty(container: HTMLElement, title: string, ...texts: string[]): void {
  const lines = texts.filter((text) => text !== "").map((text) => element("p", "", text));
  container.replaceChildren(element("div", "empty", element("p", "empty-title", title), ...lines));
}

function linkTo(url: string, className: string): HTMLAnchorElement {
  const link = element("a", className);
  link.href = url;
  link.target = "_blank";
  link.rel = "noreferrer";
  return link;
}
