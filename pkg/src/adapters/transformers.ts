/**
 * The `feature-extraction` pipeline of transformers.js: its option names, defaults, results and progress events. Change the import
 * from `@huggingface/transformers` (or `@xenova/transformers`) to `embervec/transformers`, and the rest stays as it is.
 *
 * @module embervec/transformers
 */

import {
  cosSim,
  dot as dotProduct,
  type Dtype,
  Embedder,
  EmbervecError,
  type LoadOptions,
  type ProgressEvent,
  quantizeEmbeddings,
} from "../index.js";
import { type DataArray, Tensor } from "./tensor.js";

export { cat, type DataArray, type DataType, layer_norm, matmul, type NestedArray, stack, Tensor } from "./tensor.js";

const DEFAULT_MODEL = "onnx-community/all-MiniLM-L6-v2-ONNX";
const HUB = "https://huggingface.co/";
const HUB_TEMPLATE = "{model}/resolve/{revision}/";
const TASKS = ["feature-extraction", "embeddings"];

/** Texts whose tokens' vectors are in memory at the same time: so many, or of about so many characters. */
const SLICE_TEXTS = 256;
const SLICE_CHARACTERS = 64_000;

const { process } = globalThis as { process?: { release?: { name?: string } } };
const isNode = process?.release?.name === "node";
const platformFetch = globalThis.fetch?.bind(globalThis);

const invalid = (message: string) => new EmbervecError("invalid_input", `embervec/transformers: ${message}`);

/** Levels of `env.logLevel`, from the one that says all to the one that says nothing. */
export const LogLevel = /* @__PURE__ */ Object.freeze({ DEBUG: 10, INFO: 20, WARNING: 30, ERROR: 40, NONE: 50 });

interface OnnxSettings {
  [setting: string]: unknown;
  wasm: Record<string, unknown>;
  webgpu: Record<string, unknown>;
}

/** Where models come from and where they are kept, for the pipelines that are made afterwards. */
export const env = {
  /** Whether the network is used. `false` is `local_files_only` for all. */
  allowRemoteModels: true,
  /** The address of the hub. */
  remoteHost: HUB,
  /** Where a model's folder is on the hub. */
  remotePathTemplate: HUB_TEMPLATE,
  /** Whether an id is looked for below {@link env.localModelPath} first. */
  allowLocalModels: isNode,
  /** Address of a folder (in Node a path), with a folder `owner/name` for each model. */
  localModelPath: "/models/",
  /** `false`: a browser keeps no model. */
  useBrowserCache: !isNode,
  /** `false`: Node keeps no model. */
  useFSCache: isNode,
  /** Called for a model's files. */
  fetch: platformFetch as typeof globalThis.fetch,
  /** Above `LogLevel.WARNING`, nothing is said in the console about settings that have no effect. */
  logLevel: LogLevel.WARNING as number,
  /** Not supported: embervec has a folder of its own, which `EMBERVEC_CACHE` names. */
  cacheDir: null as string | null,
  /** Not supported: give the option `embervec: { cache }` of `pipeline`. */
  useCustomCache: false,
  /** Not supported: give the option `embervec: { cache }` of `pipeline`. */
  customCache: null as unknown,
  /** Settings of ONNX Runtime, which is not there: they have no effect. */
  backends: { onnx: { wasm: {}, webgpu: {} } as OnnxSettings },
};

/**
 * What a pipeline says while it loads: of each file `"initiate"`, `"download"`, `"progress"` and `"done"`, of all files together
 * `"progress_total"` (`progress` is a percentage, `loaded` and `total` are bytes), and at last `"ready"`.
 */
export type ProgressInfo =
  | { status: "initiate" | "download" | "done"; name: string; file: string }
  | { status: "progress"; name: string; file: string; progress: number; loaded: number; total: number }
  | {
      status: "progress_total";
      name: string;
      progress: number;
      loaded: number;
      total: number;
      files: Record<string, { loaded: number; total: number }>;
    }
  | { status: "ready"; task: string; model: string };

