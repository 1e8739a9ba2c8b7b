// A GPU beside the CPU, in the CPU's worker: checked, timed, and left as soon as it fails.

import type { CacheChoice } from "../cache/cache.js";
import { sendCache, transferOf } from "../cache/port.js";
import type { Timing } from "../cache/entries.js";
import type { ModelStore } from "../cache/store.js";
import { EmbervecError, messageOf } from "../errors.js";
import { modelKey } from "../model/source.js";
import type { Dtype, ProgressCallback } from "../types.js";
import { cosSim } from "../vectors.js";
import { WorkerClient } from "../worker/client.js";
import type { DeviceChoice, EncodeRequestOptions, EncodeResult, LoadRequest } from "../worker/protocol.js";
import { findAdapter } from "./adapter.js";
import type { Batch, CpuEncoder, GpuCalls } from "./protocol.js";
import { describe, isFaster } from "./timings.js";

/** Changes with the package, and so with the kernels. */
declare const EMBERVEC_VERSION: string;

/**
 * What both devices encode before a GPU is trusted: nothing, a word, a sentence, other scripts, and a text of many
 * tokens, all in one batch.
 */
const KNOWN_TEXTS = [
  "",
  "fox",
  "The quick brown fox jumps over the lazy dog.",
  "Größe, naïveté, 東京の天気 и погода 🙂",
  "Embeddings map a text to a point in space such that texts of similar meaning lie close to each other. ".repeat(4),
];

/** Least cosine between the devices' vectors of each known text. Sums run in another order on a GPU. In q8 a value may also be rounded to its neighbour. */
const LEAST_COSINE = { fp32: 0.9999, fp16: 0.9995, q8: 0.9995 };

/** Tokens of the batches that are timed: a query, a paragraph, a full batch. */
const TIMED_TOKENS = [8, 128, 512];

/** A GPU that is so much slower for a batch is not timed with a larger one. */
const HOPELESS = 4;

/** How often a GPU is started, the first time included. */
const STARTS = 2;

interface Found {
  choice: DeviceChoice;
  /** Absent where the GPU is of no use. */
  accelerator?: Accelerator;
}

/** A GPU that has reproduced the CPU's vectors. */
export class Accelerator {
  /** `undefined` after a failure. */
  #worker: WorkerClient<GpuCalls> | undefined;
  #starts = 1;

  private constructor(
    worker: WorkerClient<GpuCalls>,
    /** `undefined`: everything goes to the GPU. */
    private readonly timings: Timing[] | undefined,
    private readonly restart: () => Promise<WorkerClient<GpuCalls>>,
    private readonly choice: DeviceChoice,
    private readonly onChange: (choice: DeviceChoice) => void,
  ) {
    this.#worker = worker;
  }

  /**
   * Starts a GPU for a loaded model.
   *
   * @param demanded everything is to be computed there
   * @param progress of the first start
   * @param onChange called when it fails, and when it has been started again
   * @throws {EmbervecError} when a demand cannot be met
   */
  static async start(
    embedder: CpuEncoder,
    store: ModelStore,
    cache: CacheChoice,
    request: LoadRequest,
    demanded: boolean,
    progress: ProgressCallback,
    onChange: (choice: DeviceChoice) => void,
  ): Promise<Found> {
    try {
      const needs = embedder.gpuNeeds(request.dtype);
      const adapter = await findAdapter(needs);
      const key = [EMBERVEC_VERSION, adapter.key, request.base, request.dtype].join(" ");
      const known = demanded ? undefined : await store.timings(key);
      if (known && !known.some(({ cpu, gpu }) => gpu < cpu)) {
        return { choice: { device: "cpu", deviceReason: `${describe(adapter.name, known)} It was measured at an earlier visit.` } };
      }
      const restart = () => open(embedder, cache, request);
      const worker = await open(embedder, cache, request, progress);
      const timings = demanded ? undefined : (known ?? (await measure(embedder, worker)));
      if (timings && !known) await store.keepTimings(key, timings);
      if (timings && !timings.some(({ cpu, gpu }) => gpu < cpu)) {
        worker.terminate(new EmbervecError("disposed", "the GPU is of no use here"));
        return { choice: { device: "cpu", deviceReason: describe(adapter.name, timings) } };
      }
      const choice: DeviceChoice = {
        device: "webgpu",
        deviceReason: timings ? describe(adapter.name, timings) : `WebGPU (${adapter.name}), as demanded; its vectors agree with the CPU's.`,
      };
      return { choice, accelerator: new Accelerator(worker, timings, restart, choice, onChange) };
    } catch (error) {
      const reason = messageOf(error);
      if (demanded) {
        throw new EmbervecError("unsupported_device", `device "webgpu" cannot be had: ${reason}; use "auto" or "cpu"`, { cause: error });
      }
      return { choice: { device: "cpu", deviceReason: `The CPU, because ${reason}.` } };
    }
  }

