// The page's side of a worker: requests as promises. A worker is starting until it says that it runs, and ends once, for one reason.

import { describe } from "../check.js";
import { EmbervecError, messageOf } from "../errors.js";
import { SCRIPT_MUST_BE, allowListeners, setBusy } from "../platform/web.js";
import { after } from "../settle.js";
import type { ProgressCallback } from "../types.js";
import type { CallMap, DeviceChoice, FromWorker, ToWorker } from "./protocol.js";

interface Pending {
  /** What was asked. */
  type: PropertyKey;
  resolve: (result: never) => void;
  reject: (error: unknown) => void;
  progress: ProgressCallback | undefined;
  /** Something was heard of it. */
  heard: () => void;
}

interface RequestOptions {
  signal?: AbortSignal | undefined;
  progress?: ProgressCallback | undefined;
  /** What of the request is moved to the worker. */
  transfer?: Transferable[];
  /** Milliseconds of silence, without a progress event or the answer, after which the worker is given up. */
  patience?: number;
}

/** Milliseconds until a worker's script runs: 60 kB at 16 kbit/s. */
const START_MS = 30_000;

/**
 * Milliseconds of silence after which a second worker is started beside the first; a script runs within 50. Chromium 156 loses a worker,
 * without a word, whose page gets a new service worker at this moment: 5 of 12 such changes lost one, where one was started every 15 ms.
 */
const AGAIN_MS = 5000;

/** Milliseconds that a worker has to tidy up after an abort, before the caller has its answer all the same. */
const ABORT_MS = 250;

/** A request was in a worker that ended for something else: it can be made again elsewhere. */
export class Orphaned extends EmbervecError {
  constructor(reason: EmbervecError) {
    super(reason.code, reason.message, { cause: reason });
  }
}

/** A worker ended over this request. */
export class Culprit extends Orphaned {}

/** A worker that lives until {@link WorkerClient.terminate}, or until it fails for good. */
export class WorkerClient<Map extends CallMap> {
  /** The one whose script runs. */
  #worker: Worker | undefined;
  /** Until one runs: those that may, and what it is to get. */
  readonly #starting = new Set<Worker>();
  readonly #held: { message: ToWorker<Map>; transfer: Transferable[] }[] = [];
  readonly #pending = new Map<number, Pending>();
  /** Ends the wait for the script to run. */
  readonly #runs: () => void;
  #nextId = 0;
  /** The request that is computed, as far as the worker has said. */
  #turn: number | undefined;
  /** Why the worker is gone. */
  #ended: EmbervecError | undefined;

