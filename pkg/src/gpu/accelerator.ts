// A GPU beside the CPU, in the CPU's worker: compared, timed, and left as soon as it fails.

import type { CacheChoice } from "../cache/cache.js";
import { sendCache, transferOf } from "../cache/port.js";
import type { Timing } from "../cache/entries.js";
import type { ModelStore } from "../cache/store.js";
import { EmbervecError, messageOf, shown } from "../errors.js";
import { withoutCredentials } from "../addresses.js";
import { modelKey } from "../model/source.js";
import type { ProgressCallback } from "../types.js";
import { lengthOf, product } from "../vectors.js";
import { WorkerClient } from "../worker/client.js";
import type { DeviceChoice, LoadRequest } from "../worker/protocol.js";
import { besides, startBeside, startByBlob } from "../worker/start.js";
import { findAdapter } from "./adapter.js";
import type { Batch, CpuEncoder, GpuCalls } from "./protocol.js";
import { describe, expected, isFaster } from "./timings.js";
import type { CpuWork, Reference } from "./work.js";

/** Changes with the package, and so with the kernels. */
declare const EMBERVEC_VERSION: string;

/**
 * What both devices encode before a GPU that is demanded is trusted: nothing, a word, a sentence, other scripts, and a text of many
 * tokens, all in one batch. One that is only tried is compared by what the CPU has encoded anyway.
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

/** The batches that are timed, as texts of so many tokens: a query, a paragraph, a full batch. */
const TIMED: readonly (readonly [texts: number, tokens: number])[] = [
  [1, 8],
  [1, 128],
  [4, 128],
];

/** A GPU that is so much slower for a batch is not timed with a larger one. */
const HOPELESS = 4;

/** Milliseconds of silence after which a GPU's worker is given up while it loads a model or compiles kernels: 30 times what SwiftShader took. */
const OPEN_MS = 60_000;

/** A GPU is given up that has not answered after so many times what it should take, and never before so many milliseconds. */
const PATIENCE = 8;
const LEAST_PATIENCE_MS = 3_000;

/** How often a GPU is started, the first time included; one that has run for so long since is a new one. */
const STARTS = 2;
const LONG_MS = 600_000;

/** Milliseconds after which a measurement is made again: drivers and browsers change, 30 days. */
const MAX_AGE_MS = 30 * 86_400_000;

interface Found {
  choice: DeviceChoice;
  /** Absent where the GPU is of no use. */
  accelerator?: Accelerator;
}

type GpuWorker = WorkerClient<GpuCalls>;

/** What a GPU is started with. */
export interface AcceleratorOptions {
  embedder: CpuEncoder;
  work: CpuWork;
  store: ModelStore;
  cache: CacheChoice;
  request: LoadRequest;
  /** Everything is to be computed there. */
  demanded: boolean;
  /** Of the first start. */
  progress: ProgressCallback;
  /** Called when it fails, when it has been started again, and when it waits for work to be compared by. */
  onChange: (choice: DeviceChoice) => void;
}

/** A GPU that has reproduced the CPU's vectors. */
export class Accelerator {
  #starts = 1;
  #startedAt = performance.now();
  #pending = 0;
  /** `undefined` where it could not be had again. */
  #worker: Promise<GpuWorker | undefined> | GpuWorker;

  private constructor(
    private readonly options: AcceleratorOptions,
    worker: GpuWorker,
    private readonly references: readonly Reference[],
    /** What it takes for some numbers of tokens. */
    private readonly timings: readonly Timing[],
    private readonly choice: DeviceChoice,
  ) {
    this.#worker = worker;
  }

  /** Whether nothing else is to compute. */
  get isDemanded(): boolean {
    return this.options.demanded;
  }

  /**
   * Starts a GPU for a loaded model. One that is not demanded is judged by the CPU's own work, and waits for some; nothing waits for it.
   *
   * @throws {EmbervecError} when a demand cannot be met
   */
  static async start(options: AcceleratorOptions): Promise<Found> {
    try {
      return await (options.demanded ? demand(options) : tryOut(options));
    } catch (error) {
      const reason = messageOf(error);
      if (options.demanded) {
        throw new EmbervecError(
          "unsupported_device",
          `WebGPU is not available: ${reason}. Use device "auto" or "cpu".`,
          {
            cause: error,
          },
        );
      }
      return { choice: { device: "cpu", deviceReason: `The CPU, because ${reason}.` } };
    }
  }

  /** One that has been compared. */
  static of(
    options: AcceleratorOptions,
    worker: GpuWorker,
    references: readonly Reference[],
    timings: readonly Timing[],
    deviceReason: string,
  ): Found {
    const choice: DeviceChoice = { device: "webgpu", deviceReason };
    return { choice, accelerator: new Accelerator(options, worker, references, timings, choice) };
  }

