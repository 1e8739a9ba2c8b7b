/** Runs in the page, in a world of its own, and only when the user has asked for it there. */

import { Marks } from "./marks";
import type { Passage } from "./passages";
import { contentTypeOf, titleOf } from "./own";
import {
  type FromPage,
  MAX_FILE_BYTES,
  PAGE_PORT,
  type PassageText,
  type StepMessage,
  type ToPage,
  VIEWER_TYPE,
} from "./page-messages";
import { addressOf, newId, Reading } from "./reading";

/** Of one message. */
const MAX_PASSAGES = 400;
/** Of one message. A multiple of three, so that the parts of the base64 are whole. */
const FILE_PART_BYTES = 768 * 1024;

declare global {
  /** Two panels may put the script into the page at once. An element of the page may have this name. */
  var embervecIsHere: unknown;
}

function start(): void {
  let reading: Reading | undefined;
  const ports = new Set<chrome.runtime.Port>();
  const marks = new Marks(() => {
    for (const port of ports) tellMark(port);
  });

  const tellMark = (port: chrome.runtime.Port) => {
    const { marked } = marks;
    const { key = "", query = "" } = marked ?? {};
    send(port, { type: "marked", key, query, index: marked?.hits[marked.at] });
  };

  chrome.runtime.onConnect.addListener((port) => {
    if (port.name !== PAGE_PORT) return;
    ports.add(port);
    tellMark(port); // which also says that somebody is here
    let stop = () => {};
    port.onDisconnect.addListener(() => {
      ports.delete(port);
      stop();
    });
    port.onMessage.addListener((message: ToPage) => {
      if (message.type === "read") {
        stop();
        if (contentTypeOf(document) === VIEWER_TYPE) {
          stop = sendFile(port);
          return;
        }
        if (!reading || reading.isStale) reading = new Reading();
        stop = follow(reading, port);
        tellMark(port);
      } else if (message.type === "show") {
        const { key, query, hits, at } = message;
        const passages = reading?.id === key ? reading.passages : [];
        if (!marks.show({ key, query, hits, at, passages })) send(port, { type: "gone", key, index: hits[at] ?? -1 });
      } else marks.clear();
    });
  });

  chrome.runtime.onMessage.addListener((message: StepMessage) => {
    if (message.step === 1 || message.step === -1) marks.step(message.step);
  });
}

/** Sends a reading from its beginning on, as it goes on; ends with what is returned. */
function follow(reading: Reading, port: chrome.runtime.Port): () => void {
  const { id: key, url, title } = reading;
  let sent = 0;
  let isEnded = false;
  let isStale = false;
  send(port, { type: "reading", key, url, title, contentType: contentTypeOf(document) });
  const listener = () => {
    while (sent < reading.passages.length) {
      const part = reading.passages.slice(sent, sent + MAX_PASSAGES);
      sent += part.length;
      send(port, { type: "passages", key, passages: part.map(toText) });
    }
    if (reading.isDone && !isEnded) {
      isEnded = true;
      send(port, { type: "end", key, isCut: reading.isCut, unreadable: reading.unreadable });
    }
    if (reading.isStale && !isStale) {
      isStale = true;
      send(port, { type: "stale", key });
    }
  };
  reading.listen(listener);
  listener();
  return () => reading.unlisten(listener);
}

/**
 * The file that the browser's viewer shows. The browser has it in its cache, as a rule; else it asks its host once more, which is the
 * only one that is asked.
 */
function sendFile(port: chrome.runtime.Port): () => void {
  const controller = new AbortController();
  const { signal } = controller;
  const key = newId();
  const tell = (message: FromPage) => {
    if (!signal.aborted) send(port, message);
  };
  tell({
    type: "reading",
    key,
    url: addressOf(location),
    title: titleOf(document).trim() || nameOf(location),
    contentType: contentTypeOf(document),
  });
  void fetchFile(signal, (base64, isEnd) => tell({ type: "file", key, base64, isEnd })).catch((error: unknown) =>
    tell({ type: "no-file", key, problem: error instanceof Error ? error.message : String(error) }),
  );
  return () => controller.abort();
}

/** The name of the file. */
function nameOf({ pathname, host }: Location): string {
  const name = pathname.split("/").at(-1) ?? "";
  try {
    return decodeURIComponent(name) || host;
  } catch {
    return name;
  }
}

async function fetchFile(signal: AbortSignal, onPart: (base64: string, isEnd: boolean) => void): Promise<void> {
  if (location.protocol === "file:")
    throw new Error("It is a file on this device, whose bytes the browser does not give to extensions.");
  const response = await fetch(location.href, { cache: "force-cache", mode: "same-origin", signal }).catch(() => {
    throw new Error("The browser could not fetch it a second time. Check your connection.");
  });
  if (!response.ok) throw new Error(`Its host did not give it a second time (status ${response.status}).`);
  const tooLarge = () => new Error(`It is larger than ${MAX_FILE_BYTES / 1e6} MB.`);
  if (Number(response.headers.get("content-length")) > MAX_FILE_BYTES) throw tooLarge();
  const file = await response.blob();
  if (file.size > MAX_FILE_BYTES) throw tooLarge();
  for (let from = 0; !signal.aborted; from += FILE_PART_BYTES) {
    const isEnd = from + FILE_PART_BYTES >= file.size;
    onPart(await base64Of(file.slice(from, from + FILE_PART_BYTES)), isEnd);
    if (isEnd) return;
  }
}

/** Messages of extensions are JSON. */
function base64Of(blob: Blob): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve((reader.result as string).replace(/^[^,]*,/, "")));
    reader.addEventListener("error", () => reject(reader.error ?? new Error("The file cannot be read.")));
    reader.readAsDataURL(blob);
  });
}

function toText({ text, isAside, heading }: Passage): PassageText {
  return [text, isAside, heading];
}

function send(port: chrome.runtime.Port, message: FromPage): void {
  port.postMessage(message);
}

// A constant of the script itself could not be declared twice.
if (globalThis.embervecIsHere !== true) {
  globalThis.embervecIsHere = true;
  start();
}
