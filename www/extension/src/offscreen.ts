/** The document without a window in which the model runs: it outlives the popup, and stopping the service worker does not touch it. */

import { EmbervecError, semanticSearch } from "embervec";
import { hashOf } from "./hash";
import type { PassageText } from "./page-messages";
import { AbsentError, Model } from "./model";
import { type Page, PageEncoder } from "./page-encoder";
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
const savedPages = new SavedPages();
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
    // Before more of the page, which would be in its way.
    const vector = await queryVector(query);
    encoder.ask(page, query);
    return { ...rankPage(page, vector), milliseconds: performance.now() - started };
  },
  searchSaved: async ({ query }) => {
    const started = performance.now();
    const vectors: Float32Array[] = [];
    const places: (() => Omit<Hit, "score">)[] = [];
    for (const { url, title, passages, vectors: rows } of await savedPages.pages()) {
      const dimension = rows.length / passages.length;
      passages.forEach((text, index) => {
        vectors.push(rows.subarray(index * dimension, (index + 1) * dimension));
        places.push(() => ({ url, title, index, text, isAside: false, heading: "" }));
      });
    }
    const vector = await queryVector(query);
    const hits = nearest(vector, vectors, HITS).map(({ corpusId, score }) => ({ ...places[corpusId]!(), score }));
    return { hits, passageCount: vectors.length, milliseconds: performance.now() - started };
  },
  savePage: async ({ key }) => {
    const page = encoder.get(key);
    if (!page) return null;
    const vectors = await encoder.all(page);
    if (!vectors) return null;
    const { url, title, passages } = page;
    const hash = await hashOf(url, passages);
    const isKept = passages.some(([, isAside]) => !isAside) ? ([, isAside]: PassageText) => !isAside : () => true;
    const texts = passages.filter(isKept).map(([text]) => text);
    const rows = vectors.filter((_, index) => isKept(passages[index]!));
    const saved = await savedPages.put({ url, title, hash, passages: texts }, rows);
    broadcast({ saved: await savedPages.list() });
    return saved;
  },
  removePage: async ({ url }) => {
    await savedPages.remove(url);
    broadcast({ saved: await savedPages.list() });
    return null;
  },
  modelInfo: () => model.info(),
  deleteModel: async () => {
    await model.delete();
    return null;
  },
};

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

/** What the page is about comes before what is beside it; a text that stands there twice comes once. */
function rankPage({ url, title, passages }: Page, vector: Float32Array): Omit<Ranking, "milliseconds"> {
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
  savedPages.list().then(
    (saved) => send(port, { saved }),
    (error: unknown) => console.warn(`The list of saved pages cannot be read: ${describe(error).message}`),
  );
});

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
