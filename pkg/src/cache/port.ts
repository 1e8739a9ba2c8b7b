// A cache on its way to a worker: an object of the caller's stays where it is, and is called through a port.

import { expose, wrap } from "comlink";

import type { CacheChoice, ModelCache } from "./cache.js";

/** What a worker can be sent in place of a cache. */
export type SentCache = "indexeddb" | "memory" | MessagePort;

/** A port has to be transferred. */
export function sendCache(choice: CacheChoice): SentCache {
  if (typeof choice === "string") return choice;
  const { port1, port2 } = new MessageChannel();
  expose(choice, port1);
  return port2;
}

export function receiveCache(sent: SentCache): CacheChoice {
  return sent instanceof MessagePort ? (wrap<ModelCache>(sent) as unknown as ModelCache) : sent;
}

export function transferOf(sent: SentCache): Transferable[] {
  return typeof sent === "string" ? [] : [sent];
}
