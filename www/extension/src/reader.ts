/** A saved page, to be read whole without a network; the passage that was found is marked. */

import { byId, element, formatCount } from "../../src/dom";
import { Encoder, failureOf } from "./encoder";
import type { SavedText } from "./protocol";
import { linkToPassage } from "./text-fragment";

/** A long page is shown in parts, so that its beginning is there at once. */
const PART = 500;

const parameters = new URLSearchParams(location.search);
const url = parameters.get("url") ?? "";
const marked = parameters.get("passage");
const encoder = new Encoder(() => {});
const title = byId("title", HTMLHeadingElement);
const about = byId("about", HTMLParagraphElement);
const text = byId("text", HTMLElement);
const original = byId("original", HTMLAnchorElement);
const remove = byId("remove", HTMLButtonElement);

async function show(): Promise<void> {
  try {
    const saved = await encoder.request("readSaved", { url });
    if (saved) await render(saved);
    else say("This page is not saved", "It was removed, or saved in another window.");
  } catch (error) {
    const { code, message } = failureOf(error);
    say("The saved page cannot be read", `${message} (${code})`);
  }
}

async function render({ page, passages }: SavedText): Promise<void> {
  const hit = passages.find(({ index }) => String(index) === marked);
  document.title = page.title;
  title.textContent = page.title || page.url;
  const date = new Date(page.savedAt).toLocaleString("en-GB", { dateStyle: "long", timeStyle: "short" });
  about.textContent = `${page.url} · saved on ${date} · ${formatCount(page.passageCount, "passage")}`;
  original.href = hit ? linkToPassage(page.url, hit.text) : page.url;
  original.hidden = remove.hidden = false;

  const ordered = [...passages.filter(({ isAside }) => !isAside), ...passages.filter(({ isAside }) => isAside)];
  let heading = page.title;
  let isBeside = false;
  for (let from = 0; from < ordered.length; from += PART) {
    const part: Node[] = [];
    for (const passage of ordered.slice(from, from + PART)) {
      if (passage.isAside && !isBeside) part.push(element("h2", "beside", "Beside the main text"));
      isBeside = passage.isAside;
      if (passage.heading !== heading && passage.heading !== "") part.push(element("h2", "", passage.heading));
      heading = passage.heading;
      part.push(paragraph(passage.text, passage === hit));
    }
    text.append(...part);
    await new Promise((resolve) => setTimeout(resolve));
  }
  const mark = text.querySelector("mark")?.parentElement;
  mark?.scrollIntoView({ block: "center" });
  mark?.focus({ preventScroll: true });
}

function paragraph(content: string, isHit: boolean): HTMLParagraphElement {
  const node = element("p", "", isHit ? element("mark", "", content) : content);
  node.dir = "auto";
  if (isHit) node.tabIndex = -1; // for the keyboard and the screen reader to begin at
  return node;
}

function say(heading: string, explanation: string): void {
  title.textContent = heading;
  about.textContent = explanation;
  byId("announcer", HTMLElement).textContent = `${heading}. ${explanation}`;
}

remove.addEventListener("click", () => {
  encoder.request("removePage", { url }).then(
    () => {
      text.replaceChildren();
      original.hidden = remove.hidden = true;
      say("Removed", "The page is no longer saved.");
    },
    (error: unknown) => say("The page could not be removed", failureOf(error).message),
  );
});

void show();
