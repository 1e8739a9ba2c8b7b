/** The document without a window in which the model runs: it outlives the popup, and stopping the service worker does not touch it. */

import { type Embedder, EmbervecError, semanticSearch } from "embervec";
import { AbsentError, Model } from "./model";
import { PageVectors } from "./page-vectors";
import type { Calls, Failure, Hit, Message, PageText, Ranking, Request } from "./protocol";
import { SavedPages } from "./saved-pages";

const HITS = 20;
/** A panel need not hear of every passage. */
const REPORT_MS = 100;
/** So long after the last panel was closed, the memory goes back. */
const IDLE_MS = 10 * 60_000;

const panels = new Set<chrome.runtime.Port>();
const model = new Model((state) => broadcast({ model: state }));
const pageVectors = new PageVectors();
const savedPages = new SavedPages();
let running = 0;
let idle: ReturnType<typeof setTimeout> | undefined;

const handlers: { [Name in keyof Calls]: (request: Calls[Name]["request"]) => Promise<Calls[Name]["result"]> } = {
  load: async ({ download }) => {
    await model.embedder(download);
    return null;
  },
  encodePage: async (page) => {
    await pageVectors.ensure(page, encodePage);
    return null;
  },
  searchPage: async ({ key, query }) => {
    const encoded = await pageVectors.get(key);
    if (!encoded) return null;
    const { page, vectors } = encoded;
    return rank(query, vectors, (index) => hit(page, index));
  },
  searchSaved: async ({ query }) => {
    const vectors: Float32Array[] = [];
    const places: (() => Omit<Hit, "score">)[] = [];
    for (const page of await savedPages.pages()) {
      const dimension = page.vectors.length / page.passages.length;
      page.passages.forEach((_, index) => {
        vectors.push(page.vectors.subarray(index * dimension, (index + 1) * dimension));
        places.push(() => hit(page, index));
      });
    }
    return rank(query, vectors, (index) => places[index]!());
  },
  savePage: async (page) => {
    const { vectors } = await pageVectors.ensure(page, encodePage);
    await savedPages.put(page, vectors);
    broadcast({ saved: await savedPages.list() });
    return null;
  },
  removePage: async ({ url }) => {
    await savedPages.remove(url);
    broadcast({ saved: await savedPages.list() });
    return null;
  },
};

async function encodePage({ key, passages }: PageText): Promise<readonly Float32Array[]> {
  const embedder = await model.embedder();
  const vectors: Float32Array[] = [];
  let reported = 0;
  for await (const { embedding } of embedder.encodeStream(passages)) {
    vectors.push(embedding);
    if (performance.now() - reported < REPORT_MS && vectors.length < passages.length) continue;
    reported = performance.now();
    broadcast({ reading: { key, loaded: vectors.length, total: passages.length } });
  }
  return vectors;
}

async function rank(
  query: string,
  vectors: readonly Float32Array[],
  place: (index: number) => Omit<Hit, "score">,
): Promise<Ranking> {
  const embedder: Embedder = await model.embedder();
  const started = performance.now();
  const [found = []] =
    vectors.length === 0 ? [] : semanticSearch(await embedder.encodeQuery(query), vectors, { topK: HITS });
  const hits = found.map(({ corpusId, score }) => ({ ...place(corpusId), score }));
  return { hits, passageCount: vectors.length, milliseconds: performance.now() - started };
}

function hit(
  { url, title, passages }: Pick<PageText, "url" | "title" | "passages">,
  index: number,
): Omit<Hit, "score"> {
  return { url, title, index, text: passages[index]! };
}

chrome.runtime.onConnect.addListener((port) => {
  // Only the extension's own pages; a content script speaks from the page that it is in.
  if (!port.sender?.url?.startsWith(chrome.runtime.getURL(""))) return port.disconnect();
  panels.add(port);
  clearTimeout(idle);
  port.onDisconnect.addListener(() => {
    panels.delete(port);
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
    send(port, { id, result: await (handlers[name] as (request: unknown) => Promise<unknown>)(request) });
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
