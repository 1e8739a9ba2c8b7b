/** The list under the search box: every passage by topic, or the ranked ones. */

import type { Entry, Ranked } from "./corpus";
import { element } from "./dom";

export function renderRanking(container: HTMLElement, ranked: readonly Ranked[]): void {
  const list = element("ol", "ranking");
  // Cosines end at 1. A model trained for dot products goes beyond, so its bars are drawn relative to the best.
  const full = Math.max(1, ranked[0]?.score ?? 1);
  for (const { entry, score } of ranked) {
    const bar = element("span", "score-bar");
    bar.style.setProperty("--score", String(Math.max(0, score / full)));
    bar.setAttribute("aria-hidden", "true");
    const number = element("span", "score", score.toFixed(2));
    number.title = `similarity ${score.toFixed(4)}`;
    const head = element("p", "hit-head", element("span", "topic", entry.topic), number);
    const item = element("li", "hit", bar, head, element("p", "hit-text", entry.text));
    if (entry.truncated)
      item.append(element("p", "hit-note", "Longer than the model's limit: ranked by its beginning."));
    list.append(item);
  }
  container.replaceChildren(list);
}

export function renderByTopic(container: HTMLElement, entries: readonly Entry[], limit: number): void {
  const topics = new Map<string, Entry[]>();
  for (const entry of entries.slice(0, limit)) {
    const group = topics.get(entry.topic);
    if (group) group.push(entry);
    else topics.set(entry.topic, [entry]);
  }
  const sections = [...topics].map(([topic, group]) =>
    element(
      "section",
      "topic-group",
      element("h3", "topic", topic),
      element("ul", "", ...group.map(({ text }) => element("li", "", text))),
    ),
  );
  container.replaceChildren(...sections);
}

export function renderEmpty(container: HTMLElement, title: string, text: string): void {
  container.replaceChildren(element("div", "empty", element("p", "empty-title", title), element("p", "", text)));
}
