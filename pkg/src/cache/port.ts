// A cache on its way to a worker: an object of the caller's stays where it is, and is called through a port.

import { type Methods, PortClient, serve } from "../port.js";
import type { CacheChoice, ModelCache } from "./cache.js";

/** What a worker can be sent in place of a cache. */
export type SentCache = Exclude<CacheChoice, ModelCache> | MessagePort;

/** A port has to be transferred. */
export function sendCache(choice: CacheChoice): SentCache {
  if (typeof choice === "string") return choice;
  // The page answers each worker itself.
  if (choice instanceof PortCache) return choice.connect();
  const { port1, port2 } = new MessageChannel();
  serve(port1, methodsOf(choice));
  return port2;
}

export function receiveCache(sent: SentCache): CacheChoice {
  return typeof sent === "string" ? sent : new PortCache(new PortClient(sent));
}

export function transferOf(sent: SentCache): Transferable[] {
  return typeof sent === "string" ? [] : [sent];
}

/** The five methods and no others, called on the object itself: one of a class may have private members. */
function methodsOf(cache: ModelCache): Methods {
  const methods: Methods & ModelCache = {
    get: (key: string) => cache.get(key),
    put: (key: string, bytes: Uint8Array<ArrayBuffer>) => cache.put(key, bytes),
    delete: (prefix: string) => cache.delete(prefix),
    keys: (prefix: string) => cache.keys(prefix),
    room: () => cache.room(),
  };
  // So that it has no methods of every object.
  return Object.assign(Object.create(null) as Methods, methods);
}

/** The caller's cache, as a worker sees it. What comes is not checked here. */
class PortCache implements ModelCache {
  constructor(private readonly client: PortClient) {}

  get(key: string): ReturnType<ModelCache["get"]> {
    return this.#call("get", key);
  }

  put(key: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    return this.#call("put", key, bytes);
  }

  delete(prefix: string): Promise<void> {
    return this.#call("delete", prefix);
  }

  keys(prefix: string): Promise<string[]> {
    return this.#call("keys", prefix);
  }

  room(): Promise<number> {
    return this.#call("room");
  }

  /** A port for another worker. */
  connect(): MessagePort {
    return this.client.connect();
  }

  #call<T>(method: keyof ModelCache, ...args: unknown[]): Promise<T> {
    return this.client.call(method, ...args) as Promise<T>;
  }
}
