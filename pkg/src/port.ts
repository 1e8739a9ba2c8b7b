// Objects of the page that a worker calls: a caller's own cache, or its own `fetch`.

import { messageOf } from "./errors.js";
import { setBusy } from "./platform/web.js";

/** Methods whose arguments and results can be cloned. */
export type Methods = Record<string, (...args: never[]) => unknown>;

type Question = { id: number; method: string; args: unknown[] } | { connect: MessagePort };

type Answer = { id: number; result: unknown } | { id: number; error: { name: string; message: string } };

/** Answers what comes through a port. */
export function serve(port: MessagePort, methods: Methods): void {
  port.onmessage = async ({ data }: MessageEvent<Question>) => {
    if ("connect" in data) return serve(data.connect, methods);
    const { id, method, args } = data;
    let answer: Answer;
    try {
      answer = { id, result: await methods[method]!(...(args as never[])) };
    } catch (error) {
      answer = failure(id, error);
    }
    try {
      port.postMessage(answer);
    } catch (error) {
      // It cannot be cloned.
      port.postMessage(failure(id, error));
    }
  };
  // The worker's own request keeps a process alive.
  setBusy(port, false);
}

function failure(id: number, error: unknown): Answer {
  const { name } = Object(error) as { name?: unknown };
  return { id, error: { name: typeof name === "string" ? name : "Error", message: messageOf(error) } };
}

/** The worker's end of a port. What the other end never answers is for the caller to bound. */
export class PortClient {
  readonly #pending = new Map<number, { resolve: (result: unknown) => void; reject: (error: Error) => void }>();
  #nextId = 0;

  constructor(private readonly port: MessagePort) {
    port.onmessage = ({ data }: MessageEvent<Answer>) => {
      const pending = this.#pending.get(data.id);
      this.#pending.delete(data.id);
      if (!("error" in data)) return pending?.resolve(data.result);
      // Its name tells a full cache from a broken one.
      pending?.reject(Object.assign(new Error(data.error.message), { name: data.error.name }));
    };
  }

  call(method: string, ...args: unknown[]): Promise<unknown> {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      this.port.postMessage({ id, method, args } satisfies Question);
    });
  }

  /** Another port to the same object, for another worker. */
  connect(): MessagePort {
    const { port1, port2 } = new MessageChannel();
    this.port.postMessage({ connect: port1 } satisfies Question, [port1]);
    return port2;
  }
}
