// Several workers with the same model, for bulk jobs. A worker belongs to the pool from its start to its end.

import type { CacheChoice } from "../cache/cache.js";
import { sendCache, transferOf } from "../cache/port.js";
import { EmbervecError, codeOf, messageOf, shown } from "../errors.js";
import { FetchServer } from "../model/fetch.js";
import { machine, workerScript } from "../platform/web.js";
import type { LoadOptions, ProgressCallback, Tokens } from "../types.js";
import { Culprit, Orphaned, WorkerClient } from "./client.js";
import type { Calls, DeviceChoice, EncodeRequest, EncodeResult, LoadRequest, LoadResult } from "./protocol.js";

/** One request that a worker computes and one that waits, so that it never idles. */
const REQUESTS_PER_WORKER = 2;

/**
 * How often a request is made again because its worker ended over another one. Finding one of 64 texts ends seven workers; a request
 * that has seen three times as many is not what is wrong.
 */
const MAX_ORPHANED = 21;

/** The models of all workers may take so much of the device's memory; it is the page's, too, and other pages'. */
const MEMORY_SHARE = 1 / 4;

/** GiB, where a browser does not say: Firefox, Safari, and pages that are not secure. */
const ASSUMED_MEMORY = 4;

/** What all workers of a pool are started with. */
export interface PoolOptions {
  request: Omit<LoadRequest, "cache" | "fetch">;
  cache: CacheChoice;
  /** The caller's, for the model's files. */
  fetch: LoadOptions["fetch"];
  workers: number | "auto";
  workerUrl: string | undefined;
  createWorker: LoadOptions["createWorker"];
  /** The page's address. */
  page: string;
  onDevice: (choice: DeviceChoice) => void;
  onWorkers: (workers: number) => void;
}

interface Member {
  worker: WorkerClient<Calls>;
  /** Requests under way. */
  load: number;
  /** Whether it has the model. */
  isReady: boolean;
  /** Whether it is not needed, but of use. */
  isSpare: boolean;
  /** Ends when it has, and rejects where it will not. */
  loading: Promise<LoadResult>;
}

/**
 * The first worker is there from the start; the others start when a bulk job has use for them. No
 * memory is shared, so no special headers are needed, and each holds the model's weights.
 */
export class WorkerPool {
  readonly #members = new Set<Member>();
  readonly #end = new AbortController();
  #limit = 1;
  /** The worker that has the GPU. */
  #gpuWorker: WorkerClient<Calls> | undefined;
  /** Whether nothing but a GPU is to compute. */
  #demandsGpu = false;

  private constructor(private readonly options: PoolOptions) {}

  /** Starts one worker and loads the model in it. */
  static async start(options: PoolOptions, load: LoadOptions): Promise<{ pool: WorkerPool; result: LoadResult }> {
    const pool = new WorkerPool(options);
    const result = await pool.#add(options.request, load);
    // Without the cache the others would have nothing to load.
    if (result.stored) pool.#limit = options.workers === "auto" ? workersFor(result.memoryBytes) : options.workers;
    return { pool, result };
  }

  /** Aborts with the reason when the pool has ended. */
  get signal(): AbortSignal {
    return this.#end.signal;
  }

  /** Workers that a bulk job has at most. */
  get limit(): number {
    return this.#limit;
  }