  /**
   * What the encoder gives for a batch; `undefined` where the CPU is to compute it.
   *
   * @throws {EmbervecError} `device_lost` where a GPU is demanded and cannot be had again
   */
  async encode(batch: Batch): Promise<Float32Array | undefined> {
    const { demanded } = this.options;
    const tokens = batch.inputIds.length;
    if (!demanded && !isFaster(this.timings, tokens)) return undefined;
    for (;;) {
      const worker = this.#worker instanceof Promise ? (demanded ? await this.#worker : undefined) : this.#worker;
      if (!worker) {
        if (demanded)
          throw new EmbervecError(
            "device_lost",
            'the GPU was lost, and is not to be had again; load the model anew, with device "auto" to go on without one',
          );
        return undefined;
      }
      this.#pending += 1;
      try {
        const patience = Math.max(LEAST_PATIENCE_MS, PATIENCE * expected(this.timings, tokens)) * this.#pending;
        return await worker.request("encode", batch, { patience });
      } catch (error) {
        this.fail(error, worker);
        if (!demanded) return undefined;
      } finally {
        this.#pending -= 1;
      }
    }
  }

  /** Goes on without the GPU, which is started once more. */
  fail(error: unknown, worker = this.#worker): void {
    // Several batches may have been under way.
    if (worker !== this.#worker || worker instanceof Promise) return;
    const { demanded, onChange } = this.options;
    const reason = demanded
      ? `WebGPU, as demanded, which failed: ${messageOf(error)}`
      : `The CPU, because the GPU failed: ${messageOf(error)}`;
    const device = demanded ? "webgpu" : "cpu";
    worker.terminate(new EmbervecError("device_lost", reason));
    console.warn(`embervec: ${reason}`);
    onChange({ device, deviceReason: reason });
    if (performance.now() - this.#startedAt > LONG_MS) this.#starts = 0;
    this.#worker = this.#starts >= STARTS ? Promise.resolve(undefined) : this.#restart(reason);
  }

  async #restart(reason: string): Promise<GpuWorker | undefined> {
    const { onChange, demanded } = this.options;
    this.#starts += 1;
    try {
      const worker = await open(this.options);
      await compare(this.options, worker, this.references);
      this.#startedAt = performance.now();
      this.#worker = worker;
      onChange({ ...this.choice, deviceReason: `${this.choice.deviceReason} It failed once and was started again.` });
      return worker;
    } catch (error) {
      onChange({
        device: demanded ? "webgpu" : "cpu",
        deviceReason: `${reason}; it failed again after a restart: ${messageOf(error)}`,
      });
      return undefined;
    }
  }
}

async function demand(options: AcceleratorOptions): Promise<Found> {
  const { embedder, request, progress } = options;
  const adapter = await findAdapter(embedder.gpuNeeds(request.dtype));
  const encoding = { prompt: "" };
  const { vectors, dimension, tokenCounts } = embedder.encode(KNOWN_TEXTS, encoding);
  const references = [{ texts: KNOWN_TEXTS, options: encoding, vectors, dimension }];
  const worker = await open(options, progress);
  const started = performance.now();
  await compare(options, worker, references);
  // The kernels were compiled meanwhile, so it takes less from now on.
  const timings = [
    { tokens: tokenCounts.reduce((sum, count) => sum + count, 0), cpu: 0, gpu: performance.now() - started },
  ];
  return Accelerator.of(
    options,
    worker,
    references,
    timings,
    `WebGPU (${adapter.name}), as demanded; its vectors agree with the CPU's.`,
  );
}

async function tryOut(options: AcceleratorOptions): Promise<Found> {
  const { embedder, work, store, request, progress, onChange } = options;
  const adapter = await findAdapter(embedder.gpuNeeds(request.dtype));
  // A browser's next version has another GPU process.
  const key = [EMBERVEC_VERSION, adapter.key, request.base, request.dtype, navigator.userAgent].join(" ");
  const known = await store.timings(key, Date.now() - MAX_AGE_MS);
  const onCpu = (deviceReason: string): Found => ({ choice: { device: "cpu", deviceReason } });
  if (known && !isUseful(known)) return onCpu(`${describe(adapter.name, known)} It was measured on an earlier visit.`);
  onChange({
    device: "cpu",
    deviceReason: `The CPU, until WebGPU (${adapter.name}) has been compared with it on some texts.`,
  });
  // Who has no work for it is not to pay for a GPU, either.
  const references = await work.references();
  const worker = await open(options, progress);
  try {
    const timings = known ?? (await measure(embedder, worker, work));
    if (!isUseful(timings)) worker.terminate(new EmbervecError("disposed", "the GPU is of no use here"));
    // On a clock that stands still.
    if (timings.every(({ cpu, gpu }) => cpu === 0 && gpu === 0))
      return onCpu(`The CPU, because this browser's clock cannot time WebGPU (${adapter.name}).`);
    if (!known) await store.keepTimings(key, timings);
    if (!isUseful(timings)) return onCpu(describe(adapter.name, timings));
    await compare(options, worker, references);
    return Accelerator.of(options, worker, references, timings, describe(adapter.name, timings));
  } catch (error) {
    worker.terminate(new EmbervecError("disposed", "the GPU was not taken into use"));
    throw error;
  }
}

function isUseful(timings: readonly Timing[]): boolean {
  return timings.some(({ cpu, gpu }) => gpu < cpu);
}

/** A GPU's worker with the model. */
async function open(
  { embedder, cache: choice, request }: AcceleratorOptions,
  progress?: ProgressCallback,
): Promise<GpuWorker> {
  const name = "embervec-gpu";
  const plain = () => new Worker(new URL("./gpu.js", import.meta.url), { type: "module", name });
  const url = besides("gpu.js");
  // A worker that itself comes from a `blob:` may start one of another origin in the same way, and only so.
  const start = () => (location.protocol === "blob:" ? startByBlob(url, name) : startBeside("gpu.js", name, plain));
  const worker = new WorkerClient<GpuCalls>(start, url);
  try {
    const { dtype, base, wasmUrl } = request;
    const { config, weights: files } = embedder.encoderFiles();
    const weights = files.map(({ path, packed }) => (dtype === "q8" ? (packed ?? path) : path));
    const cache = sendCache(choice);
    const opening = { cache, model: modelKey(base, dtype), dtype, config, weights, module: moduleUrl(wasmUrl).href };
    await worker.request("open", opening, { progress, transfer: transferOf(cache), patience: OPEN_MS });
    return worker;
  } catch (error) {
    worker.terminate(new EmbervecError("disposed", "the GPU was not taken into use"));
    throw error;
  }
}

/** Here, and not in the GPU's worker: Parcel finds no files of workers that workers start. */
function moduleUrl(wasmUrl: string | undefined): URL {
  return wasmUrl === undefined
    ? withoutCredentials(new URL("./embervec-webgpu.wasm", import.meta.url))
    : new URL("embervec-webgpu.wasm", wasmUrl);
}

/** Refuses a GPU whose vectors differ from the CPU's, and ends it. */
async function compare(
  { embedder, request: { dtype } }: AcceleratorOptions,
  worker: GpuWorker,
  references: readonly Reference[],
): Promise<void> {
  try {
    for (const { texts, options, vectors, dimension } of references) {
      const job = embedder.begin(texts, options, true);
      for (let batch = job.batch(); batch; batch = job.batch()) {
        embedder.accept(job, await worker.request("encode", batch, { patience: OPEN_MS }));
      }
      const actual = job.finish();
      texts.forEach((text, i) => {
        const row = (vectors: Float32Array) => vectors.subarray(i * dimension, (i + 1) * dimension);
        const cosine = product(row(actual.vectors), row(vectors), lengthOf(row(actual.vectors)));
        // Of a vector of zeros there is no direction to compare. Not `<`, which NaN would pass.
        if (cosine >= LEAST_COSINE[dtype] || row(vectors).every((x) => x === 0)) return;
        throw new EmbervecError(
          "unsupported_device",
          `the GPU computes wrong vectors (for ${shown(text.slice(0, 20))}, the cosine to the CPU's vector is ${cosine.toFixed(5)}; it must be at least ${LEAST_COSINE[dtype]})`,
        );
      });
    }
  } catch (error) {
    worker.terminate(new EmbervecError("disposed", "the GPU was not taken into use"));
    throw error;
  }
}

/** Has the GPU's worker time itself, small batches first: here its answers would wait behind the CPU's work. */
async function measure(embedder: CpuEncoder, worker: GpuWorker, work: CpuWork): Promise<Timing[]> {
  const timings: Timing[] = [];
  for (const [texts, tokens] of TIMED) {
    // "a" is one token in every BERT vocabulary; [CLS] and [SEP] make two.
    const batch = embedder.begin(Array<string>(texts).fill("a ".repeat(tokens - 2)), {}, true).batch()!;
    const { length } = batch.inputIds;
    const gpu = await worker.request("time", batch, { patience: OPEN_MS });
    const cpu = work.time(length);
    timings.push({ tokens: length, cpu, gpu });
    if (cpu > 0 && gpu > HOPELESS * cpu && timings.length > 1) break;
  }
  return timings;
}
