/** The popup and the side panel. All that they know comes from the tab and from the offscreen document; they only show it. */

import { byId, formatBytes, formatCount, formatMilliseconds } from "../../src/dom";
import { EncodeAgain } from "./encode-again";
import { Encoder, failureOf, type News } from "./encoder";
import { hashOf } from "./hash";
import {
  ABSENT,
  type Failure,
  type Hit,
  type ModelState,
  type Progress,
  type Ranking,
  type SavedList,
  type SavedPage,
} from "./protocol";
import { renderEmpty, renderHits, renderSavedPages } from "./results";
import { allowStoring, mayStore, readAsked, readSettings, writeAsked } from "./settings";
import { type Mark, ShownTab, type TabPage } from "./tab";
import { explain, type Unreadable } from "./unreadable";

type Scope = "page" | "saved" | "both";

const DEBOUNCE_MS = 120;
/** While more of a page is encoded, its hits are ranked anew so often. */
const REFRESH_MS = 250;
/** Passages that go to the encoder at a time. */
const PART = 2000;
/** Below this cosine the best hit is usually about something else. */
const WEAK_SCORE = 0.25;
/** What the screen reader hears is said after a pause, not for every refresh. */
const ANNOUNCE_MS = 1000;

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
  model_mismatch: {
    title: "The saved pages are of another model",
    advice: "Choose “Saved pages” and press “Encode again”, then try again.",
  },
};

const savedAdvice = () => (saved.pages.length > 0 ? ["You can still search saved pages."] : []);

const isPopup = location.pathname !== "/side-panel.html";
document.documentElement.dataset["view"] = isPopup ? "popup" : "side-panel";

const queryInput = byId("query", HTMLInputElement);
const results = byId("results", HTMLDivElement);
const note = byId("results-note", HTMLParagraphElement);
const save = byId("save", HTMLButtonElement);
const stopButton = byId("stop", HTMLButtonElement);
const clearMark = byId("clear-mark", HTMLButtonElement);
const privately = byId("private", HTMLElement);
const failure = byId("failure", HTMLDivElement);
const scopeChoice = byId("scope", HTMLFieldSetElement);

const encoder = new Encoder(onNews, () => (sent = undefined));
const encodeAgain = new EncodeAgain(
  byId("encode-again", HTMLButtonElement),
  byId("encode-again-progress", HTMLElement),
  encoder,
  startEncodingAgain,
);
const shown = new ShownTab({ onPage, onMore, onMark, onGone });

let scope: Scope = "page";
/** Why there is no page; `undefined` while it is not known yet. */
let unreadable: Unreadable | undefined;
let model: ModelState = { stage: "idle" };
let progress: Progress | undefined;
let mark: Mark | undefined;
let saved: SavedList = { pages: [], bytes: 0, isOtherModel: false };
/** Of the page that is shown, once all of it has been read. */
let hash: { key: string; hash: string } | undefined;
let saving = false;
/** What the encoder has of the page. */
let sent: { key: string; count: number; isEnd: boolean } | undefined;
let ranking: { scope: Scope; key: string; query: string; found: Ranking; isRefresh: boolean } | undefined;
/** A hit that is no longer where it was: it is looked for in the page as it is now. */
let lost: { text: string; query: string } | undefined;
/** Stands before what is said of the hits, until something else is asked. */
let notice = "";
/** Whether the browser lets the extension read files of this device. */
let mayReadFiles = false;
let turn = 0;
let timer: ReturnType<typeof setTimeout> | undefined;
let refreshing: ReturnType<typeof setTimeout> | undefined;
let isRestored = false;

/** Which saved pages there were when they were searched last. */
let listed = "";
const pagesOf = ({ pages, isOtherModel }: SavedList) =>
  `${isOtherModel} ${pages.map(({ url, savedAt }) => `${savedAt} ${url}`).join(" ")}`;

function onNews(news: News): void {
  if ("model" in news) model = news.model;
  else if ("saved" in news) saved = news.saved;
  else if ("savedFailure" in news) showFailure(news.savedFailure, () => void attempt(() => search()));
  else if (news.progress.key === shown.page?.key) {
    progress = news.progress;
    if (progress.failure && progress.failure.code !== ABSENT) showFailure(progress.failure, goOn);
    refreshSoon();
  }
  if ("saved" in news && scope !== "page" && listed !== pagesOf(saved)) void attempt(() => search());
  if ("saved" in news) listed = pagesOf(saved);
  if (model.stage === "ready" && ranking?.found.isByWords) void attempt(() => search());
  render();
}

// The page

