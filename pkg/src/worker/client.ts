// The page's side of a worker: requests as promises.

import { EmbervecError, messageOf } from "../errors.js";
import type { ProgressCallback } from "../types.js";
import type { CallMap, DeviceChoice, FromWorker, ToWorker } from "./protocol.js";

interface Pending {
  resolve: (result: never) => void;
  reject: (error: unknown) => void;
  progress: ProgressCallback | undefined;
}

interface RequestOptions {
  signal?: AbortSignal | undefined;
  progress?: ProgressCallback | undefined;
  /** What of the request is moved to the worker. */
  transfer?: Transferable[];
}

/** A worker that lives until {@link WorkerClient.terminate}, or until it fails for good. */
export class WorkerClient<Map extends CallMap> {
  readonly #worker: Worker;
  readonly #pending = new Map<number, Pending>();
  #nextId = 0;
  /** Why the worker is gone. */
  #ended: EmbervecError | undefined;

  /**
   * @param start starts the worker; its `new Worker(new URL(…))` is written out at the caller's, because
   *   bundlers look for exactly this
   * @param script the worker's file, for messages
   */
  constructor(
    start: () => Worker,
    private readonly script: string,
    private readonly onDevice: (choice: DeviceChoice) => void = () => {},
  ) {
    if (typeof Worker === "undefined") {
      throw new EmbervecError("unsupported_device", "embervec needs Web Workers; call Embedder.load in a browser, not while rendering on a server");
    }
    this.#worker = start();
    this.#worker.onmessage = ({ data }: MessageEvent<FromWorker<Map>>) => this.#receive(data);
    this.#worker.onerror = (event) => {
      event.preventDefault();
      // A script that did not load has no message.
      const message = event.message
        ? `the worker stopped: ${event.message}`
        : `the worker could not run, because its script did not load; ${this.script} must lie beside the package's other files, on the page's own origin, and a Content-Security-Policy must allow it (worker-src)`;
      this.terminate(new EmbervecError("internal", message));
    };
    // Nobody knows whose answer it was.
    this.#worker.onmessageerror = () => {
      this.terminate(new EmbervecError("internal", "an answer of the worker could not be read"));
    };
  }

  /** Whether requests still have a chance. */
  get alive(): boolean {
    return this.#ended === undefined;
  }

  /**
   * Asks the worker. On abort the promise rejects with the signal's reason, for a load only after
   * the worker has cleaned up.
   */
  async request<Name extends keyof Map>(
    type: Name,
    request: Map[Name]["request"],
    { signal, progress, transfer = [] }: RequestOptions = {},
  ): Promise<Map[Name]["result"]> {
    signal?.throwIfAborted();
    if (this.#ended) throw this.#ended;
    const id = this.#nextId++;
    const abort = () => this.#send({ type: "abort", id });
    signal?.addEventListener("abort", abort);
    try {
      return await new Promise<Map[Name]["result"]>((resolve, reject) => {
        this.#pending.set(id, { resolve, reject, progress });
        try {
          this.#send({ type, id, request } as ToWorker<Map>, transfer);
        } catch (cause) {
          this.#pending.delete(id);
          reject(new EmbervecError("internal", `the worker could not be asked: ${messageOf(cause)}`, { cause }));
        }
      });
    } finally {
      signal?.removeEventListener("abort", abort);
      signal?.throwIfAborted();
    }
  }

  /** Ends the worker, which gives all its memory back, and rejects what is still open. */
  terminate(reason: EmbervecError): void {
    this.#ended ??= reason;
    this.#worker.terminate();
    for (const { reject } of this.#pending.values()) reject(reason);
    this.#pending.clear();
  }

  #send(message: ToWorker<Map>, transfer: Transferable[] = []): void {
    this.#worker.postMessage(message, transfer);
  }

  #receive(message: FromWorker<Map> | null | undefined): void {
    // Tools for developers and extensions send messages of their own.
    if (!message) return;
    if (message.type === "device") return this.onDevice(message);
    const pending = this.#pending.get(message.id);
    switch (message.type) {
      case "progress":
        return pending?.progress?.(message.event);
      case "result":
        this.#pending.delete(message.id);
        return pending?.resolve(message.result as never);
      case "error": {
        const error = new EmbervecError(message.code, message.message);
        if (message.fatal) return this.terminate(error);
        this.#pending.delete(message.id);
        return pending?.reject(error);
      }
    }
  }
}