/** Options of {@link pipeline}. */
export interface PretrainedModelOptions {
  /** Is told about each file, and about the whole download. */
  progress_callback?: ((progress: ProgressInfo) => void) | null;
  /** `"q8"`, `"int8"` and `"uint8"`: weights in 8 bits. Default: `"q8"` in browsers, `"fp32"` in Node and on WebGPU. */
  dtype?: "auto" | "fp32" | "fp16" | "q8" | "int8" | "uint8" | { model: string } | null;
  /** `"gpu"` is `"webgpu"`, and `"wasm"` is `"cpu"`. */
  device?: "auto" | "gpu" | "cpu" | "wasm" | "webgpu" | null;
  /** A branch, tag or commit on the hub. Default `"main"`. */
  revision?: string;
  /** Whether only what is stored is used. */
  local_files_only?: boolean;
  /** Of `@xenova/transformers`: `false` is dtype `"fp32"`, `true` is `"q8"`. `dtype` beats it. */
  quantized?: boolean;
  /** Not of transformers.js: ends the load. */
  signal?: AbortSignal;
  /** Not of transformers.js: further options of `Embedder.load`, such as `workerUrl`. */
  embervec?: LoadOptions;
}

/** Options of a call. */
export interface FeatureExtractionPipelineOptions {
  /** Default `"none"`: a vector for each token. */
  pooling?: "none" | "mean" | "cls" | "first_token" | "eos" | "last_token";
  /** Whether vectors are scaled to length 1. Default `false`. */
  normalize?: boolean;
  /** Whether each dimension becomes a bit, by its sign. Default `false`. */
  quantize?: boolean;
  /** Default `"binary"`. */
  precision?: "binary" | "ubinary";
  /** Not of transformers.js: ends the call. */
  signal?: AbortSignal;
}

/** A loaded model. Call it with texts. */
export interface FeatureExtractionPipeline {
  /**
   * The vectors of a text or of each of several: dimensions `[texts, vector]`, or without pooling `[texts, tokens, vector]`, where
   * the rows behind the end of a shorter text are zeros.
   */
  (texts: string | readonly string[], options?: FeatureExtractionPipelineOptions): Promise<Tensor>;
  /** The task, under its first name. */
  readonly task: "feature-extraction";
  /** Not of transformers.js: the model, with all that embervec does. */
  readonly embedder: Embedder;
  /** Ends the model's workers: all memory comes back. */
  dispose(): Promise<void>;
}

/**
 * Loads a model for a task, of which there is `"feature-extraction"` (and its other name `"embeddings"`).
 *
 * @param model a hub id or the address of a folder. Ids of conversions to ONNX, such as `Xenova/all-MiniLM-L6-v2`, lead to their originals.
 */
export async function pipeline(
  task: "feature-extraction" | "embeddings",
  model?: string | null,
  options: PretrainedModelOptions = {},
): Promise<FeatureExtractionPipeline> {
  if (!TASKS.includes(task)) throw invalid(`task "${task}" is not supported; there is "feature-extraction"`);
  checkNames("pipeline", options, OPTIONS, UNSUPPORTED);
  const { progress_callback, ...rest } = options;
  const name = model || DEFAULT_MODEL;
  const tell = progress_callback ?? undefined;
  const events = tell && new Events(name, tell);
  const embedder = await load(name, loadOptions(rest, !model, events));
  events?.end();
  tell?.({ status: "ready", task: "feature-extraction", model: name });
  return pipelineOf(embedder);
}

/** The cosine of the angle between two vectors. */
export function cos_sim(a: DataArray | readonly number[], b: DataArray | readonly number[]): number {
  return cosSim(Array.from(a), Array.from(b));
}

/** The dot product of two vectors. */
export function dot(a: DataArray | readonly number[], b: DataArray | readonly number[]): number {
  return dotProduct(Array.from(a), Array.from(b));
}

/** The signs of a matrix's numbers, eight in a byte. */
export function quantize_embeddings(tensor: Tensor, precision: "binary" | "ubinary"): Tensor {
  checkPrecision(precision);
  const [count = 0, length = 0] = tensor.dims;
  if (tensor.dims.length !== 2) throw invalid("The tensor must have 2 dimensions: to quantize, choose a pooling");
  if (length % 8 !== 0) throw invalid("The last dimension of the tensor must be a multiple of 8");
  const rows = quantizeEmbeddings(tensor.tolist(), precision);
  const data = precision === "binary" ? new Int8Array((count * length) / 8) : new Uint8Array((count * length) / 8);
  rows.forEach((row, i) => data.set(row, (i * length) / 8));
  return new Tensor(precision === "binary" ? "int8" : "uint8", data, [count, length / 8]);
}

// --- options -------------------------------------------------------------------------------------------------------

const OPTIONS = [
  "progress_callback",
  "dtype",
  "device",
  "revision",
  "local_files_only",
  "quantized",
  "signal",
  "embervec",
];
const CALL_OPTIONS = ["pooling", "normalize", "quantize", "precision", "signal"];