  /** How many requests a bulk job should have under way. */
  get capacity(): number {
    return REQUESTS_PER_WORKER * Math.max(1, this.#ready().length);
  }

  /** The tokens of a text. */
  async tokenize(text: string): Promise<Tokens> {
    try {
      return await this.#request("tokenize", { text });
    } catch (error) {
      throw error instanceof Culprit ? endedBy(text, error) : error;
    }
  }

  /** How many tokens each text has. */
  tokenCounts(texts: string[]): Promise<Uint32Array> {
    const ask = (texts: string[]) => this.#request("tokenCounts", { texts });
    return halving(texts, ask, (a, b) => Uint32Array.of(...a, ...b));
  }

  /** Encodes texts. An abort ends it between two batches. */
  encode({ texts, options }: EncodeRequest, signal?: AbortSignal): Promise<EncodeResult> {
    return halving(texts, (texts) => this.#request("encode", { texts, options }, signal), joined);
  }

  /** Asks the worker that has least to do; a new one where the last one has failed for good. */
  async #request<Name extends "encode" | "tokenize" | "tokenCounts">(
    type: Name,
    request: Calls[Name]["request"],
    signal?: AbortSignal,
  ): Promise<Calls[Name]["result"]> {
    for (let orphaned = 0; ; ) {
      const member = await this.#leastBusy();
      try {
        return await member.worker.request(type, request, { signal });
      } catch (error) {
        this.signal.throwIfAborted();
        const isInnocent = error instanceof Orphaned && !(error instanceof Culprit);
        if (!isInnocent || ++orphaned > MAX_ORPHANED) throw error;
      } finally {
        member.load -= 1;
      }
    }
  }

  /** Starts the workers that are still missing; they take part as soon as they have loaded. */
  grow(): void {
    if (this.signal.aborted) return;
    // Not until they are there: a browser may refuse to start even one.
    for (let missing = this.#limit - this.#alive().length; missing > 0; missing--) {
      // The first worker has put the model there.
      this.#add({ ...this.options.request, localFilesOnly: true }, {}, true).catch((error: unknown) => {
        if (this.signal.aborted) return;
        // Slower, but not wrong: most likely there is no memory for another one.
        this.#limit = Math.max(1, this.#alive().length);
        this.options.onWorkers(this.#limit);
        console.warn(
          `embervec continues with ${this.#limit} worker(s), because another one could not start: ${messageOf(error)}`,
        );
      });
    }
  }

  /**
   * Has one of the workers use a GPU, from then on for whatever it is faster for. Only one: a second model on the same
   * GPU would only wait for the first.
   */
  async useGpu(
    demanded: boolean,
    { signal, progress }: { signal?: AbortSignal; progress?: ProgressCallback } = {},
  ): Promise<DeviceChoice> {
    const member = await this.#leastBusy();
    const { worker } = member;
    // It goes on with texts meanwhile.
    member.load -= 1;
    const choice = await worker.request("useGpu", { demanded }, { signal, progress });
    this.#demandsGpu = demanded;
    if (choice.device === "webgpu") this.#gpuWorker = worker;
    return choice;
  }

  /** Ends all workers, also those that are starting, which gives their memory back, and rejects what is still open. */
  terminate(reason: EmbervecError): void {
    this.#end.abort(reason);
    for (const { worker } of this.#members) worker.terminate(reason);
    this.#members.clear();
  }

  async #add(request: Omit<LoadRequest, "cache" | "fetch">, load: LoadOptions, isSpare = false): Promise<LoadResult> {
    // A listener to one of the pool's events may have ended it.
    this.signal.throwIfAborted();
    const { workerUrl, createWorker, page, onDevice } = this.options;
    const { url, start } = workerScript(workerUrl, page);
    const worker = createWorker
      ? new WorkerClient<Calls>(() => createWorker(url), "the worker of `createWorker`", onDevice)
      : new WorkerClient<Calls>(start, url, onDevice);
    const member: Member = { worker, load: 0, isReady: false, isSpare, loading: this.#load(worker, request, load) };
    this.#members.add(member);
    const failed = (error: unknown) => {
      this.#members.delete(member);
      worker.terminate(new EmbervecError("disposed", "the model did not load"));
      this.signal.throwIfAborted();
      // No text is to blame for a worker that does not start.
      throw error instanceof Orphaned ? error.cause : error;
    };
    member.loading = member.loading.then((result) => ((member.isReady = true), result), failed);
    return member.loading;
  }

  async #load(
    worker: WorkerClient<Calls>,
    request: Omit<LoadRequest, "cache" | "fetch">,
    { signal, progress }: LoadOptions,
  ): Promise<LoadResult> {
    const cache = sendCache(this.options.cache);
    const served = this.options.fetch && new FetchServer(this.options.fetch);
    const transfer = [...transferOf(cache), ...(served ? [served.port] : [])];
    let result: LoadResult;
    try {
      result = await worker.request("load", { ...request, cache, fetch: served?.port }, { signal, progress, transfer });
    } finally {
      // Only a load asks the host.
      served?.close();
    }
    if (this.#demandsGpu) await this.#demandAgain(worker);
    return result;
  }

  /** In place of a worker that had the GPU. */
  async #demandAgain(worker: WorkerClient<Calls>): Promise<void> {
    try {
      await worker.request("useGpu", { demanded: true });
      this.#gpuWorker = worker;
    } catch (cause) {
      throw codeOf(cause) === "device_lost"
        ? cause
        : new EmbervecError("device_lost", `the GPU was lost with its worker: ${messageOf(cause)}`, { cause });
    }
  }

