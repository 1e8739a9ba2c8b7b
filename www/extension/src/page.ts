/** The popup and the side panel. All that they know comes from the tab and from the offscreen document; they only show it. */

import { byId, formatBytes, formatCount, formatMilliseconds } from "../../src/dom";
import { Encoder, type News, RemoteError } from "./encoder";
import { ABSENT, type Hit, type ModelState, type Ranking, type Reading, type SavedPage } from "./protocol";
import { renderEmpty, renderHits, renderSavedPages } from "./results";
import { readActiveTab, showPassage, type TabPage, UnreadableError } from "./tab";

type Scope = "page" | "saved";

const DEBOUNCE_MS = 120;
/** Below this cosine the best hit is usually about something else. */
const WEAK_SCORE = 0.25;

const ADVICE: Readonly<Record<string, { title: string; advice: string }>> = {
  network: {
    title: "The model could not be fetched",
    advice:
      "Check the connection and try again. The download resumes where it stopped. After that, no network is needed.",
  },
  model_not_found: {
    title: "The model was not found",
    advice:
      "Put it into the extension's folder as the README says, or delete the folder models to download it instead.",
  },
  unauthorized: {
    title: "The model's host requires a login",
    advice: "Put the model into the extension's folder as the README says.",
  },
  integrity: {
    title: "The download was damaged",
    advice: "It was not used. Try again. If it happens twice, the copy on the server is broken.",
  },
  quota: {
    title: "There is no room left",
    advice: "Free some space on this device, or remove saved pages, then try again.",
  },
  storage: { title: "The browser's storage does not work", advice: "Restart the browser, then try again." },
};

const isPopup = location.pathname !== "/side-panel.html";
document.documentElement.dataset["view"] = isPopup ? "popup" : "side-panel";

const queryInput = byId("query", HTMLInputElement);
const results = byId("results", HTMLDivElement);
const note = byId("results-note", HTMLParagraphElement);
const save = byId("save", HTMLButtonElement);
const failure = byId("failure", HTMLDivElement);
const scopeChoice = byId("scope", HTMLFieldSetElement);

const encoder = new Encoder(onNews);

let scope: Scope = "page";
let page: TabPage | undefined;
/** Why there is no page. */
let unreadable = "";
let model: ModelState = { stage: "idle" };
let reading: Reading | undefined;
let saved: readonly SavedPage[] = [];
let saving = false;
let ranking: { scope: Scope; query: string; found: Ranking } | undefined;
let turn = 0;
let timer: ReturnType<typeof setTimeout> | undefined;

function onNews(news: News): void {
  if ("model" in news) model = news.model;
  else if ("saved" in news) saved = news.saved;
  else reading = news.reading;
  if ("saved" in news && ranking?.scope === "saved") void attempt(search);
  render();
}

// The page

/** What the tab shows may be another page by now, or the same one with another text. */
async function readPage(): Promise<void> {
  try {
    const read = await readActiveTab();
    if (read.key === page?.key) return;
    page = read;
    unreadable = "";
  } catch (error) {
    if (!(error instanceof UnreadableError)) throw error;
    page = undefined;
    unreadable = error.message;
  }
  if (ranking?.scope === "page") ranking = undefined;
  render();
  await start();
}

/** Has what is shown encoded and searched; called again after whatever stood in the way. */
async function start(): Promise<void> {
  await attempt(async () => {
    if (page && page.passages.length > 0) await encoder.request("encodePage", page);
    await search();
  });
}

/** What fails is shown, with the way to do it again. */
async function attempt(action: () => Promise<void>, again: () => void = () => void start()): Promise<void> {
  try {
    await action();
    failure.hidden = true;
  } catch (error) {
    const { code, message } =
      error instanceof RemoteError
        ? error
        : { code: "internal", message: error instanceof Error ? error.message : String(error) };
    if (code === ABSENT) return; // the model's state says so, and asks
    const known = ADVICE[code];
    byId("failure-title", HTMLHeadingElement).textContent = known?.title ?? "Something went wrong";
    byId("failure-advice", HTMLParagraphElement).textContent =
      known?.advice ?? "Try again. If it fails in the same way, reload the extension.";
    byId("failure-code", HTMLElement).textContent = code;
    byId("failure-message", HTMLSpanElement).textContent = message;
    byId("retry", HTMLButtonElement).onclick = () => {
      failure.hidden = true;
      queryInput.focus();
      again();
    };
    failure.hidden = false;
  }
  render();
}

