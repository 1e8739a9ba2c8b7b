import { Embedder, type EmbedderInfo, semanticSearch } from "embervec";
import { Corpus, encoded, type Entry, type Ranked, type Scope } from "./corpus";
import { button, byId, formatCount, formatMilliseconds, formatSeconds } from "./dom";
import { FailurePanel } from "./failure";
import { Field } from "./field";
import { LiveSearch, type QueryVector } from "./live-search";
import { isKept, underServiceWorker } from "./offline";
import { setUpOwnText } from "./own-text";
import { EXAMPLE_QUERIES, PASSAGES } from "./passages";
import { renderByTopic, renderEmpty, renderRanking } from "./results";
import { SetupPanel } from "./setup";

const DEFAULT_MODEL = "./models/all-MiniLM-L6-v2/";
const PAGE_OF_RESULTS = 10;
/** Without a query: at first few enough that what lies below the list on a small screen stays within reach. */
const BROWSED_AT_FIRST = 36;
const BROWSE_LIMIT = 600;
const DEBOUNCE_MS = 80;
/** While passages arrive, a ranking is redone at most this often. */
const REFRESH_MS = 150;
/** Below this cosine the best hit is usually about something else. */
const WEAK_SCORE = 0.25;

const BITS = { fp32: 32, fp16: 16, q8: 8 };

const queryInput = byId("query", HTMLInputElement);
const results = byId("results", HTMLDivElement);
const resultsTitle = byId("results-title", HTMLHeadingElement);
const resultsNote = byId("results-note", HTMLParagraphElement);
const more = byId("more", HTMLButtonElement);
const scopeChoice = byId("scope", HTMLFieldSetElement);
const announcer = byId("announcer", HTMLDivElement);

const parameters = new URLSearchParams(location.search);
const setup = new SetupPanel();
const failure = new FailurePanel();
const field = new Field(byId("field", HTMLCanvasElement), byId("field-caption", HTMLElement));
const corpus = new Corpus();
corpus.add(PASSAGES, "builtin");

let embedder: Embedder | undefined;
let loading: AbortController | undefined;
let encoding: AbortController | undefined;
let scope: Scope = "builtin";
let vector: QueryVector | undefined;
let shown = PAGE_OF_RESULTS;
let browsed = BROWSED_AT_FIRST;
let encodedIn = "";

// The model

async function load(): Promise<void> {
  const model = requestedModel();
  const controller = new AbortController();
  loading = controller;
  showFact("model", modelName(model));
  showFact("device", "starting");
  showFact("reason", "");
  setup.startLoading(() => controller.abort());
  const started = performance.now();
  try {
    const previous = embedder;
    embedder = undefined;
    encoding?.abort();
    await previous?.dispose().catch(() => {}); // it is given up in any case
    corpus.forgetEmbeddings();
    vector = undefined;
    render();
    await underServiceWorker;
    embedder = await Embedder.load(model, {
      device: choice("device", ["cpu", "webgpu"]) ?? "auto",
      dtype: choice("dtype", ["fp32", "fp16", "q8"]) ?? "auto",
      progress: (event) => setup.loadProgress(event),
      signal: controller.signal,
    });
  } catch (error) {
    showFact("device", "not started");
    if (controller.signal.aborted) setup.halt("Stopped", () => void load());
    else setup.halt("Not loaded");
    if (!controller.signal.aborted)
      failure.show(error, { retryLabel: "Try again", onRetry: () => void load(), loading: true });
    render();
    return;
  } finally {
    loading = undefined;
  }
  const loadMs = performance.now() - started;
  setup.loaded(loadMs);
  showInfo(embedder, loadMs);
  announce(`The model is ready on the ${deviceName(embedder.info.device)}.`);
  // Typing is what the page is for; but whoever is in the dialog or the settings stays there, and on a touch screen the
  // keyboard would cover half the page.
  if (document.activeElement === document.body && matchMedia("(pointer: fine)").matches)
    queryInput.focus({ preventScroll: true });
  const query = queryInput.value.trim();
  if (query !== "") void search.run(query);
  await encodePending();
}