/** Of transformers.js, by what there is instead. */
const UNSUPPORTED: Record<string, string> = {
  config: "the folder's own config.json counts",
  cache_dir: "the environment variable EMBERVEC_CACHE names Node's cache folder",
  subfolder: "the original's weights are read, not ONNX files",
  model_file_name: "the original's weights are read, not ONNX files",
  use_external_data_format: "the original's weights are read, not ONNX files",
  session_options: "there is no ONNX Runtime",
};

function checkNames(call: string, options: object, known: string[], unsupported: Record<string, string> = {}): void {
  for (const [name, value] of Object.entries(options)) {
    if (known.includes(name) || value === undefined || value === null) continue;
    const instead = unsupported[name];
    if (instead) throw invalid(`${call}: option "${name}" is not supported: ${instead}; leave it out`);
    throw invalid(`${call} has no option "${name}"; there are: ${known.join(", ")}`);
  }
}

function checkPrecision(precision: string): void {
  if (precision !== "binary" && precision !== "ubinary") {
    throw invalid(`precision "${precision}" is not supported; there are "binary" and "ubinary"`);
  }
}

const DEVICES: Record<string, NonNullable<LoadOptions["device"]>> = {
  auto: "auto",
  cpu: "cpu",
  wasm: "cpu",
  gpu: "webgpu",
  webgpu: "webgpu",
};

const DTYPES: Record<string, Dtype> = { fp32: "fp32", fp16: "fp16", q8: "q8", int8: "q8", uint8: "q8" };

type Choice = Omit<PretrainedModelOptions, "progress_callback">;

function loadOptions(options: Choice, isDefaultModel: boolean, events: Events | undefined): LoadOptions {
  const { revision, local_files_only, signal, embervec } = options;
  checkEnv();
  const device = options.device ?? "auto";
  if (typeof device !== "string" || !Object.hasOwn(DEVICES, device)) {
    throw invalid(`device ${JSON.stringify(device)} is not supported; there are: ${Object.keys(DEVICES).join(", ")}`);
  }
  const usesCache = isNode ? env.useFSCache : env.useBrowserCache;
  return {
    device: DEVICES[device]!,
    dtype: dtypeOf(options, isDefaultModel, DEVICES[device] === "webgpu"),
    ...(env.remoteHost !== HUB && { hub: env.remoteHost }),
    ...((local_files_only || !env.allowRemoteModels) && { localFilesOnly: true }),
    ...(revision !== undefined && { revision }),
    ...(!usesCache && { cache: "memory" as const }),
    ...(env.fetch !== platformFetch && { fetch: env.fetch }),
    ...(signal && { signal }),
    ...(events && { progress: (event: ProgressEvent) => events.tell(event) }),
    ...embervec,
  };
}

function dtypeOf({ dtype, quantized }: Choice, isDefaultModel: boolean, isGpu: boolean): Dtype {
  const given = typeof dtype === "object" && dtype !== null ? dtype.model : dtype;
  const isChosen = given !== undefined && given !== null && given !== "auto";
  if (isChosen && !Object.hasOwn(DTYPES, given)) {
    throw invalid(
      `dtype ${JSON.stringify(given)} is not supported; use "q8" (8 bits) or one of ${Object.keys(DTYPES).join(", ")}`,
    );
  }
  if (isChosen) return DTYPES[given]!;
  if (quantized !== undefined) return quantized ? "q8" : "fp32";
  return isNode || isGpu || (isDefaultModel && given !== "auto") ? "fp32" : "q8";
}

let hasTold = false;

function checkEnv(): void {
  if (env.cacheDir) throw invalid(`env.cacheDir is not supported: ${UNSUPPORTED["cache_dir"]}`);
  if (env.useCustomCache || env.customCache) {
    throw invalid("env.customCache is not supported: give the option `embervec: { cache }` of pipeline");
  }
  const { wasm, webgpu, ...others } = env.backends.onnx;
  if (hasTold || env.logLevel > LogLevel.WARNING || Object.keys({ ...wasm, ...webgpu, ...others }).length === 0) return;
  hasTold = true;
  console.warn("embervec/transformers: env.backends.onnx has no effect, because there is no ONNX Runtime");
}