async function savePage(): Promise<void> {
  const current = page;
  if (!current) return;
  saving = true;
  render();
  await attempt(
    async () => void (await encoder.request("savePage", current)),
    () => void savePage(),
  );
  saving = false;
  render();
  if (saved.some(({ hash }) => hash === current.hash))
    note.textContent = `Saved: ${formatCount(current.passages.length, "passage")}.`;
}

async function removePage({ url, title }: SavedPage): Promise<void> {
  await attempt(async () => void (await encoder.request("removePage", { url })));
  note.textContent = `Removed: ${title}.`;
  queryInput.focus();
}

// The search

function searchSoon(): void {
  clearTimeout(timer);
  timer = setTimeout(() => void attempt(search), DEBOUNCE_MS);
}

/** Only the newest one is shown. */
async function search(): Promise<void> {
  clearTimeout(timer);
  const current = ++turn;
  const query = queryInput.value.trim();
  const asked = scope;
  if (query === "") ranking = undefined;
  else if (asked === "page" ? page !== undefined && page.passages.length > 0 : saved.length > 0) {
    const found =
      asked === "saved" || !page ? await encoder.request("searchSaved", { query }) : await searchPage(page, query);
    if (current !== turn) return;
    ranking = { scope: asked, query, found };
    byId("main", HTMLElement).scrollTo(0, 0);
  }
  render();
}

/** The offscreen document forgets a page's vectors when it ends. */
async function searchPage(page: TabPage, query: string): Promise<Ranking> {
  for (;;) {
    const found = await encoder.request("searchPage", { key: page.key, query });
    if (found) return found;
    await encoder.request("encodePage", page);
  }
}

async function show({ text, index }: Hit): Promise<void> {
  const tabId = page?.tabId;
  if (tabId === undefined) return;
  const isThere = await showPassage(tabId, text, index).catch(() => false);
  if (isThere) return;
  await readPage();
  note.textContent = "That passage is no longer on the page. The page was read again.";
}

// What is shown

function render(): void {
  byId("scope-saved", HTMLSpanElement).textContent =
    saved.length === 0 ? "Saved pages" : `Saved pages (${saved.length.toLocaleString("en")})`;
  renderSave();
  renderWork();
  renderModel();
  renderResults();
}

function renderSave(): void {
  const isSaved = saved.some(({ hash }) => hash === page?.hash);
  save.textContent = saving ? "Saving…" : isSaved ? "Saved" : "Save this page";
  save.disabled = saving || isSaved || !page || page.passages.length === 0;
}

function renderWork(): void {
  const current =
    reading !== undefined && reading.key === page?.key && reading.loaded < reading.total ? reading : undefined;
  byId("consent", HTMLElement).hidden = model.stage !== "absent";
  byId("work", HTMLElement).hidden = model.stage !== "loading" && !current;
  if (model.stage === "loading")
    showWork(
      model.isDownload ? "Downloading the model" : "Starting the model",
      model.total > 0 ? formatBytes(model.loaded, model.total) : "",
      model.loaded,
      model.total,
    );
  else if (current)
    showWork(
      "Reading the page",
      `${current.loaded.toLocaleString("en")} of ${formatCount(current.total, "passage")}`,
      current.loaded,
      current.total,
    );
}

function showWork(label: string, detail: string, loaded: number, total: number): void {
  byId("work-label", HTMLLabelElement).textContent = label;
  byId("work-detail", HTMLOutputElement).textContent = detail;
  const bar = byId("work-progress", HTMLProgressElement);
  if (total > 0) bar.value = Math.min(1, loaded / total);
  else bar.removeAttribute("value"); // length unknown
}

function renderModel(): void {
  const parts: string[] = [];
  if (model.stage === "loading" || model.stage === "ready") {
    parts.push(
      model.source === "bundled" ? "all-MiniLM-L6-v2, part of this extension" : "all-MiniLM-L6-v2, from huggingface.co",
    );
  }
  if (model.stage === "ready") {
    if (model.source === "hub")
      parts.push(model.stored ? "stored in this browser" : `not stored: ${model.storedReason}`);
    parts.push(`${model.device === "webgpu" ? "GPU" : "CPU"}, ${model.dtype}`);
  }
  byId("model", HTMLElement).textContent = parts.join(" · ");
}