/** Encodes what has no vector yet. New text that arrives meanwhile is taken up by the same loop. */
async function encodePending(): Promise<void> {
  if (embedder === undefined || encoding !== undefined) return;
  const current = embedder;
  const controller = new AbortController();
  encoding = controller;
  let done = 0;
  let refresh: ReturnType<typeof setTimeout> | undefined;
  const started = performance.now();
  try {
    for (let pending = corpus.pending(); pending.length > 0; pending = corpus.pending()) {
      setup.startEncoding(done + pending.length, () => controller.abort());
      const stream = current.encodeStream(
        pending.map(({ text }) => text),
        { signal: controller.signal },
      );
      for await (const { index, embedding, truncated } of stream) {
        const entry = pending[index];
        if (entry === undefined) continue;
        entry.embedding = embedding;
        entry.truncated = truncated;
        done += 1;
        // Passages come in groups: what is shown after a while counts the whole group.
        refresh ??= setTimeout(() => {
          refresh = undefined;
          const seconds = (performance.now() - started) / 1000;
          setup.encodeProgress(done, done + corpus.pending().length, seconds > 0.3 ? done / seconds : 0);
          render();
        }, REFRESH_MS);
      }
      if (pending.every((entry) => entry.embedding === undefined))
        throw new Error("The encoder ended without a vector.");
    }
    encodedIn =
      done > 0 ? `${formatCount(done, "passage")} encoded in ${formatSeconds(performance.now() - started)}` : encodedIn;
    setup.hide();
    void showOffline(current.info);
    announce(`${encodedIn}.`);
  } catch (error) {
    if (embedder !== current) return; // a new start has taken over the panel
    const stopped = controller.signal.aborted;
    const again = () => void encodePending();
    if (stopped) setup.halt("Stopped", again);
    else setup.halt("Interrupted");
    if (!stopped) handleFailure(error, "Continue encoding", again);
  } finally {
    clearTimeout(refresh);
    if (encoding === controller) encoding = undefined;
  }
  render();
}

/** After the device is lost, only a new start helps; anything else can be tried again as it is. */
function handleFailure(error: unknown, retryLabel: string, retry: () => void): void {
  const lost = error instanceof Error && "code" in error && error.code === "device_lost";
  failure.show(
    error,
    lost ? { retryLabel: "Start again", onRetry: () => void load() } : { retryLabel, onRetry: retry },
  );
}

/** The folder beside this page, unless `?model=` names a hub id or another folder. */
function requestedModel(): string {
  const model = parameters.get("model")?.trim() || DEFAULT_MODEL;
  return /^\.{0,2}\//.test(model) ? new URL(model, document.baseURI).href : model;
}

