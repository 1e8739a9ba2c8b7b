// How the model host is asked: with the platform's `fetch`, or with the caller's, which stays on the page.

import { bytesOf } from "../bytes.js";
import { EmbervecError } from "../errors.js";
import { PortClient, serve } from "../port.js";

/** What is used of a response. */
export interface HostResponse {
  status: number;
  headers: Headers;
  redirected: boolean;
  /** The next bytes of its body; `undefined` at the end. */
  read(): Promise<Uint8Array | undefined>;
}

export type HostFetch = (url: string, init: RequestInit) => Promise<HostResponse>;

export const platformFetch: HostFetch = async (url, init) => {
  const { status, headers, redirected, body } = await fetch(url, init);
  const reader = body?.getReader();
  return { status, headers, redirected, read: async () => (await reader?.read())?.value };
};

/** Bytes of a body that are sent to the worker at a time. Of the network's a browser gives 64 kB or so. */
const PIECE_BYTES = 256 << 10;

interface Call {
  abort: AbortController;
  reader?: ReadableStreamDefaultReader<unknown> | undefined;
  /** Of the piece that came last, what has not been sent. */
  rest?: Uint8Array | undefined;
}

/** What a port sends of a response. */
interface SentResponse {
  status: number;
  headers: [string, string][];
  redirected: boolean;
}

/** Serves a caller's `fetch` to a worker. */
export class FetchServer {
  /** The worker's end, to be transferred. */
  readonly port: MessagePort;
  readonly #own: MessagePort;
  readonly #calls = new Map<number, Call>();

  constructor(fetch: typeof globalThis.fetch) {
    const { port1, port2 } = new MessageChannel();
    this.port = port2;
    this.#own = port1;
    serve(port1, {
      open: (id: number, url: string, init: RequestInit) => this.#open(fetch, id, url, init),
      read: (id: number) => this.#read(id),
      cancel: (id: number) => this.#cancel(id),
    });
  }

  /** Nothing is asked any more. */
  close(): void {
    this.#own.close();
    for (const id of [...this.#calls.keys()]) this.#cancel(id);
  }

  async #open(fetch: typeof globalThis.fetch, id: number, url: string, init: RequestInit): Promise<SentResponse> {
    const call: Call = { abort: new AbortController() };
    this.#calls.set(id, call);
    const response: unknown = await fetch(url, { ...init, signal: call.abort.signal });
    const { status, headers, redirected, body } = Object(response) as Partial<Response>;
    if (typeof status !== "number" || typeof headers?.forEach !== "function") {
      throw new EmbervecError("invalid_input", "the option `fetch` returned something that is not a Response");
    }
    call.reader = body?.getReader();
    // Nobody waited any longer.
    if (call.abort.signal.aborted) this.#cancel(id, call);
    const sent: [string, string][] = [];
    headers.forEach((value, name) => sent.push([name, value]));
    return { status, headers: sent, redirected: redirected === true };
  }

  async #read(id: number): Promise<Uint8Array | undefined> {
    const call = this.#calls.get(id);
    if (!call) return undefined;
    while (!call.rest?.byteLength) {
      const { value } = (await call.reader?.read()) ?? {};
      if (value === undefined) {
        this.#calls.delete(id);
        return undefined;
      }
      call.rest = bytesOf(value, Infinity);
      if (!call.rest)
        throw new EmbervecError("invalid_input", "the option `fetch` returned a body that does not consist of bytes");
    }
    // A copy: with a view all of its memory would be sent.
    const piece = call.rest.slice(0, PIECE_BYTES);
    call.rest = call.rest.subarray(PIECE_BYTES);
    return piece;
  }

  #cancel(id: number, call = this.#calls.get(id)): void {
    this.#calls.delete(id);
    call?.abort.abort();
    call?.reader?.cancel().catch(() => {});
  }
}

/** The worker's side of a {@link FetchServer}. */
export function portFetch(port: MessagePort): HostFetch {
  const client = new PortClient(port);
  // What the caller's function is not to blame the network for.
  const call = (method: string, ...args: unknown[]) =>
    client.call(method, ...args).catch((error: Error) => {
      throw error.name === "EmbervecError" ? new EmbervecError("invalid_input", error.message) : error;
    });
  let nextId = 0;
  return async (url, { signal, ...init }) => {
    const id = nextId++;
    signal?.addEventListener("abort", () => void client.call("cancel", id), { once: true });
    const { status, headers, redirected } = (await call("open", id, url, init)) as SentResponse;
    return {
      status,
      headers: new Headers(headers),
      redirected,
      read: () => call("read", id) as Promise<Uint8Array | undefined>,
    };
  };
}
