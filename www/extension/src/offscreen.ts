/** The document without a window in which the model runs: it outlives the popup, and stopping the service worker does not touch it. */

import { EmbervecError, semanticSearch } from "embervec";
import { hashOf } from "./hash";
import { AbsentError, Model } from "./model";
import { type Page, PageEncoder, withWords } from "./page-encoder";
import type { Calls, Failure, Hit, Message, Ranking, Request } from "./protocol";
import { SavedPages } from "./saved-pages";

const HITS = 20;
/** In banners, menus and the like. */
const ASIDE_HITS = 5;
/** A panel need not hear of every passage. */
const REPORT_MS = 100;
/** So long after the last panel was closed, the memory goes back. */
const IDLE_MS = 10 * 60_000;

const panels = new Set<chrome.runtime.Port>();
const model = new Model((state) => broadcast({ model: state }));
const encoder = new PageEncoder(() => model.embedder(), reportSoon, describe);
const savedPages = new SavedPages(tellSaved);
let running = 0;
let idle: ReturnType<typeof setTimeout> | undefined;

type Handler<Name extends keyof Calls> = (
  request: Calls[Name]["request"],
  panel: chrome.runtime.Port,
) => Promise<Calls[Name]["result"]>;

const handlers: { [Name in keyof Calls]: Handler<Name> } = {
  load: async ({ download }) => {
    await model.embedder(download);
    encoder.retry();
    return null;
  },
  showPage: async (part, panel) => encoder.show(panel, part),
  leavePage: async (_, panel) => {
    encoder.leave(panel);
    return null;
  },
  encodePage: async ({ key }) => {
    const page = encoder.get(key);
    if (page) encoder.start(page);
    return null;
  },
  stopPage: async ({ key }) => {
    const page = encoder.get(key);
    if (page) encoder.stop(page);
    return null;
  },
  searchPage: async ({ key, query }) => {
    const page = encoder.get(key);
    if (!page) return null;
    const started = performance.now();
    const found = await searchPage(page, query);
    return { ...found, milliseconds: performance.now() - started };
  },
  searchSaved: async ({ query }) => {
    const started = performance.now();
    const isByWords = model.loaded === undefined;
    const hits = await savedPages.search(query, HITS, model.loaded);
    return { hits, passageCount: await countSaved(), isByWords, milliseconds: performance.now() - started };
  },
  searchBoth: async ({ key, query }) => {
    const page = encoder.get(key);
    if (!page) return null;
    const started = performance.now();
    const onPage = await searchPage(page, query);
    // The page is here as it is now; what was saved of it is not asked.
    const inSaved = await savedPages.search(query, HITS, onPage.isByWords ? undefined : model.loaded, page.url);
    const main = [...onPage.hits.filter(({ isAside }) => !isAside), ...inSaved];
    main.sort((a, b) => (b.score ?? -1) - (a.score ?? -1));
    const hits = [...main.slice(0, HITS), ...onPage.hits.filter(({ isAside }) => isAside)];
    const savedCount = await countSaved(page.url);
    const passageCount = onPage.passageCount + savedCount;
    const { isByWords } = onPage;
    return { hits, passageCount, savedCount, isByWords, milliseconds: performance.now() - started };
  },
  savePage: async ({ key }) => {
    const page = encoder.get(key);
    if (!page) return null;
    const vectors = await encoder.all(page);
    if (!vectors) return null;
    const { url, title, passages } = page;
    const hash = await hashOf(url, passages);
    return savedPages.put({ url, title, hash, passages }, vectors, await model.embedder());
  },
  removePage: async ({ url }) => {
    await savedPages.remove(url);
    return null;
  },
  readSaved: async ({ url }) => (await savedPages.read(url)) ?? null,
  clearSaved: async () => {
    await savedPages.clear();
    return null;
  },
  exportSaved: async () => {
    // The one before was fetched, or never will be.
    if (exported !== undefined) URL.revokeObjectURL(exported);
    exported = URL.createObjectURL(await savedPages.export());
    return exported;
  },
  mergeSaved: async () => savedPages.merge(await model.embedder()),
  encodeSavedAgain: async () => savedPages.encodeAgain(await model.embedder()),
  stopEncodingSaved: async () => {
    savedPages.stopEncoding();
    return null;
  },
  modelInfo: () => model.info(),
  deleteModel: async () => {
    await model.delete();
    return null;
  },
};

let exported: string | undefined;

/** Passages of saved pages that are searched, but for one that is searched elsewhere. */
async function countSaved(except?: string): Promise<number> {
  const { pages } = await savedPages.list();
  return pages.reduce((sum, { url, mainCount }) => sum + (url === except ? 0 : mainCount), 0);
}

/** The last one, which a page that is still being encoded asks for again and again. */
let lastQuery: { query: string; vector: Promise<Float32Array> } | undefined;

