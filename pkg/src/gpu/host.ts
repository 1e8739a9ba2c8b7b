// The GPU's worker. Built as `gpu.js`: it is started only when a GPU may be used. Whatever goes wrong in here ends it,
// and the CPU's worker, which started it, goes on.

import init, { Encoder, openGpu } from "../../wasm/webgpu/embervec.js";

import { receiveCache } from "../cache/port.js";
import { ModelStore } from "../cache/store.js";
import { EmbervecError, codeOf, messageOf } from "../errors.js";
import type { ProgressCallback } from "../types.js";
import type { FromWorker, ToWorker } from "../worker/protocol.js";
import type { Batch, GpuCalls, OpenRequest } from "./protocol.js";

declare const self: DedicatedWorkerGlobalScope;

let encoder: Encoder | undefined;

// What cannot be posted is an error of the worker.
self.onmessage = ({ data }: MessageEvent<ToWorker<GpuCalls>>) => void answer(data).catch(reportError);

async function answer(data: ToWorker<GpuCalls>): Promise<void> {
  if (data.type === "abort") return;
  const { id } = data;
  try {
    switch (data.type) {
      case "open":
        await open(data.request, (event) => reply({ type: "progress", id, event }));
        return reply({ type: "result", id, result: undefined });
      case "encode": {
        const result = await encode(data.request);
        return reply({ type: "result", id, result }, [result.buffer]);
      }
      case "time": {
        const { request } = data;
        return reply({ type: "result", id, result: await time(() => encode(request)) });
      }
    }
  } catch (error) {
    reply({ type: "error", id, code: codeOf(error) ?? "internal", message: messageOf(error), fatal: true });
  }
}

async function open(
  { cache, model, dtype, config, weights, module }: OpenRequest,
  progress: ProgressCallback,
): Promise<void> {
  const [store] = await Promise.all([ModelStore.open(receiveCache(cache)), init({ module_or_path: new URL(module) })]);
  const record = await store.find(model);
  const files = weights.map((path) => {
    const file = record?.files.get(path);
    if (!file)
      throw new EmbervecError("integrity", `${path} is no longer in the browser's storage; load the model again`);
    return { path, file };
  });
  const total = files.reduce((sum, { file }) => sum + file.size, 0);
  const packedDot = navigator.gpu.wgslLanguageFeatures.has("packed_4x8_integer_dot_product");
  allowWithoutTimestamps();
  const loader = await openGpu(config, files.length, dtype, packedDot);
  let loaded = 0;
  for (const { path, file } of files) {
    loader.beginWeights(path, file.size);
    for await (const chunk of store.chunks(model, path, file)) {
      progress({ stage: "gpu", file: path, loaded, total });
      loader.pushWeights(chunk);
      loaded += chunk.byteLength;
    }
    loader.endWeights();
    progress({ stage: "gpu", file: path, loaded, total });
  }
  encoder = loader.finish();
}

/**
 * CubeCL panics in a browser whose adapter lacks `timestamp-query`, in case somebody wants kernels timed, which nobody does here. So
 * it sees the feature wherever it looks, and the device is opened without what the adapter lacks.
 */
function allowWithoutTimestamps(): void {
  // oxlint-disable-next-line typescript/unbound-method -- called with `call`
  const { has } = GPUSupportedFeatures.prototype;
  // oxlint-disable-next-line typescript/unbound-method -- called with `call`
  const { requestDevice } = GPUAdapter.prototype;
  GPUSupportedFeatures.prototype.has = function (name) {
    return name === "timestamp-query" || has.call(this, name);
  };
  GPUAdapter.prototype.requestDevice = function (descriptor = {}) {
    const requiredFeatures = [...(descriptor.requiredFeatures ?? [])].filter((name) => has.call(this.features, name));
    return requestDevice.call(this, { ...descriptor, requiredFeatures });
  };
}

async function encode({ inputIds, tokenTypeIds, ends, pooling, skip, normalize }: Batch): Promise<Float32Array> {
  if (!encoder) throw new EmbervecError("internal", "the GPU has no model");
  return encoder.encode(inputIds, tokenTypeIds, ends, pooling, skip, normalize);
}

/**
 * A measurement lasts so many milliseconds at least: a browser's clock may tick every millisecond, and the batch of a tiny model takes
 * a hundredth of that. A clock that ticks more slowly, or never, ends it after {@link MOST_RUNS}.
 */
const LEAST_MS = 10;
const MOST_RUNS = 100;

/** Milliseconds of one run: the better of two measurements after a run to warm up. 0 where the clock did not tick. */
async function time(run: () => Promise<unknown>): Promise<number> {
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

function reply(message: FromWorker<GpuCalls>, transfer: Transferable[] = []): void {
  self.postMessage(message, transfer);
}

reply({ type: "started" });