function modelName(model: string): string {
  return /^[a-z]+:/i.test(model) ? (model.split(/[?#]/)[0]?.split("/").filter(Boolean).at(-1) ?? model) : model;
}

function choice<T extends string>(name: string, allowed: readonly T[]): T | undefined {
  const value = parameters.get(name);
  return allowed.find((option) => option === value);
}

// The search

const search = new LiveSearch({
  debounceMs: DEBOUNCE_MS,
  encode: (query, signal) => {
    if (embedder === undefined) throw new Error("The model is not loaded yet.");
    return embedder.encodeQuery(query, { signal });
  },
  onVector: (next) => {
    vector = next;
    shown = PAGE_OF_RESULTS;
    failure.hide();
    render();
    showResults();
    announceSoon();
  },
  onError: (error) => handleFailure(error, "Search again", () => void search.run(queryInput.value.trim())),
});

function onQuery(immediately: boolean): void {
  const query = queryInput.value.trim();
  for (const chip of byId("examples", HTMLDivElement).querySelectorAll("button")) {
    chip.setAttribute("aria-pressed", String(chip.textContent === query));
  }
  if (query === "") {
    search.cancel();
    vector = undefined;
    shown = PAGE_OF_RESULTS;
    render();
  } else if (embedder === undefined) {
    render(); // it runs as soon as the model is there
  } else if (immediately) {
    void search.run(query);
  } else {
    search.schedule(query);
  }
}

function rank(query: Float32Array, entries: readonly Entry[]): { ranked: Ranked[]; rankMs: number } {
  const ready = encoded(entries);
  const started = performance.now();
  const [hits = []] =
    ready.entries.length === 0 ? [] : semanticSearch(query, ready.embeddings, { topK: ready.entries.length });
  const rankMs = performance.now() - started;
  const ranked = hits.flatMap(({ corpusId, score }) => {
    const entry = ready.entries[corpusId];
    return entry === undefined ? [] : [{ entry, score }];
  });
  return { ranked, rankMs };
}

// What is shown

let announcement = "";

function render(): void {
  const entries = corpus.entries(scope);
  const ready = entries.reduce((count, entry) => count + (entry.embedding === undefined ? 0 : 1), 0);
  const progress = `${ready.toLocaleString("en")} of ${entries.length.toLocaleString("en")} encoded`;
  showFact("passages", ready === entries.length && encodedIn !== "" ? encodedIn : progress);
  showScope();

  if (queryInput.value.trim() !== "" && vector !== undefined) renderRanked(vector, entries, ready);
  else renderUnranked(entries);
}

function renderRanked(current: QueryVector, entries: readonly Entry[], ready: number): void {
  const { ranked, rankMs } = rank(current.embedding, entries);
  field.show(entries, new Map(ranked.map(({ entry, score }) => [entry, score])));
  const time = formatMilliseconds(current.encodeMs + rankMs);
  showFact("time", time);
  showFact("parts", `${formatMilliseconds(current.encodeMs)} to encode, ${formatMilliseconds(rankMs)} to rank`);
  resultsTitle.textContent = "Closest in meaning";
  if (ranked.length === 0) {
    resultsNote.textContent = "";
    more.hidden = true;
    renderEmpty(
      results,
      "Nothing to rank yet",
      encoding ? "The first passages are being encoded and will appear here." : "No passage is encoded yet.",
    );
    return;
  }
  const where =
    embedder === undefined
      ? ""
      : ` on the ${deviceName(embedder.info.device)} (${embedder.info.dtype}, ${simdName(embedder.info.simd)})`;
  const partly =
    ready < entries.length ? ` (${formatCount(entries.length - ready, "more is", "more are")} not encoded yet)` : "";
  const weak = (ranked[0]?.score ?? 0) < WEAK_SCORE ? " No close match." : "";
  resultsNote.textContent = `${formatCount(ready, "passage")} ranked in ${time}${where}${partly}.${weak}`;
  announcement = `${resultsNote.textContent} Closest: ${ranked[0]?.entry.text ?? ""}`;
  renderRanking(results, ranked.slice(0, shown));
  showMore(ranked.length);
}

function renderUnranked(entries: readonly Entry[]): void {
  field.show(entries);
  const waiting = queryInput.value.trim() !== "";
  resultsTitle.textContent =
    scope === "own" ? "Your text" : scope === "all" ? "All passages" : `The ${formatCount(entries.length, "passage")}`;
  resultsNote.textContent = !waiting
    ? (scope === "own" ? "In original order." : "Written for this demo, by topic.") +
      " Type a query to rank by meaning."
    : embedder !== undefined || loading !== undefined
      ? "Your query runs as soon as the model is ready."
      : "The model is not loaded, so nothing can be ranked.";
  more.hidden = browsed === BROWSE_LIMIT || entries.length <= browsed;
  more.textContent = `Show ${entries.length > BROWSE_LIMIT ? `${BROWSE_LIMIT} of` : "all"} ${entries.length.toLocaleString("en")}`;
  if (entries.length === 0)
    renderEmpty(results, "No passages here", "Add your own text, or search the demo's passages.");
  else if (results.dataset["browsing"] !== browsingKey(entries)) renderByTopic(results, entries, browsed);
  results.dataset["browsing"] = browsingKey(entries);
}

/** The search box follows the page, so a new ranking may be above what is in sight. */
function showResults(): void {
  const area = byId("results-area", HTMLElement);
  if (area.getBoundingClientRect().top < 0) area.scrollIntoView();
}

/** The unranked list stays as it is while passages are encoded. */
function browsingKey(entries: readonly Entry[]): string {
  return `${scope} ${entries.length} ${browsed} ${results.querySelector(".topic-group") === null ? "" : "drawn"}`;
}

function showMore(total: number): void {
  more.hidden = shown >= total;
  more.textContent = `Show ${Math.min(PAGE_OF_RESULTS, total - shown)} more of ${total.toLocaleString("en")}`;
}

function showScope(): void {
  const own = corpus.count("own");
  scopeChoice.hidden = own === 0;
  byId("own-remove", HTMLButtonElement).hidden = own === 0;
  byId("own-open", HTMLButtonElement).textContent = own === 0 ? "Use your own text" : "Add more text";
  byId("scope-own-label", HTMLSpanElement).textContent = `Yours (${own.toLocaleString("en")})`;
  for (const radio of scopeChoice.querySelectorAll("input")) radio.checked = radio.value === scope;
}

function showInfo(embedder: Embedder, loadMs: number): void {
  const { info } = embedder;
  showDevice(info);
  // A bulk job may find a faster device.
  for (const change of ["device", "workers"] as const)
    embedder.addEventListener(change, () => showDevice(embedder.info));
  showFact("simd", simdName(info.simd));
  showFact("kernels", `fastest here: ${info.kernels}`);
  showFact("dtype", info.dtype);
  showFact("dtype-meaning", `${BITS[info.dtype]} bits per number`);
  showFact("load", formatSeconds(loadMs));
  showFact("load-source", info.cached ? "from this browser's storage" : "downloaded");
  showFact("dimension", `${info.dimension} numbers per text`);
}

function showDevice(info: EmbedderInfo): void {
  showFact("device", deviceName(info.device) + (info.workers > 1 ? `, up to ${info.workers} workers` : ""));
  showFact("reason", info.deviceReason);
}

/** Where the GPU is a choice, the CPU does its work offline. */
async function showOffline({ simd, stored }: EmbedderInfo): Promise<void> {
  const artefacts = [`embervec-${simd}`];
  if (choice("device", ["webgpu"])) artefacts.push("embervec-webgpu");
  byId("offline", HTMLParagraphElement).hidden = !(stored && (await isKept(artefacts)));
}

function deviceName(device: string): string {
  return device === "webgpu" ? "GPU (WebGPU)" : device === "cpu" ? "CPU" : device;
}

function simdName(simd: string): string {
  return simd === "relaxed" ? "relaxed SIMD" : "SIMD";
}

function showFact(name: string, text: string): void {
  byId(`fact-${name}`, HTMLElement).textContent = text;
}

let announceTimer: ReturnType<typeof setTimeout> | undefined;

function announce(text: string): void {
  announcer.textContent = text;
}

/** A screen reader hears the outcome when the typing pauses, not each letter's. */
function announceSoon(): void {
  clearTimeout(announceTimer);
  announceTimer = setTimeout(() => announce(announcement), 700);
}

// Wiring

byId("examples", HTMLDivElement).append(
  ...EXAMPLE_QUERIES.map((query) =>
    button(query, "chip", () => {
      queryInput.value = query;
      onQuery(true);
    }),
  ),
);
byId("passage-count", HTMLSpanElement).textContent = String(PASSAGES.length);

queryInput.addEventListener("input", () => onQuery(false));
byId("search-form", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault();
  onQuery(true);
});
addEventListener("keydown", (event) => {
  const target = event.target;
  const typing =
    target instanceof HTMLInputElement || target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement;
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    queryInput.focus();
    queryInput.select();
  } else if (event.key === "Escape" && target === queryInput && queryInput.value !== "") {
    event.preventDefault();
    queryInput.value = "";
    onQuery(true);
  }
});
byId("clear", HTMLButtonElement).addEventListener("click", () => {
  queryInput.value = "";
  onQuery(true);
  queryInput.focus();
});
more.addEventListener("click", () => {
  const first = results.querySelectorAll("li").length;
  if (results.querySelector(".hit") === null) browsed = BROWSE_LIMIT;
  else shown += PAGE_OF_RESULTS;
  render();
  const item = results.querySelectorAll("li")[first];
  item?.setAttribute("tabindex", "-1");
  item?.focus({ preventScroll: true });
});
scopeChoice.addEventListener("change", (event) => {
  if (!(event.target instanceof HTMLInputElement)) return;
  scope = event.target.value as Scope;
  shown = PAGE_OF_RESULTS;
  render();
});
setUpOwnText((passages) => {
  corpus.add(passages, "own");
  scope = "own";
  shown = PAGE_OF_RESULTS;
  encodedIn = "";
  queryInput.focus({ preventScroll: true });
  announce(`${formatCount(passages.length, "passage")} of your own added.`);
  render();
  showResults();
  void encodePending();
});
byId("own-remove", HTMLButtonElement).addEventListener("click", () => {
  corpus.remove("own");
  scope = "builtin";
  shown = PAGE_OF_RESULTS;
  encodedIn = "";
  render();
  byId("own-open", HTMLButtonElement).focus();
});

const settings = byId("settings", HTMLFormElement);
for (const control of settings.querySelectorAll<HTMLInputElement | HTMLSelectElement>("[name]")) {
  control.value = parameters.get(control.name) ?? "";
}
settings.addEventListener("formdata", ({ formData }) => {
  for (const name of ["model", "device", "dtype"]) if (formData.get(name) === "") formData.delete(name);
});

render();
void load();
