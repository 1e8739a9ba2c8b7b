/** Runs in the page, in a world of its own, and only when the user has asked for it there. */

import { Marks } from "./marks";
import type { Passage } from "./passages";
import { type FromPage, PAGE_PORT, type PassageText, type StepMessage, type ToPage } from "./page-messages";
import { Reading } from "./reading";

/** Of one message. */
const MAX_PASSAGES = 400;

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
  send(port, { type: "reading", key, url, title, contentType: document.contentType });
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