  /** With one request more to do; a new one where none is left. */
  async #leastBusy(): Promise<Member> {
    for (;;) {
      this.signal.throwIfAborted();
      const ready = this.#ready();
      if (ready.length > 0) {
        const member = ready.reduce((least, each) => (each.load < least.load ? each : least));
        member.load += 1;
        return member;
      }
      const [starting] = this.#alive();
      // All that wait hear why the one that they need does not start; without one that is only of use another is started.
      if (starting?.isSpare) await starting.loading.catch(() => {});
      else await (starting?.loading ?? this.#add(this.options.request, {}));
    }
  }

  #ready(): Member[] {
    return this.#alive().filter(({ isReady }) => isReady);
  }

  #alive(): Member[] {
    for (const member of this.#members) if (!member.worker.alive) this.#members.delete(member);
    if (this.#gpuWorker && !this.#gpuWorker.alive) {
      this.#gpuWorker = undefined;
      if (!this.#demandsGpu)
        this.options.onDevice({ device: "cpu", deviceReason: "The CPU, because the worker that had the GPU failed." });
    }
    return [...this.#members];
  }
}

/**
 * More workers than physical cores only cost memory; there are about half as many of these as the
 * browser says, and one of them is the page's. Each holds a model of `bytes`.
 */
function workersFor(bytes: number): number {
  const { processors, memory = ASSUMED_MEMORY } = machine();
  const fitting = Math.floor((MEMORY_SHARE * memory * 2 ** 30) / bytes);
  return Math.max(1, Math.min(4, Math.floor(processors / 2), fitting));
}

/** Where texts end a worker, halves are tried until the text is found that does; the others are not its victims. */
async function halving<Result>(
  texts: string[],
  ask: (texts: string[]) => Promise<Result>,
  join: (a: Result, b: Result) => Result,
): Promise<Result> {
  try {
    return await ask(texts);
  } catch (error) {
    if (!(error instanceof Culprit)) throw error;
    if (texts.length === 1) throw endedBy(texts[0]!, error);
    const half = texts.length >> 1;
    const first = await halving(texts.slice(0, half), ask, join);
    return join(first, await halving(texts.slice(half), ask, join));
  }
}

function endedBy(text: string, error: Culprit): EmbervecError {
  return new EmbervecError(error.code, `the text ${shown(text)} crashes the worker that encodes it: ${error.message}`, {
    cause: error.cause,
  });
}

function joined(a: EncodeResult, b: EncodeResult): EncodeResult {
  const vectors = new Float32Array(a.vectors.length + b.vectors.length);
  vectors.set(a.vectors);
  vectors.set(b.vectors, a.vectors.length);
  const { dimension } = a;
  return {
    vectors,
    dimension,
    tokenCounts: Uint32Array.of(...a.tokenCounts, ...b.tokenCounts),
    truncated: Uint8Array.of(...a.truncated, ...b.truncated),
  };
}