function onPage(page: TabPage | undefined, why: Unreadable | undefined): void {
  notice = "";
  unreadable = why;
  progress = undefined;
  mark = undefined;
  // A page that is read again keeps its hits until there are new ones.
  const isOld = () => ranking?.scope === "both" || ranking?.found.hits[0]?.url !== page?.url;
  if (ranking && ranking.scope !== "saved" && (!page || isOld())) {
    ranking = undefined;
    turn += 1;
  }
  render();
  if (page) {
    void attempt(async () => {
      // First the query: without one a search would take the mark away that is to be shown.
      await restore(page);
      await Promise.all([search(), sync().then(() => search())]);
    });
  } else if (sent) {
    sent = undefined;
    void attempt(async () => void (await encoder.request("leavePage", null)));
  }
}

function onMore(page: TabPage): void {
  if (page.end && hash?.key !== page.key) void hashPage(page);
  if (page.end && lost) {
    const { text, query } = lost;
    lost = undefined;
    const index = page.passages.findIndex(([other]) => other === text);
    if (index === -1) notice = "That passage is no longer on the page. The page was read again. ";
    else shown.show(query, [index], 0);
  }
  void attempt(sync);
  render();
}

function onMark(news: Mark): void {
  mark = news;
  render();
}

function onGone(index: number): void {
  const { page } = shown;
  const text = page?.passages[index]?.[0];
  if (!page || text === undefined) return;
  lost = { text, query: queryInput.value.trim() };
  page.isStale = true;
  void shown.read();
}

async function hashPage(page: TabPage): Promise<void> {
  const found = await hashOf(page.url, page.passages);
  if (shown.page?.key !== page.key) return;
  hash = { key: page.key, hash: found };
  render();
}

let syncing: Promise<void> = Promise.resolve();

/** Gives the encoder what it does not have of the page yet, one part after the other. */
function sync(): Promise<void> {
  syncing = syncing.catch(() => {}).then(syncPage);
  return syncing;
}

async function syncPage(): Promise<void> {
  const { budget } = await settings;
  for (;;) {
    const { page } = shown;
    if (!page) return;
    const { key, url, title } = page;
    if (sent?.key !== key) sent = undefined;
    const from = sent?.count ?? 0;
    const isAllFound = page.end !== undefined;
    if (sent && from === page.passages.length && sent.isEnd === isAllFound) return;
    const passages = page.passages.slice(from, from + PART);
    const isEnd = isAllFound && from + passages.length === page.passages.length;
    const count = await encoder.request("showPage", { key, url, title, from, passages, isEnd, budget });
    if (shown.page?.key === key) sent = { key, count, isEnd: isEnd && count === page.passages.length };
  }
}

/** The popup forgets all when it closes. */
async function restore({ tabId }: TabPage): Promise<void> {
  if (isRestored) return;
  isRestored = true;
  const asked = await readAsked(tabId);
  // What was typed before it was known in which tab.
  if (queryInput.value !== "") return remember();
  if (!asked) return;
  queryInput.value = asked.query;
  queryInput.select();
  scope = scopeOf(asked.scope);
  byId(`scope-${scope}-input`, HTMLInputElement).checked = true;
  render();
}

const scopeOf = (text: string): Scope => (text === "saved" || text === "both" ? text : "page");

function remember(): void {
  const tabId = shown.page?.tabId;
  if (tabId !== undefined) void writeAsked(tabId, { query: queryInput.value.trim(), scope });
}

/** What fails is shown, with the way to do it again. */
async function attempt(action: () => Promise<void>, again: () => void = goOn): Promise<void> {
  try {
    await action();
    failure.hidden = true;
  } catch (error) {
    const failed = failureOf(error);
    if (failed.code === ABSENT) return; // the model's state says so, and asks
    showFailure(failed, again);
  }
  render();
}

