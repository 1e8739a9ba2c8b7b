/** Puts the page's parts together. */

import { clearCache, type Embedder } from "embervec";
import { Adding, type Source } from "./adding";
import { AddView } from "./add-view";
import { addressOf, type Place, pushAddress, readAddress } from "./address";
import { announce } from "./announcer";
import { ask, setUpAsk } from "./ask";
import type { Collection } from "./collection";
import { CollectionsView } from "./collections-view";
import { button, byId } from "./dom";
import { codeOf } from "./errors";
import { type Attempt, FailurePanel, type Remedy } from "./failure";
import { Library } from "./library";
import { MapView } from "./map-view";
import { Model } from "./model";
import { chooseModel, chosenModel, DEFAULT_CHOICE, type ModelChoice } from "./models";
import { Panel } from "./panel";
import { type Passage, ReaderView } from "./reader-view";
import { forgetAll } from "./remembered";
import { ReportView } from "./report-view";
import { SearchView } from "./search-view";

setUpAsk();
const start = readAddress();
const library = new Library();
const model = new Model(chosenModel());
const failure = new FailurePanel();
const reader = new ReaderView(onReaderClosed);
const map = new MapView(open);
const report = new ReportView();
const addings = new Set<Adding>();
const fail = (error: unknown) => failure.show(error);

const panel = new Panel(model, {
  load: () => void model.load(),
  switchModel,
  eraseAll: () => void eraseAll().catch(fail),
  vectorBytes: () => library.collections.reduce((sum, { index }) => sum + index.info.memoryBytes, 0),
});

const search: SearchView = new SearchView(library, start, {
  open,
  addressOf: (hit) => addressOf({ ...search.address, open: placeOf(hit) }),
  fail: (error, retry) => failWith(error, { label: "Search again", run: retry }, "search"),
  succeed: () => failure.settle("search"),
  onTime: (encodeMs, searchMs) => panel.showQuery(encodeMs, searchMs),
  onVector: (vector) => map.light(vector),
  modelNote,
  add: () => addView.open(),
});

const collectionsView = new CollectionsView(library, {
  open,
  stopAdding,
  rebuild: (collection) => void library.rebuild(collection).then(() => search.refresh(), fail),
  switchModel: (address) => switchModel({ ...DEFAULT_CHOICE, model: address }),
  fail,
  failImport: (error) => failure.show(error, { importing: true }),
});

const addView = new AddView(
  library,
  (name, source) => void add(name, source).catch(fail),
  () => {
    const [only, ...others] = search.collections;
    return others.length === 0 && only?.kind === "own" ? only.name : undefined;
  },
);

// The model

let attached: Embedder | undefined;
model.addEventListener("change", () => {
  const { state, embedder, error } = model;
  search.useModel(embedder);
  if (embedder !== attached) void attach(embedder);
  if (state === "failed") failWith(error, { label: "Try again", run: () => void model.load() }, "model");
  else if (state === "loading") failure.settle("model");
});

async function attach(embedder: Embedder | undefined): Promise<void> {
  attached = embedder;
  await library.attach(embedder);
  if (embedder === undefined) return;
  for (const collection of library.collections) if (collection.waiting !== undefined) resume(collection);
  announce("The model is ready: you can search by meaning.");
  search.refresh();
}

function switchModel(choice: ModelChoice): void {
  for (const adding of addings) adding.stop();
  chooseModel(choice);
  void model.load(choice);
}

function modelNote(): string {
  if (model.state === "stopped") return "The model was stopped.";
  if (model.state === "failed") return "There is no model.";
  return model.state === "loading" ? "The model is still on its way." : "";
}

/** After the device is lost, only a new start helps; anything else can be tried again as it is. */
function failWith(error: unknown, retry: Remedy, of: Attempt): void {
  const isLoading = of === "model";
  const { choice } = model;
  const code = codeOf(error);
  const isLost = code === "device_lost";
  const isOwn = choice.model === DEFAULT_CHOICE.model;
  const remedies = [isLost ? { label: "Start again", run: () => void model.load() } : retry];
  if (isLoading && !isOwn)
    remedies.push({
      label: "Use the demo's model",
      run: () => switchModel({ ...choice, model: DEFAULT_CHOICE.model }),
    });
  if (code === "unsupported_device")
    remedies.push({
      label: "Use the automatic choices",
      run: () => switchModel({ ...DEFAULT_CHOICE, model: choice.model }),
    });
  if (isLost) remedies.push({ label: "Run on the CPU", run: () => switchModel({ ...choice, device: "cpu" }) });
  failure.show(error, isLoading ? { remedies, of, loading: isOwn ? "own" : "other" } : { remedies, of });
}