function renderResults(): void {
  if (ranking?.scope === scope && queryInput.value.trim() !== "") return renderRanking(ranking.found);
  if (scope === "saved") {
    if (saved.length > 0) draw(saved, "", () => renderSavedPages(results, saved, (page) => void removePage(page)));
    else
      drawEmpty(
        "No saved pages yet",
        "Open a page that you want to find again and press “Save this page”. Its text stays in this browser.",
      );
  } else if (page) {
    const count = page.passages.length;
    if (count === 0)
      drawEmpty("There is no text on this page", "Pictures, videos and text inside of frames cannot be searched.");
    else drawEmpty(page.title, `${formatCount(count, "passage")}. Type a question to see the closest passages first.`);
  } else if (unreadable !== "") {
    if (isPopup)
      drawEmpty(
        "This page cannot be read",
        `Browsers do not let extensions read the browser's own pages, the extension store or PDF files. You can still search saved pages. (${unreadable})`,
      );
    else
      drawEmpty(
        "This page has not been read",
        "Press the embervec button in the toolbar, or Alt+Shift+M, to let it read this page; then come back here.",
      );
  }
}

function renderRanking(found: Ranking): void {
  const weak = (found.hits[0]?.score ?? 0) < WEAK_SCORE ? " No close match." : "";
  const where = scope === "page" ? "of this page" : `of ${formatCount(saved.length, "page")}`;
  const text = `${formatCount(found.passageCount, "passage")} ${where} ranked in ${formatMilliseconds(found.milliseconds)}.${weak}`;
  draw(found, text, () =>
    scope === "page" ? renderHits(results, found.hits, (hit) => void show(hit)) : renderHits(results, found.hits),
  );
}

function drawEmpty(title: string, text: string): void {
  draw(`${title} ${text}`, "", () => renderEmpty(results, title, text));
}

let drawn: unknown;

/** Only what has changed, so that the focus stays where it is while the model reports its progress. */
function draw(what: unknown, text: string, render: () => void): void {
  if (drawn === what) return;
  drawn = what;
  note.textContent = text;
  render();
}

/** From the search box down the hits, and back. */
function moveFocus(event: KeyboardEvent): void {
  const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
  const stops: HTMLElement[] = [queryInput, ...results.querySelectorAll<HTMLElement>(".hit-target, .saved-page a")];
  const at = stops.findIndex((stop) => stop === document.activeElement);
  const next = stops[at + step];
  if (step === 0 || at === -1 || !next) return;
  event.preventDefault();
  next.focus();
}

// Wiring

queryInput.addEventListener("input", () => (queryInput.value.trim() === "" ? void search() : searchSoon()));
byId("search-form", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault();
  void attempt(search);
});
byId("clear", HTMLButtonElement).addEventListener("click", () => {
  queryInput.value = "";
  queryInput.focus();
  void search();
});
scopeChoice.addEventListener("change", (event) => {
  scope = (event.target as HTMLInputElement).value === "saved" ? "saved" : "page";
  render();
  void attempt(search);
});
save.addEventListener("click", () => void savePage());
byId("download", HTMLButtonElement).addEventListener("click", () => {
  queryInput.focus();
  void attempt(
    async () => {
      await encoder.request("load", { download: true });
      await start();
    },
    () => byId("download", HTMLButtonElement).click(),
  );
});
document.addEventListener("keydown", moveFocus);

const openSidePanel = byId("open-side-panel", HTMLButtonElement);
openSidePanel.hidden = !isPopup;
// Known before the click: the browser refuses to open it after anything has been waited for.
void chrome.windows.getCurrent().then(({ id }) => {
  if (id === undefined) return;
  openSidePanel.addEventListener("click", () => void chrome.sidePanel.open({ windowId: id }).then(() => close()));
});

if (!isPopup) {
  chrome.tabs.onActivated.addListener(() => void readPage());
  chrome.tabs.onUpdated.addListener((_id, { status }, { active }) => {
    if (active && status === "complete") void readPage();
  });
}
// The page may have changed, or been opened to the extension.
addEventListener("focus", () => void readPage());

void attempt(() => encoder.connect());
void readPage();