function showFailure({ code, message }: Failure, again: () => void): void {
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

/** After whatever stood in the way: encodes on where it stopped. */
function goOn(): void {
  void attempt(async () => {
    await sync();
    const key = shown.page?.key;
    if (key !== undefined) await encoder.request("encodePage", { key });
    await search();
  });
}

async function stop(): Promise<void> {
  const key = shown.page?.key;
  if (key !== undefined) await attempt(async () => void (await encoder.request("stopPage", { key })));
}

async function savePage(): Promise<void> {
  const current = shown.page;
  if (!current) return;
  if (!(await mayStore())) {
    privately.hidden = false;
    byId("private-allow", HTMLButtonElement).focus();
    return;
  }
  saving = true;
  render();
  await attempt(
    async () => {
      await sync();
      const page = await encoder.request("savePage", { key: current.key });
      if (page) say(`Saved: ${formatCount(page.passageCount, "passage")}.`);
    },
    () => void savePage(),
  );
  saving = false;
  render();
}

async function removePage({ url, title }: SavedPage): Promise<void> {
  await attempt(async () => void (await encoder.request("removePage", { url })));
  say(`Removed: ${title}.`);
  queryInput.focus();
}

// The search

function searchSoon(): void {
  clearTimeout(timer);
  timer = setTimeout(() => void attempt(() => search()), DEBOUNCE_MS);
}

/** Only the newest one is shown, and only for the page that is. */
async function search(isRefresh = false): Promise<void> {
  clearTimeout(timer);
  const current = ++turn;
  const query = queryInput.value.trim();
  const asked = scope;
  const { page } = shown;
  if (!isRefresh && query !== "" && mark?.index !== undefined && mark.query !== query) shown.clearMark();
  // Where there is no page to search, both are the saved ones alone.
  const isPage = asked !== "saved" && page !== undefined;
  if (query === "") ranking = undefined;
  else if (isPage || (asked !== "page" && saved.pages.length > 0)) {
    const found = isPage ? await searchPage(page, query, asked) : await encoder.request("searchSaved", { query });
    if (current !== turn || !found || (asked !== "saved" && shown.page?.key !== page?.key)) return;
    const key = isPage ? page.key : "";
    ranking = { scope: asked, key, query, found, isRefresh };
    if (!isRefresh) byId("main", HTMLElement).scrollTo(0, 0);
    if (found.isByWords) void awaitModel();
  }
  render();
}

/** The offscreen document forgets a page when it ends. */
async function searchPage(page: TabPage, query: string, asked: Scope): Promise<Ranking | undefined> {
  while (shown.page === page) {
    await sync();
    const found = await encoder.request(asked === "both" ? "searchBoth" : "searchPage", { key: page.key, query });
    if (found) return found;
    sent = undefined;
  }
  return undefined;
}

/** More of the page has been encoded. A list that somebody points at, or is in, stays as it is meanwhile. */
function refreshSoon(): void {
  const isOld = () =>
    scope !== "saved" && ranking?.scope === scope && countOnPage(ranking.found) < (progress?.encoded ?? 0);
  if (refreshing !== undefined || !isOld()) return;
  refreshing = setTimeout(() => {
    refreshing = undefined;
    const isHeld = results.matches(":hover") || results.contains(document.activeElement);
    if (isOld() && !isHeld && ranking?.query === queryInput.value.trim()) void attempt(() => search(true));
  }, REFRESH_MS);
}

/** Of the passages that were ranked, those of the page that is shown. */
function countOnPage({ passageCount, savedCount = 0 }: Ranking): number {
  return passageCount - savedCount;
}

function show({ index }: Hit): void {
  if (!ranking) return;
  const { found, query, key } = ranking;
  const { page } = shown;
  if (key !== page?.key) return;
  // The browser's viewer lets nobody mark anything, but opens a file at a page.
  if (page.pages) return void chrome.tabs.create({ url: `${page.url}#page=${page.pages[index] ?? 1}` });
  const hits = found.hits.filter(({ savedAt }) => savedAt === undefined).map((hit) => hit.index);
  shown.show(query, hits, hits.indexOf(index));
}

/** What has been found by words is found by meaning once the model is there, which `onNews` hears. */
let isComing = false;

async function awaitModel(): Promise<void> {
  if (isComing) return;
  isComing = true;
  await attempt(async () => void (await encoder.request("load", { download: false })));
  isComing = false;
}

/** Of saved pages that are of another model. */
function startEncodingAgain(): void {
  void attempt(async () => {
    const outcome = await encodeAgain.run();
    notice = `${outcome} `;
    say(outcome);
    await search();
  }, startEncodingAgain);
}

// What is shown

function render(): void {
  byId("scope-saved", HTMLSpanElement).textContent =
    saved.pages.length === 0 ? "Saved pages" : `Saved pages (${saved.pages.length.toLocaleString("en")})`;
  renderOtherModel();
  renderSave();
  renderWork();
  renderModel();
  renderResults();
  clearMark.hidden = scope === "saved" || mark?.index === undefined;
}

/** Pages that were saved with another model are found by words only, until they have been encoded again. */
function renderOtherModel(): void {
  byId("other-model", HTMLElement).hidden = !saved.isOtherModel || scope === "page";
  encodeAgain.show(saved);
}

function renderSave(): void {
  const { page } = shown;
  const isSaved = hash?.key === page?.key && saved.pages.some((other) => other.hash === hash?.hash);
  const isSaving = saving || progress?.isSaving === true;
  save.textContent = isSaving ? "Saving…" : isSaved ? "Saved" : "Save this page";
  save.disabled = isSaving || isSaved || !page?.end || page.passages.length === 0;
}

function renderWork(): void {
  byId("consent", HTMLElement).hidden = model.stage !== "absent";
  const work = byId("work", HTMLElement);
  stopButton.hidden = true;
  work.hidden = false;
  if (model.stage === "loading") {
    showWork(
      model.isDownload ? "Downloading the model" : "Starting the model",
      model.total > 0 ? formatBytes(model.loaded, model.total) : "",
      model.loaded,
      model.total,
    );
  } else if (
    progress &&
    /^(encoding|paused|stopped)$/.test(progress.state) &&
    (scope !== "saved" || progress.isSaving)
  ) {
    const { state, encoded, total, isSaving } = progress;
    const label = { encoding: "Reading the page", paused: "Read so far", stopped: "Stopped" }[state as "encoding"];
    showWork(
      isSaving ? "Saving the page" : label,
      `${encoded.toLocaleString("en")} of ${total.toLocaleString("en")}`,
      encoded,
      total,
    );
    stopButton.hidden = false;
    stopButton.textContent = state === "encoding" ? "Stop" : "Read on";
  } else if (scope !== "saved" && ranking?.scope === scope && failure.hidden && isFindingMore()) {
    showWork("Reading the page", "", 0, 0);
  } else work.hidden = true;
}

/** Whether the page has, or may have, passages that the encoder has not heard of yet. */
function isFindingMore(): boolean {
  const { page } = shown;
  if (page === undefined) return false;
  return page.end === undefined || (progress?.total ?? 0) < page.passages.length;
}

function showWork(label: string, detail: string, loaded: number, total: number): void {
  byId("work-label", HTMLLabelElement).textContent = label;
  byId("work-detail", HTMLSpanElement).textContent = detail;
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
  byId("model", HTMLParagraphElement).textContent = parts.join(" · ");
}

function renderResults(): void {
  const { page } = shown;
  if (ranking?.scope === scope && queryInput.value.trim() !== "") return renderRanking(ranking.found);
  if (scope === "saved") {
    const { pages } = saved;
    if (pages.length > 0)
      draw(pagesOf(saved), "", () => renderSavedPages(results, pages, (page) => void removePage(page)));
    else
      drawEmpty(
        "No saved pages yet",
        "Open a page that you want to find again and press “Save this page”. Its text stays in this browser.",
      );
  } else if (page) {
    const count = page.passages.length;
    if (count > 0)
      drawEmpty(
        page.title,
        `${formatCount(count, "passage")}. Type a question to see the closest passages first.`,
        ...gapsOf(page),
      );
    else if (page.end?.problem !== undefined)
      drawEmpty("This PDF file cannot be read", page.end.problem, ...savedAdvice());
    else if (page.end)
      drawEmpty("There is no text on this page", "Text in pictures and videos cannot be searched.", ...gapsOf(page));
    else drawEmpty(page.title, "Reading the page…");
  } else if (unreadable === undefined) drawEmpty("Reading the page…", "");
  else {
    const { title, advice } = explain(unreadable, { isPopup, mayReadFiles });
    drawEmpty(title, advice, ...savedAdvice());
  }
}

/** What of the page cannot be found, in sentences. */
function gapsOf({ end, passages }: TabPage): string[] {
  const { unreadable = [], isCut = false, notes = [], problem } = end ?? {};
  const hosts = [...new Set(unreadable.filter((host) => host !== ""))];
  const named = hosts.length === 0 ? "" : ` (${hosts.slice(0, 3).join(", ")}${hosts.length > 3 ? ", …" : ""})`;
  const sentences = [...notes];
  if (problem !== undefined) sentences.push(`${problem} What comes before that was read.`);
  if (unreadable.length === 1)
    sentences.push(`One frame${named} cannot be read, because the browser keeps it apart from this page.`);
  else if (unreadable.length > 1)
    sentences.push(
      `${unreadable.length} frames${named} cannot be read, because the browser keeps them apart from this page.`,
    );
  if (isCut)
    sentences.push(`The page is very long: only its first ${formatCount(passages.length, "passage")} are read.`);
  return sentences;
}

function renderRanking(found: Ranking): void {
  const onPage = scope !== "saved";
  const scores = found.hits.flatMap(({ score }) => score ?? []);
  const weak = scores.length > 0 && Math.max(...scores) < WEAK_SCORE ? " No close match." : "";
  const where = whereOf(ranking?.key ?? "");
  const gaps = onPage && shown.page ? gapsOf(shown.page).map((gap) => ` ${gap}`) : [];
  const time = formatMilliseconds(found.milliseconds);
  const count = formatCount(found.passageCount, "passage");
  const how = found.isByWords
    ? `searched by words only, because the model is not ${model.stage === "absent" ? "downloaded" : "there yet"}.`
    : `ranked in ${time}.`;
  const none = found.hits.length === 0 ? " None has a word of your query." : "";
  const text = `${notice}${count} ${where} ${how}${none}${weak}${gaps.join("")}`;
  const marked = mark?.key === ranking?.key ? mark?.index : undefined;
  const isRefresh = ranking?.isRefresh === true || drawnRanking === ranking?.query;
  draw(`${ranking?.query} ${scope} ${text} ${marked ?? ""}`, text, () => {
    renderHits(results, found.hits, { onShow: show, marked, isRefresh });
  });
  drawnRanking = ranking?.query;
}

function whereOf(key: string): string {
  if (scope === "page") return "of this page";
  const pages = formatCount(saved.pages.length, "saved page");
  return scope === "both" && key !== "" ? `of this page and ${pages}` : `of ${pages}`;
}

function drawEmpty(title: string, ...texts: string[]): void {
  draw(`${title} ${texts.join(" ")}`, "", () => renderEmpty(results, title, ...texts));
}

let drawn: unknown;
/** The query whose hits are in the list. */
let drawnRanking: string | undefined;

/** Only what has changed, so that the focus stays where it is while the model reports its progress. */
function draw(what: unknown, text: string, render: () => void): void {
  if (drawn === what) return;
  drawn = what;
  drawnRanking = undefined;
  say(text);
  render();
}

let announcing: ReturnType<typeof setTimeout> | undefined;

function say(text: string): void {
  note.textContent = text;
  clearTimeout(announcing);
  announcing = setTimeout(() => (byId("announcer", HTMLParagraphElement).textContent = note.textContent), ANNOUNCE_MS);
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

const settings = readSettings();
void chrome.extension.isAllowedFileSchemeAccess().then((isAllowed) => {
  mayReadFiles = isAllowed;
  render();
});

queryInput.addEventListener("input", () => {
  notice = "";
  remember();
  if (shown.page?.isStale) void shown.read();
  if (queryInput.value.trim() === "") void attempt(() => search());
  else searchSoon();
});
byId("search-form", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault();
  void attempt(() => search());
});
byId("clear", HTMLButtonElement).addEventListener("click", () => {
  queryInput.value = "";
  queryInput.focus();
  remember();
  void attempt(() => search());
});
scopeChoice.addEventListener("change", (event) => {
  scope = scopeOf((event.target as HTMLInputElement).value);
  remember();
  render();
  void attempt(() => search());
});
save.addEventListener("click", () => void savePage());
stopButton.addEventListener("click", () => {
  if (progress?.state === "encoding") void stop();
  else goOn();
});
clearMark.addEventListener("click", () => {
  shown.clearMark();
  queryInput.focus();
});
byId("private-allow", HTMLButtonElement).addEventListener("click", () => {
  privately.hidden = true;
  save.focus();
  allowStoring();
  void savePage();
});
byId("private-cancel", HTMLButtonElement).addEventListener("click", () => {
  privately.hidden = true;
  save.focus();
});
byId("download", HTMLButtonElement).addEventListener("click", () => {
  queryInput.focus();
  void attempt(
    async () => {
      await encoder.request("load", { download: true });
      await search();
    },
    () => byId("download", HTMLButtonElement).click(),
  );
});
byId("options", HTMLButtonElement).addEventListener("click", () => void chrome.runtime.openOptionsPage());
document.addEventListener("keydown", moveFocus);
results.addEventListener("mouseleave", refreshSoon);
results.addEventListener("focusout", refreshSoon);

const openSidePanel = byId("open-side-panel", HTMLButtonElement);
openSidePanel.hidden = !isPopup;
// Known before the click: the browser refuses to open it after anything has been waited for.
void chrome.windows.getCurrent().then(({ id }) => {
  if (id === undefined) return;
  openSidePanel.addEventListener("click", () => void chrome.sidePanel.open({ windowId: id }).then(() => close()));
  if (isPopup) return;
  chrome.tabs.onActivated.addListener(({ windowId }) => {
    if (windowId !== id) return;
    shown.leave();
    void shown.read();
  });
  chrome.tabs.onUpdated.addListener((_id, { status, url }, { active, windowId }) => {
    if (active && windowId === id && (status === "complete" || url !== undefined)) void shown.read();
  });
});
// The page may have changed, or been opened to the extension.
addEventListener("focus", () => void shown.read());

void attempt(() => encoder.connect());
void shown.read();
