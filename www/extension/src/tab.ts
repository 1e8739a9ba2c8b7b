/**
 * The page that the user looks at: its passages as they are found, and a mark in it. Only `activeTab` lets the extension in, so
 * only where it was called.
 */

import { type FromPage, PAGE_PORT, type PageEnd, type PassageText, type ToPage, VIEWER_TYPE } from "./page-messages";
import { PdfFile } from "./pdf-file";
import { NO_ANSWER, type Unreadable } from "./unreadable";

/** A page that has not answered by then is said to be slow; it is read when it answers. */
const PATIENCE_MS = 4000;

/** What a tab shows. */
export interface TabPage {
  readonly tabId: number;
  /** Another one for every reading of a page. */
  readonly key: string;
  readonly url: string;
  readonly title: string;
  /** Such as `application/pdf`. */
  readonly contentType: string;
  /** As many as have been found so far. */
  readonly passages: PassageText[];
  /** Once all have been found. */
  end: TabEnd | undefined;
  /** Of a PDF file, the page of each passage. */
  readonly pages: number[] | undefined;
  /** Whether the page has changed since it was read. */
  isStale: boolean;
}

export interface TabEnd extends PageEnd {
  /** Of a PDF file: sentences about what of it could not be read. */
  readonly notes?: readonly string[];
  /** Why it could not be read, or not to its end. */
  readonly problem?: string;
}

export interface Mark {
  readonly key: string;
  readonly query: string;
  readonly index: number | undefined;
}

export interface TabNews {
  /** There is another page, or none; `unreadable` says why, once that is known. */
  onPage(page: TabPage | undefined, unreadable: Unreadable | undefined): void;
  /** The page has more passages, or has changed. */
  onMore(page: TabPage): void;
  onMark(mark: Mark): void;
  onGone(index: number): void;
}

/** Follows which tab is shown in a window. What another tab still delivers is dropped. */
export class ShownTab {
  readonly #news: TabNews;
  /** Of the newest tab; `undefined` while the script in it has not answered. */
  #port: chrome.runtime.Port | undefined;
  #tabId = -1;
  #turn = 0;
  #page: TabPage | undefined;
  #file: PdfFile | undefined;

  constructor(news: TabNews) {
    this.#news = news;
  }

  get page(): TabPage | undefined {
    return this.#page;
  }

  /** What is shown may be another page by now, or the same one with another text. */
  async read(): Promise<void> {
    const turn = ++this.#turn;
    const isCurrent = () => turn === this.#turn;
    let url = "";
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      const [tab] = await chrome.tabs.query({ active: true, currentWindow: true });
      if (!isCurrent()) return;
      if (tab?.id === undefined) throw new Error("There is no tab in this window.");
      if (this.#port && this.#tabId === tab.id) {
        if (this.#page?.isStale) this.#send({ type: "read" });
        return;
      }
      this.#drop();
      url = tab.url ?? "";
      timer = setTimeout(() => isCurrent() && this.#drop({ url, problem: NO_ANSWER }), PATIENCE_MS);
      const port = await connectTo(tab.id);
      if (isCurrent()) this.#listen(port, tab.id);
      else port.disconnect();
    } catch (error) {
      if (isCurrent()) this.#drop({ url, problem: error instanceof Error ? error.message : String(error) });
    } finally {
      clearTimeout(timer);
    }
  }

  /** At once, before anything is known of what is shown instead. */
  leave(): void {
    this.#turn += 1;
    this.#drop();
  }

  #drop(unreadable?: Unreadable): void {
    this.#port?.disconnect();
    this.#port = undefined;
    this.#page = undefined;
    this.#file?.close();
    this.#file = undefined;
    this.#news.onPage(undefined, unreadable);
  }

  show(query: string, hits: readonly number[], at: number): void {
    if (this.#page) this.#send({ type: "show", key: this.#page.key, query, hits, at });
  }

  clearMark(): void {
    this.#send({ type: "clear" });
  }

  #send(message: ToPage): void {
    try {
      this.#port?.postMessage(message);
    } catch {
      // The page has gone; `onDisconnect` says so.
    }
  }

  #listen(port: chrome.runtime.Port, tabId: number): void {
    this.#port = port;
    this.#tabId = tabId;
    port.onMessage.addListener((message: FromPage) => {
      if (port === this.#port) this.#take(message, tabId);
    });
    port.onDisconnect.addListener(() => {
      if (port !== this.#port) return;
      this.leave();
      void this.read();
    });
    this.#send({ type: "read" });
  }

  #take(message: FromPage, tabId: number): void {
    if (message.type === "reading") {
      const { key, url, title, contentType } = message;
      this.#file?.close();
      this.#file = contentType === VIEWER_TYPE ? new PdfFile() : undefined;
      const pages = this.#file && [];
      this.#page = { tabId, key, url, title, contentType, passages: [], pages, end: undefined, isStale: false };
      return this.#news.onPage(this.#page, undefined);
    }
    if (message.type === "marked") return this.#news.onMark(message);
    const page = this.#page;
    if (message.key !== page?.key) return;
    if (message.type === "gone") return this.#news.onGone(message.index);
    if (message.type === "file") {
      this.#file?.add(message.base64);
      if (message.isEnd) void this.#readFile(page);
      return;
    }
    if (message.type === "passages") page.passages.push(...message.passages);
    else if (message.type === "end") page.end = message;
    else if (message.type === "no-file") page.end = { isCut: false, unreadable: [], problem: message.problem };
    else page.isStale = true;
    this.#news.onMore(page);
  }

  async #readFile(page: TabPage): Promise<void> {
    const tell = () => {
      if (page === this.#page) this.#news.onMore(page);
    };
    const end = { isCut: false, unreadable: [] };
    try {
      const found = await this.#file?.read((passages) => {
        for (const { passage, page: number } of passages) {
          page.passages.push(passage);
          page.pages?.push(number);
        }
        tell();
      });
      page.end = { ...end, ...found };
    } catch (error) {
      page.end = { ...end, problem: error instanceof Error ? error.message : String(error) };
    }
    tell();
  }
}

/** A port to the script in the page, which is put there if it is not. */
async function connectTo(tabId: number): Promise<chrome.runtime.Port> {
  const known = await tryConnect(tabId);
  if (known) return known;
  let problem: unknown;
  // Where another panel has put it there meanwhile, it cannot be put there again.
  await chrome.scripting
    .executeScript({ target: { tabId }, files: ["content.js"] })
    .catch((error: unknown) => (problem = error));
  const port = await tryConnect(tabId);
  if (port) return port;
  throw problem instanceof Error ? problem : new Error(NO_ANSWER);
}

/** The browser tells at once if nobody is there to listen, but not if somebody is: so the page is asked for an answer. */
function tryConnect(tabId: number): Promise<chrome.runtime.Port | undefined> {
  const port = chrome.tabs.connect(tabId, { name: PAGE_PORT, frameId: 0 });
  return new Promise((resolve) => {
    port.onMessage.addListener(function listener() {
      port.onMessage.removeListener(listener);
      resolve(port);
    });
    port.onDisconnect.addListener(() => {
      void chrome.runtime.lastError; // has to be read
      resolve(undefined);
    });
  });
}