async function load(model: string, options: LoadOptions): Promise<Embedder> {
  // Anything but an id is the address of a folder, where transformers.js lets "./" be left out.
  if (!/^[\w.-]+(\/[\w.-]+)?$/.test(model) || /^\.+\//.test(model)) {
    const isAddress = /^(\/|\.\.?\/|[a-z][a-z0-9+.-]*:)/i.test(model);
    return Embedder.load(isAddress ? model : `./${model}`, options);
  }
  if (!env.allowLocalModels) return loadRemote(model, options);
  const folder = `${env.localModelPath.replace(/\/*$/, "/")}${model}`;
  try {
    return await Embedder.load(folder, { ...options, localFilesOnly: false });
  } catch (missing) {
    if (!isMissing(missing)) throw missing;
    return await loadRemote(model, options).catch((error: unknown) => {
      if (!isMissing(error)) throw error;
      const message = `${error.message} Nor is it in env.localModelPath: ${missing.message}`;
      throw new EmbervecError("model_not_found", message, { cause: missing });
    });
  }
}

const isMissing = (error: unknown): error is EmbervecError =>
  error instanceof EmbervecError && error.code === "model_not_found";

async function loadRemote(model: string, options: LoadOptions): Promise<Embedder> {
  if (env.remotePathTemplate === HUB_TEMPLATE) return Embedder.load(model, options);
  const { hub = HUB, revision = "main", ...others } = options;
  const path = env.remotePathTemplate
    .replaceAll("{model}", model)
    .replaceAll("{revision}", encodeURIComponent(revision));
  return Embedder.load(`${hub.replace(/\/*$/, "/")}${path.replace(/^\/+/, "")}`, others);
}

// --- progress ------------------------------------------------------------------------------------------------------

/**
 * Makes events by file of the package's, which count the bytes of all files. Files come one after another, so each event waits for
 * the next one, which says whether its file is complete.
 */
class Events {
  readonly #files: Record<string, { loaded: number; total: number }> = {};
  #waiting: (ProgressEvent & { file: string }) | undefined;
  #loaded = 0;

  constructor(
    private readonly name: string,
    private readonly callback: (progress: ProgressInfo) => void,
  ) {}

  tell({ file, ...event }: ProgressEvent): void {
    if (file === undefined || event.stage === "gpu") return;
    this.end(file);
    const { name, callback } = this;
    if (!this.#files[file]) {
      this.#files[file] = { loaded: 0, total: 0 };
      callback({ status: "initiate", name, file });
      callback({ status: "download", name, file });
    }
    this.#waiting = { ...event, file };
  }