function queryVector(query: string): Promise<Float32Array> {
  if (lastQuery?.query === query) return lastQuery.vector;
  const vector = model.embedder().then((embedder) => embedder.encodeQuery(query));
  const current = { query, vector };
  lastQuery = current;
  vector.catch(() => {
    if (lastQuery === current) lastQuery = undefined;
  });
  return vector;
}

type Found = Omit<Ranking, "milliseconds" | "isByWords"> & { isByWords: boolean };

/** By meaning; by words as long as the model is not there. */
async function searchPage(page: Page, query: string): Promise<Found> {
  if (!model.loaded) return { ...findWords(page, query), isByWords: true };
  // Before more of the page, which would be in its way.
  const vector = await queryVector(query);
  encoder.ask(page, query);
  return { ...rankPage(page, vector), isByWords: false };
}

function findWords(page: Page, query: string): Omit<Found, "isByWords"> {
  const { url, title, passages } = page;
  const found = withWords(passages, query).map((index): Hit => {
    const [text, isAside, heading] = passages[index]!;
    return { url, title, index, text, isAside, heading };
  });
  const main = found.filter(({ isAside }) => !isAside).slice(0, HITS);
  const aside = found.filter(({ isAside }) => isAside).slice(0, ASIDE_HITS);
  return { hits: [...main, ...aside], passageCount: passages.length };
}

/** What the page is about comes before what is beside it; a text that stands there twice comes once. */
function rankPage({ url, title, passages }: Page, vector: Float32Array): Omit<Found, "isByWords"> {
  const seen = new Set<string>();
  const parts = [false, true].map(() => ({ vectors: [] as Float32Array[], indices: [] as number[] }));
  passages.forEach(([text, isAside], index) => {
    const row = encoder.vectorOf(text);
    if (!row || seen.has(text)) return;
    seen.add(text);
    const part = parts[isAside ? 1 : 0]!;
    part.vectors.push(row);
    part.indices.push(index);
  });
  const hits = parts.flatMap(({ vectors, indices }, part) =>
    nearest(vector, vectors, part === 0 ? HITS : ASIDE_HITS).map(({ corpusId, score }): Hit => {
      const index = indices[corpusId]!;
      const [text, isAside, heading] = passages[index]!;
      return { url, title, index, text, isAside, heading, score };
    }),
  );
  return { hits, passageCount: seen.size };
}

function nearest(vector: Float32Array, vectors: readonly Float32Array[], topK: number) {
  return vectors.length === 0 ? [] : (semanticSearch(vector, vectors, { topK })[0] ?? []);
}

const reports = new Map<Page, ReturnType<typeof setTimeout>>();

function reportSoon(page: Page): void {
  if (reports.has(page)) return;
  const report = () => {
    reports.delete(page);
    broadcast({ progress: encoder.progressOf(page) });
  };
  reports.set(page, setTimeout(report, REPORT_MS));
}

chrome.runtime.onConnect.addListener((port) => {
  // Only the extension's own pages; a content script speaks from the page that it is in.
  if (!port.sender?.url?.startsWith(chrome.runtime.getURL(""))) return port.disconnect();
  panels.add(port);
  clearTimeout(idle);
  port.onDisconnect.addListener(() => {
    panels.delete(port);
    encoder.leave(port);
    endWhenIdle();
  });
  port.onMessage.addListener((request: Request) => void answer(port, request));
  send(port, { model: model.state });
  void sayWhatIsSaved((message) => send(port, message));
});

async function sayWhatIsSaved(say: (message: Message) => void): Promise<void> {
  try {
    say({ saved: await savedPages.list() });
  } catch (error) {
    say({ savedFailure: describe(error) });
  }
}

function tellSaved(): void {
  void sayWhatIsSaved(broadcast);
}

async function answer(port: chrome.runtime.Port, { id, name, request }: Request): Promise<void> {
  running += 1;
  try {
    const handler = handlers[name] as (request: unknown, panel: chrome.runtime.Port) => Promise<unknown>;
    send(port, { id, result: await handler(request, port) });
  } catch (error) {
    send(port, { id, failure: describe(error) });
  } finally {
    running -= 1;
    endWhenIdle();
  }
}

function describe(error: unknown): Failure {
  if (error instanceof EmbervecError || error instanceof AbsentError)
    return { code: error.code, message: error.message };
  if (error instanceof DOMException)
    return { code: error.name === "QuotaExceededError" ? "quota" : "storage", message: error.message };
  return { code: "internal", message: error instanceof Error ? error.message : String(error) };
}

function broadcast(message: Message): void {
  for (const port of panels) send(port, message);
}

/** A panel that was closed meanwhile is not missed: what it asked for goes on. */
function send(port: chrome.runtime.Port, message: Message): void {
  if (panels.has(port)) port.postMessage(message);
}

function endWhenIdle(): void {
  clearTimeout(idle);
  if (panels.size === 0 && running === 0) idle = setTimeout(() => close(), IDLE_MS);
}
