/** The panels' side of the port to the offscreen document. */

import { type Calls, ENSURE_ENCODER, type Failure, type Message } from "./protocol";

/** A document that another panel has just had created may not listen yet. */
const CONNECT_ATTEMPTS = 20;
const DELAY_MS = 100;
/** One that ends is replaced; but what ends it again and again is not asked for ever. */
const ANSWER_ATTEMPTS = 3;

export class RemoteError extends Error {
  readonly code: string;

  constructor({ code, message }: Failure) {
    super(message);
    this.code = code;
  }
}

/** Of whatever was thrown. */
export function failureOf(error: unknown): Failure {
  if (error instanceof RemoteError) return error;
  return { code: "internal", message: error instanceof Error ? error.message : String(error) };
}

/** The answer is lost, because the offscreen document is gone. */
class Disconnected extends Error {}

interface Waiting {
  readonly resolve: (result: never) => void;
  readonly reject: (error: Error) => void;
}

export type News = Exclude<Message, { id: number }>;

export class Encoder {
  readonly #onNews: (news: News) => void;
  readonly #onOpen: () => void;
  readonly #waiting = new Map<number, Waiting>();
  #port: Promise<chrome.runtime.Port> | undefined;
  #lastId = 0;

  /** @param onOpen is called for every offscreen document anew, which knows nothing of the one before */
  constructor(onNews: (news: News) => void, onOpen: () => void = () => {}) {
    this.#onNews = onNews;
    this.#onOpen = onOpen;
  }

  /** Makes the offscreen document tell its news. */
  async connect(): Promise<void> {
    await this.#connected();
  }

  /** @throws {RemoteError} with what went wrong there */
  async request<Name extends keyof Calls>(name: Name, request: Calls[Name]["request"]): Promise<Calls[Name]["result"]> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#send(name, request);
      } catch (error) {
        if (!(error instanceof Disconnected) || attempt === ANSWER_ATTEMPTS) throw error;
      }
    }
  }

  async #send<Name extends keyof Calls>(name: Name, request: Calls[Name]["request"]): Promise<Calls[Name]["result"]> {
    const port = await this.#connected();
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      try {
        port.postMessage({ id, name, request });
      } catch (cause) {
        reject(new Disconnected("The encoder has ended.", { cause }));
      }
    });
  }

  #connected(): Promise<chrome.runtime.Port> {
    this.#port ??= this.#open().catch((error: unknown) => {
      this.#port = undefined;
      throw error;
    });
    return this.#port;
  }

  async #open(): Promise<chrome.runtime.Port> {
    for (let attempt = 1; ; attempt++) {
      try {
        // Rejects where the service worker is stopped before it has answered.
        const problem: unknown = await chrome.runtime.sendMessage(ENSURE_ENCODER);
        if (problem !== "")
          throw new RemoteError({ code: "internal", message: `The encoder cannot be started: ${String(problem)}` });
        return await this.#openPort();
      } catch (error) {
        if (error instanceof RemoteError || attempt === CONNECT_ATTEMPTS) throw error;
        await new Promise((resolve) => setTimeout(resolve, DELAY_MS));
      }
    }
  }

  /** To the document itself. The service worker only creates it: once the port is open, stopping it changes nothing. */
  #openPort(): Promise<chrome.runtime.Port> {
    const port = chrome.runtime.connect();
    this.#onOpen();
    return new Promise((resolve, reject) => {
      port.onMessage.addListener((message: Message) => {
        resolve(port); // the first message says that somebody is there
        if ("id" in message) this.#settle(message);
        else this.#onNews(message);
      });
      port.onDisconnect.addListener(() => {
        const error = new Disconnected(chrome.runtime.lastError?.message ?? "The encoder has ended.");
        reject(error);
        this.#port = undefined;
        for (const { reject } of this.#waiting.values()) reject(error);
        this.#waiting.clear();
      });
    });
  }

  #settle(message: Extract<Message, { id: number }>): void {
    const waiting = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if ("failure" in message) waiting?.reject(new RemoteError(message.failure));
    else waiting?.resolve(message.result as never);
  }
}