  /** What the encoder gives for a batch; `undefined` where the CPU is to compute it. */
  async encode(batch: Batch): Promise<Float32Array | undefined> {
    const worker = this.#worker;
    if (!worker) return undefined;
    if (this.timings && !isFaster(this.timings, batch.inputIds.length)) return undefined;
    try {
      return await worker.request("encode", batch);
    } catch (error) {
      // Several batches may have been under way.
      if (worker === this.#worker) this.fail(error);
      return undefined;
    }
  }

  /** Goes on without the GPU, which is started once more. */
  fail(error: unknown): void {
    const reason = `The CPU, because the GPU failed: ${messageOf(error)}`;
    this.#worker?.terminate(new EmbervecError("device_lost", reason));
    this.#worker = undefined;
    console.warn(`embervec: ${reason}`);
    this.onChange({ device: "cpu", deviceReason: reason });
    if (this.#starts === STARTS) return;
    this.#starts += 1;
    this.restart().then(
      (worker) => {
        this.#worker = worker;
        this.onChange({ ...this.choice, deviceReason: `${this.choice.deviceReason} It failed once and was started again.` });
      },
      (again: unknown) => {
        this.onChange({ device: "cpu", deviceReason: `${reason}; and again when it was started anew: ${messageOf(again)}` });
      },
    );
  }
}

/** A GPU's worker with the model, which has reproduced the CPU's vectors. */
async function open(
  embedder: CpuEncoder,
  choice: CacheChoice,
  request: LoadRequest,
  progress?: ProgressCallback,
): Promise<WorkerClient<GpuCalls>> {
  const start = () => new Worker(new URL("./gpu.js", import.meta.url), { type: "module", name: "embervec-gpu" });
  const worker = new WorkerClient<GpuCalls>(start, "gpu.js");
  try {
    const { dtype, base, wasmUrl } = request;
    const { config, weights: files } = embedder.encoderFiles();
    const weights = files.map(({ path, packed }) => (dtype === "q8" ? (packed ?? path) : path));
    const cache = sendCache(choice);
    const opening = { cache, model: modelKey(base, dtype), dtype, config, weights, wasmUrl };
    await worker.request("open", opening, { progress, transfer: transferOf(cache) });
    await check(embedder, worker, dtype);
    return worker;
  } catch (error) {
    worker.terminate(new EmbervecError("disposed", "the GPU was not taken into use"));
    throw error;
  }
}

/** Refuses a GPU whose vectors differ from the CPU's. */
async function check(embedder: CpuEncoder, worker: WorkerClient<GpuCalls>, dtype: Dtype): Promise<void> {
  const options: EncodeRequestOptions = { prompt: "" };
  const expected = embedder.encode(KNOWN_TEXTS, options);
  const job = embedder.begin(KNOWN_TEXTS, options);
  for (let batch = job.batch(); batch; batch = job.batch()) {
    embedder.accept(job, await worker.request("encode", batch));
  }
  const actual = job.finish();
  const { dimension } = expected;
  KNOWN_TEXTS.forEach((text, i) => {
    const row = ({ vectors }: EncodeResult) => vectors.subarray(i * dimension, (i + 1) * dimension);
    const cosine = cosSim(row(actual), row(expected));
    // Not `<`, which NaN would pass.
    if (!(cosine >= LEAST_COSINE[dtype])) {
      throw new EmbervecError(
        "unsupported_device",
        `the GPU computes wrong vectors (of "${text.slice(0, 20)}" the cosine to the CPU's is ${cosine.toFixed(5)}, not ${LEAST_COSINE[dtype]} or more)`,
      );
    }
  });
}

/**
 * A measurement lasts so many milliseconds at least: a browser's clock may tick every millisecond, and the batch of a tiny model takes
 * a hundredth of that. A clock that ticks more slowly, or never, ends it after {@link MOST_RUNS}.
 */
const LEAST_MS = 10;
const MOST_RUNS = 100;

/** Times batches on both devices, small ones first. */
async function measure(embedder: CpuEncoder, worker: WorkerClient<GpuCalls>): Promise<Timing[]> {
  const timings: Timing[] = [];
  for (const tokens of TIMED_TOKENS) {
    // "a" is one token in every BERT vocabulary; [CLS] and [SEP] make two.
    const text = [Array(tokens - 2).fill("a").join(" ")];
    const cpu = await best(async () => void embedder.encode(text, {}));
    const batch = embedder.begin(text, {}).batch()!;
    const gpu = await best(async () => void (await worker.request("encode", batch)));
    timings.push({ tokens: batch.inputIds.length, cpu, gpu });
    if (gpu > HOPELESS * cpu && tokens > TIMED_TOKENS[0]!) break;
  }
  return timings;
}

/** Milliseconds of one run: the better of two measurements after a run to warm up. 0 where the clock did not tick. */
async function best(run: () => Promise<void>): Promise<number> {
  await run();
  let best = Infinity;
  for (let i = 0; i < 2; i++) {
    const start = performance.now();
    let elapsed = 0;
    let runs = 0;
    do {
      await run();
      runs += 1;
      elapsed = performance.now() - start;
    } while (elapsed < LEAST_MS && runs < MOST_RUNS);
    best = Math.min(best, elapsed / runs);
  }
  return best;
}