  /** @param next the file that the next event is of, if there is one */
  end(next?: string): void {
    if (!this.#waiting) return;
    const { file, loaded, total } = this.#waiting;
    this.#waiting = undefined;
    const { name, callback } = this;
    // Less than before: the load has started over.
    if (loaded < this.#loaded) for (const each of Object.values(this.#files)) each.loaded = each.total = 0;
    this.#loaded = loaded;
    const state = this.#files[file]!;
    const others = Object.values(this.#files).reduce((sum, each) => sum + each.loaded, -state.loaded);
    const isDone = file !== next;
    state.loaded = loaded - others;
    // What is left belongs to this file, or to another part of the weights behind it.
    state.total = isDone ? state.loaded : total - others;
    const files = structuredClone(this.#files);
    callback({ status: "progress_total", name, progress: percentOf({ loaded, total }), loaded, total, files });
    callback({ status: "progress", name, file, progress: percentOf(state), ...state });
    if (isDone) callback({ status: "done", name, file });
  }
}

const percentOf = ({ loaded, total }: { loaded: number; total: number }) => (total > 0 ? (100 * loaded) / total : 0);

// --- the pipeline --------------------------------------------------------------------------------------------------

function pipelineOf(embedder: Embedder): FeatureExtractionPipeline {
  const extract = (texts: string | readonly string[], options: FeatureExtractionPipelineOptions = {}) =>
    featuresOf(embedder, texts, options);
  const refused = (name: string, instead: string) => ({
    get(): never {
      throw invalid(`"${name}" of a pipeline is not supported: ${instead}`);
    },
  });
  return Object.defineProperties(
    Object.assign(extract, {
      task: "feature-extraction" as const,
      embedder,
      dispose: () => embedder.dispose(),
    }),
    {
      tokenizer: refused("tokenizer", "use `embedder.tokenize(text)` of it"),
      model: refused("model", "use `embedder` of it"),
    },
  );
}

async function featuresOf(
  embedder: Embedder,
  texts: string | readonly string[],
  options: FeatureExtractionPipelineOptions,
): Promise<Tensor> {
  checkNames("the pipeline", options, CALL_OPTIONS);
  const { pooling = "none", normalize = false, quantize = false, precision = "binary", signal } = options;
  if (pooling !== "none" && !Object.hasOwn(POOLINGS, pooling)) {
    throw invalid(`pooling "${pooling}" is not supported; there are: none, ${Object.keys(POOLINGS).join(", ")}`);
  }
  if (quantize) checkPrecision(precision);
  if (quantize && pooling === "none") throw invalid("The tensor must have 2 dimensions: to quantize, choose a pooling");
  const list = listOf(texts);
  const rows: Float32Array[][] = [];
  const lengths: number[] = [];
  const cut: number[] = [];
  for (const { from, slice } of slicesOf(list)) {
    const onTruncated = (indices: number[]) => void cut.push(...indices.map((index) => from + index));
    // transformers.js knows neither prompts nor the modules behind the encoder, so the tokens' vectors are what it computes with.
    const tokens = await embedder.encode(slice, {
      output: "token",
      prompt: "",
      onTruncated,
      ...(signal && { signal }),
    });
    for (const vectors of tokens) {
      lengths.push(vectors.length);
      rows.push(pooling === "none" ? vectors : [POOLINGS[pooling](vectors)]);
    }
  }
  if (cut.length > 0) tellTruncated(embedder, cut);
  const dimension = rows[0]![0]!.length;
  const width = pooling === "none" ? lengths.reduce((a, b) => Math.max(a, b), 0) : 1;
  const data = new Float32Array(rows.length * width * dimension);
  rows.forEach((vectors, i) => {
    vectors.forEach((vector, j) => {
      data.set(normalize ? scaled(vector) : vector, (i * width + j) * dimension);
    });
  });
  if (pooling === "none") return new Tensor("float32", data, [rows.length, width, dimension]);
  const result = new Tensor("float32", data, [rows.length, dimension]);
  return quantize ? quantize_embeddings(result, precision) : result;
}

/** The texts as they are now: the caller may change the array meanwhile. */
function listOf(texts: unknown): string[] {
  if (typeof texts === "string") return [texts];
  if (!Array.isArray(texts) || texts.length === 0)
    throw invalid("texts must be a string or an array of strings, not empty");
  // A hole in the array becomes `undefined`.
  const list: unknown[] = [...texts];
  list.forEach((text, i) => {
    if (typeof text !== "string")
      throw invalid(`texts[${i}] must be a string, not ${text === null ? text : typeof text}`);
  });
  return list as string[];
}

function* slicesOf(list: string[]): Generator<{ from: number; slice: string[] }> {
  for (let from = 0, to = 0; from < list.length; from = to) {
    for (let characters = 0; to < list.length && to - from < SLICE_TEXTS && characters < SLICE_CHARACTERS; to++) {
      characters += list[to]!.length;
    }
    yield { from, slice: list.slice(from, to) };
  }
}

/** Embedders of which it has been said that they cut texts. */
const told = new WeakSet<Embedder>();

function tellTruncated(embedder: Embedder, cut: number[]): void {
  if (told.has(embedder)) return;
  told.add(embedder);
  const which = cut.length === 1 ? `texts[${cut[0]}] has` : `${cut.length} texts, such as texts[${cut[0]}], have`;
  const { maxSeqLength, model } = embedder.info;
  console.warn(
    `embervec/transformers: ${which} more than the ${maxSeqLength} tokens that ${model} takes. The rest was ignored.`,
  );
}

function scaled(vector: Float32Array): Float32Array {
  const length = Math.sqrt(vector.reduce((sum, x) => sum + x * x, 0));
  return vector.map((x) => x / length);
}

const first = (vectors: Float32Array[]) => vectors[0]!.slice();
const last = (vectors: Float32Array[]) => vectors[vectors.length - 1]!.slice();

const POOLINGS: Record<
  Exclude<FeatureExtractionPipelineOptions["pooling"], "none" | undefined>,
  (vectors: Float32Array[]) => Float32Array
> = {
  mean(vectors) {
    const sums = new Float64Array(vectors[0]!.length);
    for (const vector of vectors) for (let i = 0; i < sums.length; i++) sums[i]! += vector[i]!;
    return Float32Array.from(sums, (sum) => sum / vectors.length);
  },
  cls: first,
  first_token: first,
  eos: last,
  last_token: last,
};
