// Several workers with the same model, for bulk jobs.

import type { CacheChoice } from "../cache/cache.js";
import { sendCache, transferOf } from "../cache/port.js";
import { EmbervecError, messageOf } from "../errors.js";
import { FetchServer } from "../model/fetch.js";
import type { LoadOptions, ProgressCallback } from "../types.js";
import { WorkerClient } from "./client.js";
import type { Calls, DeviceChoice, LoadRequest, LoadResult } from "./protocol.js";

/** One request that a worker computes and one that waits, so that it never idles. */
const REQUESTS_PER_WORKER = 2;

interface Member {
  worker: WorkerClient<Calls>;
  /** Requests under way. */
  load: number;
}

/**
 * The first worker is there from the start; the others start when a bulk job has use for them. No
 * memory is shared, so no special headers are needed, and each holds the model's weights.
 */
export class WorkerPool {
  #members: Member[] = [];
  #starting = 0;
  /** Under way where all workers have failed for good. */
  #replacement: Promise<unknown> | undefined;
  #ended: EmbervecError | undefined;
  /** The worker that has the GPU. */
  #gpuWorker: WorkerClient<Calls> | undefined;

  private constructor(
    private readonly loadRequest: Omit<LoadRequest, "cache" | "fetch">,
    private readonly cache: CacheChoice,
    private readonly fetch: LoadOptions["fetch"],
    private limit: number,
    private readonly onDevice: (choice: DeviceChoice) => void,
  ) {}

  /** Starts one worker and loads the model in it. */
  static async start(
    request: Omit<LoadRequest, "cache" | "fetch">,
    cache: CacheChoice,
    limit: number,
    options: LoadOptions,
    onDevice: (choice: DeviceChoice) => void,
  ): Promise<{ pool: WorkerPool; result: LoadResult }> {
    const pool = new WorkerPool(request, cache, options.fetch, limit, onDevice);
    const result = await pool.#add(request, options);
    // The others would have nothing to load.
    if (!result.stored) pool.limit = 1;
    return { pool, result };
  }

  /** How many requests a bulk job should have under way. */
  get capacity(): number {
    return REQUESTS_PER_WORKER * Math.max(1, this.#alive().length);
  }

  /** Asks the worker that has least to do; a new one where the last one has failed for good. */
  async request<Name extends keyof Calls>(type: Name, request: Calls[Name]["request"]): Promise<Calls[Name]["result"]> {
    if (this.#ended) throw this.#ended;
    if (this.#alive().length === 0) {
      this.#replacement ??= this.#add(this.loadRequest, {}).finally(() => (this.#replacement = undefined));
      await this.#replacement;
      if (this.#ended) throw this.#ended;
    }
    const member = this.#alive().reduce((least, each) => (each.load < least.load ? each : least));
    member.load += 1;
    try {
      return await member.worker.request(type, request);
    } finally {
      member.load -= 1;
    }
  }

  /** Starts the workers that are still missing; they take part as soon as they have loaded. */
  grow(): void {
    while (!this.#ended && this.#alive().length + this.#starting < this.limit) {
      this.#starting += 1;
      // The first worker has put the model there.
      this.#add({ ...this.loadRequest, localFilesOnly: true }, {})
        .catch((error: unknown) => {
          if (this.#ended) return;
          // Slower, but not wrong: most likely there is no memory for another one.
          this.limit = Math.max(1, this.#alive().length);
          console.warn(`embervec goes on with ${this.limit} worker(s), because another one could not start: ${messageOf(error)}`);
        })
        .finally(() => (this.#starting -= 1));
    }
  }

  /**
   * Has the first worker use a GPU, from then on for whatever it is faster for. Only one: a second model on the same
   * GPU would only wait for the first.
   */
  async useGpu(demanded: boolean, progress?: ProgressCallback): Promise<DeviceChoice> {
    const [first] = this.#alive();
    if (!first) throw this.#ended ?? new EmbervecError("internal", "no worker is left");
    const choice = await first.worker.request("useGpu", { demanded }, { progress });
    if (choice.device === "webgpu") this.#gpuWorker = first.worker;
    return choice;
  }

  /** Ends all workers, which gives their memory back, and rejects what is still open. */
  terminate(reason: EmbervecError): void {
    this.#ended ??= reason;
    for (const { worker } of this.#members) worker.terminate(reason);
    this.#members = [];
  }

  async #add(request: Omit<LoadRequest, "cache" | "fetch">, { signal, progress }: LoadOptions): Promise<LoadResult> {
    const start = () => new Worker(new URL("./worker.js", import.meta.url), { type: "module", name: "embervec" });
    const worker = new WorkerClient<Calls>(start, "worker.js", this.onDevice);
    const served = this.fetch && new FetchServer(this.fetch);
    try {
      const cache = sendCache(this.cache);
      const transfer = [...transferOf(cache), ...(served ? [served.port] : [])];
      const result = await worker.request("load", { ...request, cache, fetch: served?.port }, { signal, progress, transfer });
      if (this.#ended) throw this.#ended;
      this.#members.push({ worker, load: 0 });
      return result;
    } catch (error) {
      worker.terminate(new EmbervecError("disposed", "the model did not load"));
      throw error;
    } finally {
      // Only a load asks the host.
      served?.close();
    }
  }

  #alive(): Member[] {
    this.#members = this.#members.filter(({ worker }) => worker.alive);
    if (this.#gpuWorker && !this.#gpuWorker.alive) {
      this.#gpuWorker = undefined;
      this.onDevice({ device: "cpu", deviceReason: "The CPU, because the worker that had the GPU failed." });
    }
    return this.#members;
  }
}