// Documents

async function add(name: string, source: Source): Promise<void> {
  const collection = library.find(name) ?? (await library.create(name));
  search.focus();
  await follow(collection, source);
}

/** What was still waiting for the model when the page was left. */
function resume(collection: Collection): void {
  const isUnderWay = [...addings].some((adding) => adding.collection === collection);
  if (!isUnderWay) void follow(collection, undefined);
}

async function follow(collection: Collection, source: Source | undefined): Promise<void> {
  const adding = new Adding(collection);
  addings.add(adding);
  map.hold(true);
  report.follow(adding);
  adding.addEventListener("change", () => panel.showSpeed(adding.progress?.passagesPerSecond ?? 0));
  await adding.run(source);
  addings.delete(adding);
  map.hold(addings.size > 0);
  search.refresh();
}

function stopAdding(collection: Collection): void {
  for (const adding of addings) if (adding.collection === collection) adding.stop();
}

async function eraseAll(): Promise<void> {
  const text = "All collections, stored models and choices are deleted from this browser. This cannot be undone.";
  if ((await ask({ title: "Delete everything?", text, ok: "Delete everything" })) === undefined) return;
  for (const adding of addings) adding.stop();
  model.stop();
  await library.removeAll();
  await clearCache();
  forgetAll();
  location.assign(new URL(".", location.href));
}

// What is shown

library.addEventListener("change", () => {
  collectionsView.show();
  search.showChoices();
  map.show(search.collections);
  showExamples();
  showTypesSoon();
  search.refresh();
  openFromAddress();
});

function showExamples(): void {
  const queries = library.corpora.filter((corpus) => library.isOpen(corpus)).flatMap(({ examples = [] }) => examples);
  const group = byId("examples", HTMLDivElement);
  if (group.dataset["queries"] === queries.join("\n")) return;
  group.dataset["queries"] = queries.join("\n");
  if (queries.length > 0) group.removeAttribute("aria-busy");
  group.replaceChildren(...queries.map((query) => button(query, "chip", () => search.ask(query))));
}

let typesTimer: ReturnType<typeof setTimeout> | undefined;

/** While documents are added, their types are looked at now and then. */
function showTypesSoon(): void {
  typesTimer ??= setTimeout(() => {
    typesTimer = undefined;
    // One that is closed meanwhile is not asked again.
    void showTypes().catch(showTypesSoon);
  }, 500);
}

async function showTypes(): Promise<void> {
  const types = await Promise.all(library.collections.map((collection) => collection.types()));
  search.showChoices([...new Set(types.flat())].sort());
}

// The reading view. What it shows is in the address: Back closes it.

let wanted: Place | undefined = start.open;

function placeOf({ collection, id, start }: Passage): Place {
  return { collection: collection.name, id, start };
}

function open(passage: Passage): void {
  pushAddress({ ...search.address, open: placeOf(passage) });
  show(passage);
}

function show(passage: Passage): void {
  void reader.open(passage, search.hits);
}

/** The collection may be there only later. */
function openFromAddress(): void {
  const collection = wanted && library.find(wanted.collection);
  if (wanted === undefined || collection === undefined) return;
  show({ collection, id: wanted.id, start: wanted.start });
  wanted = undefined;
}

function onReaderClosed(): void {
  if ((history.state as { isOpen?: boolean } | null)?.isOpen) history.back();
  else if (readAddress().open !== undefined) history.replaceState(null, "", addressOf(search.address));
}

addEventListener("popstate", () => {
  const address = readAddress();
  wanted = address.open;
  if (wanted === undefined && reader.isOpen) reader.close();
  else openFromAddress();
  if (address.query !== search.query) search.goTo(address);
});

void library
  .open()
  .then(() => search.run(), fail)
  .finally(() => byId("examples", HTMLDivElement).removeAttribute("aria-busy"));
void model.load();