  /**
   * @param start starts the worker, and perhaps a second one in its place; its `new Worker(new URL(…))` is written out at the caller's,
   *   because bundlers look for exactly this
   * @param script the worker's address or what else it is, for messages
   * @throws {EmbervecError} where the browser refuses to start it, or `start` gives something else
   */
  constructor(
    start: () => Worker,
    script: string | URL,
    private readonly onDevice: (choice: DeviceChoice) => void = () => {},
  ) {
    const failure = (problem: string, cause?: unknown) =>
      new EmbervecError("network", `${nameOf(script)} ${problem}. ${SCRIPT_MUST_BE}`, { cause });
    const launch = () => {
      const worker = startedBy(start, failure);
      this.#starting.add(worker);
      worker.onmessage = ({ data }: MessageEvent<FromWorker<Map>>) => this.#receive(data, worker);
      worker.onerror = (event) => {
        event.preventDefault?.();
        const { message, error: cause } = event as { message?: string; error?: unknown };
        if (worker === this.#worker)
          return this.#fail(new EmbervecError("internal", `the worker stopped: ${message}`, { cause }));
        // The other one may still run.
        if (this.#starting.size > 1) return this.#drop(worker);
        // A script that did not load has no message.
        this.#fail(failure(message ? `stopped before it ran (${message})` : "did not load", cause));
      };
      // Nobody knows whose answer it was. Chromium's workers have no `onmessageerror`, only the event.
      worker.addEventListener("messageerror", () =>
        this.#fail(new EmbervecError("internal", "an answer of the worker could not be read")),
      );
    };
    launch();
    const again = after(AGAIN_MS, () => {
      try {
        launch();
      } catch {
        // The first one may still run.
      }
    });
    const late = after(START_MS, () => this.#fail(failure(`does not run after ${START_MS / 1000} s`)));
    this.#runs = () => {
      again();
      late();
    };
  }

  /** Whether requests still have a chance. */
  get alive(): boolean {
    return this.#ended === undefined;
  }

  /**
   * Asks the worker. On abort the promise rejects with the signal's reason, as soon as the worker has cleaned up and a quarter of a
   * second later at the latest.
   */
  async request<Name extends keyof Map>(
    type: Name,
    request: Map[Name]["request"],
    { signal, progress, transfer = [], patience }: RequestOptions = {},
  ): Promise<Map[Name]["result"]> {
    signal?.throwIfAborted();
    if (this.#ended) throw new Orphaned(this.#ended);
    const id = this.#nextId++;
    let silence: (() => void) | undefined;
    let grace: (() => void) | undefined;
    const heard = () => {
      silence?.();
      if (patience === undefined) return;
      const problem = `it has not answered for ${(patience / 1000).toFixed(1)} s`;
      silence = after(patience, () => this.#fail(new EmbervecError("internal", problem), id));
    };
    const abort = () => {
      this.#post({ type: "abort", id }, []);
      grace = after(ABORT_MS, () => this.#settle(id)?.reject(signal?.reason));
    };
    allowListeners(signal);
    signal?.addEventListener("abort", abort);
    try {
      return await new Promise<Map[Name]["result"]>((resolve, reject) => {
        this.#pending.set(id, { type, resolve, reject, progress, heard });
        this.#setBusy(true);
        heard();
        try {
          this.#post({ type, id, request } as ToWorker<Map>, transfer);
        } catch (cause) {
          this.#settle(id);
          reject(notAsked(cause));
        }
      });
    } finally {
      silence?.();
      grace?.();
      if (this.#pending.size === 0) this.#setBusy(false);
      signal?.removeEventListener("abort", abort);
      signal?.throwIfAborted();
    }
  }

  /** Ends the worker, which gives all its memory back, and rejects what is still open. */
  terminate(reason: EmbervecError): void {
    this.#end(reason, () => reason);
  }

  /**
   * Ends a worker that has failed.
   *
   * @param culprit the request that it was over; where nobody knows, that whose turn it is, or else which has been under way for the
   *   longest and computes
   */
  #fail(reason: EmbervecError, culprit = this.#suspect()): void {
    this.#end(reason, (id) => (id === culprit ? new Culprit(reason) : new Orphaned(reason)));
  }

  #suspect(): number | undefined {
    if (this.#turn !== undefined && this.#pending.has(this.#turn)) return this.#turn;
    return [...this.#pending].find(([, { type }]) => type !== "useGpu")?.[0];
  }

  #end(reason: EmbervecError, errorOf: (id: number) => EmbervecError): void {
    this.#ended ??= reason;
    this.#runs();
    for (const worker of this.#workers) worker.terminate();
    this.#starting.clear();
    this.#held.length = 0;
    const pending = [...this.#pending];
    this.#pending.clear();
    for (const [id, { reject }] of pending) reject(errorOf(id));
  }

  get #workers(): readonly Worker[] {
    return this.#worker === undefined ? [...this.#starting] : [this.#worker];
  }

  #setBusy(isBusy: boolean): void {
    for (const worker of this.#workers) setBusy(worker, isBusy);
  }

  #drop(worker: Worker): void {
    this.#starting.delete(worker);
    worker.terminate();
  }

  /** The first one that runs is the worker. */
  #take(worker: Worker): void {
    if (!this.#starting.delete(worker)) return;
    for (const other of this.#starting) this.#drop(other);
    this.#worker = worker;
    this.#runs();
    for (const { message, transfer } of this.#held.splice(0)) {
      try {
        worker.postMessage(message, transfer);
      } catch (cause) {
        this.#settle(message.id)?.reject(notAsked(cause));
      }
    }
  }

  #post(message: ToWorker<Map>, transfer: Transferable[]): void {
    if (this.#worker !== undefined) return this.#worker.postMessage(message, transfer);
    // As it is now: the caller may change what it has passed.
    this.#held.push(structuredClone({ message, transfer }, { transfer }));
  }

  #settle(id: number): Pending | undefined {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    return pending;
  }

  #receive(message: FromWorker<Map> | null | undefined, worker: Worker): void {
    // Tools for developers and extensions send messages of their own.
    if (!message) return;
    switch (message.type) {
      case "started":
        return this.#take(worker);
      case "turn":
        this.#turn = message.id;
        return;
      case "device": {
        const { device, deviceReason } = message;
        return this.onDevice({ device, deviceReason });
      }
      case "progress": {
        const pending = this.#pending.get(message.id);
        pending?.heard();
        try {
          return pending?.progress?.(message.event);
        } catch (error) {
          // A caller's function that throws fails the caller's call, and nothing else.
          this.#post({ type: "abort", id: message.id }, []);
          return this.#settle(message.id)?.reject(error);
        }
      }
      case "result":
        return this.#settle(message.id)?.resolve(message.result as never);
      case "error": {
        const { code, cause, fatal, id } = message;
        const options =
          cause === undefined ? {} : { cause: Object.assign(new Error(cause.message), { name: cause.name }) };
        const error = new EmbervecError(code, message.message, options);
        if (fatal) return this.#fail(error, id);
        return this.#settle(id)?.reject(error);
      }
    }
  }
}

function notAsked(cause: unknown): EmbervecError {
  return new EmbervecError("internal", `the worker could not be asked: ${messageOf(cause)}`, { cause });
}

function startedBy(start: () => Worker, failure: (problem: string, cause?: unknown) => EmbervecError): Worker {
  let worker: Worker;
  try {
    worker = start();
  } catch (cause) {
    throw failure(`cannot be started (${messageOf(cause)})`, cause);
  }
  if (isWorker(worker)) return worker;
  throw new EmbervecError("invalid_input", `load: option "createWorker" must return a Worker, not ${describe(worker)}`);
}

/** Without what may be a token. */
function nameOf(script: string | URL): string {
  return typeof script === "string" ? script : `${script.protocol}//${script.host}${script.pathname}`;
}

/** Whether it has what is used of a worker; it may be of another realm. */
function isWorker(value: unknown): boolean {
  const { postMessage, terminate, addEventListener } = Object(value) as Partial<Worker>;
  return [postMessage, terminate, addEventListener].every((method) => typeof method === "function");
}
