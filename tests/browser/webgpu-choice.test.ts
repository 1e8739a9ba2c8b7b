// Which device computes: what `auto` finds, and what happens where there is no GPU, a wrong one, or one that fails.

import assert from "node:assert/strict";
import { test } from "node:test";

import type { LoadOptions } from "embervec";

import { openPage, type OpenPageOptions, type TestPage, withPrelude } from "../support/browser.ts";

/** Sums in another order, and other approximations of exp and tanh. */
const TOLERANCE = 1e-4;
/** An activation between two values of 8 bits may go to the other one; 2e-4 was seen. */
const Q8_TOLERANCE = 1e-3;

/** Encodes 40 slices of texts on `auto`, then waits until the GPU has been tried. */
async function bulkJob(
  browser: TestPage,
): Promise<{ before: string; device: string; deviceReason: string; difference: number }> {
  return browser.page.evaluate(async () => {
    const address = "/pkg/dist/index.js";
    const { Embedder } = await import(address);
    const model = "/tests/fixtures/models/tiny-cls/";
    const texts = Array.from({ length: 200 }, (_, i) => `text ${i} ${"the quick brown fox ".repeat(20)}`);
    const cpu = await Embedder.load(model, { device: "cpu", dtype: "fp32" });
    const expected: Float32Array[] = await cpu.encode(texts);
    await cpu.dispose();
    const embedder = await Embedder.load(model, { dtype: "fp32", workers: 1 });
    const before: string = embedder.info.deviceReason;
    await embedder.encode(texts);
    const isOpen = () =>
      embedder.info.deviceReason === before || embedder.info.deviceReason.startsWith("The CPU, until");
    for (const end = performance.now() + 60_000; isOpen() && performance.now() < end; ) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    let difference = 0;
    const actual: Float32Array[] = await embedder.encode(texts);
    if (actual.length !== expected.length) throw new Error(`${actual.length} vectors`);
    // NaN, as of a component that is missing, stays NaN.
    expected.forEach((row, i) => {
      row.forEach((x, j) => (difference = Math.max(difference, Math.abs(x - actual[i]![j]!))));
    });
    const { device, deviceReason } = embedder.info;
    await embedder.dispose();
    return { before, device, deviceReason, difference };
  });
}

test("auto: a bulk job has the GPU tried and timed once; the faster device computes", async () => {
  const browser = await openPage({ gpu: true });
  try {
    const first = await bulkJob(browser);
    assert.match(first.before, /^The CPU, .* The GPU will be tried for larger jobs\.$/);
    // The software adapter is a hundred times slower than the CPU for such a small model.
    assert.equal(first.device, "cpu");
    assert.match(
      first.deviceReason,
      /^The CPU, because WebGPU \(.+\) is slower here: \d+ tokens take \d+ ms there and \d+ ms on the CPU\.$/,
    );
    assert.equal(first.difference, 0);
    const fetched = () => browser.requests.filter((path) => path.endsWith("webgpu.wasm")).length;
    assert.equal(fetched(), 1);

    const second = await bulkJob(browser);
    assert.match(second.deviceReason, /It was measured on an earlier visit\.$/);
    assert.equal(fetched(), 1);

    // As if it had been faster for all but the smallest batches.
    await browser.page.evaluate(async () => {
      const done = <T>(request: IDBRequest<T>) =>
        new Promise<T>((resolve, reject) => {
          request.onsuccess = () => resolve(request.result);
          request.onerror = () => reject(request.error);
        });
      const database = await done(indexedDB.open("embervec"));
      const entries = database.transaction("entries", "readwrite").objectStore("entries");
      const key = (await done(entries.getAllKeys())).find((key) => String(key).startsWith("timings "));
      const timings = [
        { tokens: 8, cpu: 1, gpu: 2 },
        { tokens: 128, cpu: 20, gpu: 2 },
      ];
      await done(entries.put(new TextEncoder().encode(JSON.stringify({ measuredAt: Date.now(), timings })), key));
      database.close();
    });
    const third = await bulkJob(browser);
    assert.equal(third.device, "webgpu");
    assert.match(
      third.deviceReason,
      /^WebGPU \(.+\) where it is faster, the CPU otherwise: 128 tokens take 2 ms there and 20 ms on the CPU\.$/,
    );
    assert.ok(third.difference > 0 && third.difference < TOLERANCE, `${third.difference}`);
  } finally {
    await browser.close();
  }
});

// Firefox ticks every millisecond, and every 16.7 or 100 where it resists fingerprinting.
for (const [name, tick] of [
  ["ticks every millisecond", 1],
  ["ticks every 100 ms", 100],
  ["stands still", Infinity],
] as const) {
  test(`a clock that ${name}: the model loads in time, and both devices are timed once`, () =>
    withBrowser({ gpu: true }, { "worker.js": coarseClock(tick), "gpu.js": coarseClock(tick) }, async (browser) => {
      const first = await bulkJob(browser);
      assert.equal(first.device, "cpu");
      assert.equal(first.difference, 0);
      const second = await bulkJob(browser);
      // What could not be timed is not kept.
      assert.match(
        second.deviceReason,
        tick === Infinity ? /clock cannot time WebGPU/ : /It was measured on an earlier visit\.$/,
      );
    }));
}

function coarseClock(tick: number): string {
  return `{
    const now = performance.now.bind(performance);
    performance.now = () => ${tick === Infinity ? "1000" : `Math.floor(now() / ${tick}) * ${tick}`};
  }`;
}

interface Bulk {
  device: string;
  deviceReason: string;
  /** Largest difference to the CPU's vectors. */
  difference: number;
  warnings: string[];
  error?: string;
}

/** Loads a model, encodes texts with it for a while, and compares with the CPU's vectors. */
async function bulk(browser: TestPage, options: LoadOptions, rounds = 1): Promise<Bulk> {
  const warnings: string[] = [];
  const listen = (message: { type(): string; text(): string }) => {
    if (message.type() === "warning") warnings.push(message.text());
  };
  browser.page.on("console", listen);
  const result = await browser.page.evaluate(
    async ({ options, rounds }) => {
      const address = "/pkg/dist/index.js";
      const { Embedder } = await import(address);
      const model = "/tests/fixtures/models/tiny-cls/";
      const texts = Array.from({ length: 40 }, (_, i) => `text ${i} ${"the quick brown fox ".repeat(1 + (i % 7))}`);
      const { dtype = "fp32" } = options;
      const cpu = await Embedder.load(model, { dtype, device: "cpu" });
      const expected: Float32Array[] = await cpu.encode(texts);
      await cpu.dispose();
      let embedder;
      try {
        embedder = await Embedder.load(model, { workers: 1, ...options, dtype });
      } catch (error) {
        return {
          device: "",
          deviceReason: "",
          difference: 0,
          error: `${(error as { code: string }).code}: ${(error as Error).message}`,
        };
      }
      let difference = 0;
      let error: string | undefined;
      for (let round = 0; round < rounds; round++) {
        try {
          const actual: Float32Array[] = await embedder.encode(texts);
          if (actual.length !== expected.length) throw new Error(`${actual.length} vectors`);
          // NaN, as of a component that is missing, stays NaN.
          expected.forEach((row, i) => {
            row.forEach((x, j) => (difference = Math.max(difference, Math.abs(x - actual[i]![j]!))));
          });
        } catch (thrown) {
          error = `${(thrown as { code: string }).code}: ${(thrown as Error).message}`;
        }
      }
      const { device, deviceReason } = embedder.info;
      await embedder.dispose();
      return { device, deviceReason, difference, ...(error === undefined ? {} : { error }) };
    },
    { options, rounds },
  );
  browser.page.off("console", listen);
  return { ...result, warnings };
}

async function withBrowser<T>(
  options: OpenPageOptions,
  preludes: Record<string, string>,
  run: (browser: TestPage) => Promise<T>,
): Promise<T> {
  const overlay = await withPrelude(preludes);
  const browser = await openPage({ ...options, overlay });
  try {
    return await run(browser);
  } finally {
    await browser.close();
  }
}

/** What the prelude does to the worker that looks for an adapter, and what a demand then says. */
const NO_ADAPTER: [name: string, worker: string, message: RegExp][] = [
  ["no WebGPU", "Object.defineProperty(navigator, 'gpu', { value: undefined });", /no WebGPU/],
  ["no adapter", "GPU.prototype.requestAdapter = async () => null;", /found no GPU/],
  [
    "an adapter whose request throws",
    "GPU.prototype.requestAdapter = () => { throw new TypeError('out of order') };",
    /refused to look for a GPU \(out of order\)/,
  ],
  [
    "limits that are too small",
    "Object.defineProperty(GPUAdapter.prototype, 'limits', { value: { maxStorageBufferBindingSize: 1000, maxBufferSize: 1000 } });",
    /takes buffers of 0 MB/,
  ],
];

for (const [name, prelude, message] of NO_ADAPTER) {
  test(`${name}: a demand fails, auto goes on with the CPU`, () =>
    withBrowser({ gpu: true }, { "worker.js": prelude }, async (browser) => {
      const demanded = await bulk(browser, { device: "webgpu" });
      assert.match(demanded.error ?? "", /^unsupported_device: WebGPU is not available: /);
      assert.match(demanded.error ?? "", message);
      const auto = await bulk(browser, { device: "auto" });
      assert.equal(auto.device, "cpu");
      assert.equal(auto.difference, 0);
      assert.deepEqual(
        browser.requests.filter((path) => /webgpu\.wasm/.test(path)),
        [],
      );
    }));
}

test("an adapter without any optional feature works", async () => {
  const prelude = `
    GPUSupportedFeatures.prototype.has = () => false;
    Object.defineProperty(navigator.gpu, "wgslLanguageFeatures", { value: new Set() });
    const request = GPUAdapter.prototype.requestDevice;
    GPUAdapter.prototype.requestDevice = function (descriptor) {
      const features = [...(descriptor?.requiredFeatures ?? [])];
      if (features.length > 0) throw new Error("demands " + features);
      return request.call(this, descriptor);
    };`;
  await withBrowser({ gpu: true }, { "gpu.js": prelude }, async (browser) => {
    for (const dtype of ["fp32", "fp16", "q8"] as const) {
      const { device, difference, error } = await bulk(browser, { device: "webgpu", dtype });
      assert.deepEqual([device, error], ["webgpu", undefined]);
      assert.ok(difference < (dtype === "q8" ? Q8_TOLERANCE : TOLERANCE), `${dtype}: ${difference}`);
    }
  });
});

test("no pipeline is made after loading, whatever a call asks for", async () => {
  const prelude = `
    const pipelines = new BroadcastChannel("pipelines");
    for (const name of ["createComputePipeline", "createComputePipelineAsync"]) {
      const create = GPUDevice.prototype[name];
      GPUDevice.prototype[name] = function (descriptor) {
        pipelines.postMessage(name);
        return create.call(this, descriptor);
      };
    }`;
  await withBrowser({ gpu: true }, { "gpu.js": prelude }, async (browser) => {
    const counts = await browser.page.evaluate(async () => {
      let made = 0;
      new BroadcastChannel("pipelines").onmessage = () => (made += 1);
      const address = "/pkg/dist/index.js";
      const { Embedder } = await import(address);
      const counts = [];
      for (const dtype of ["fp32", "fp16", "q8"]) {
        const embedder = await Embedder.load("/tests/fixtures/models/tiny-cls/", { device: "webgpu", dtype });
        const whenLoaded = made;
        await embedder.encode("a");
        await embedder.encode(Array(60).fill("the quick brown fox"), { pooling: ["max", "mean"], normalize: true });
        await embedder.encode("the lazy dog", { output: "token" });
        const { device } = embedder.info;
        await embedder.dispose();
        counts.push({ device, whenLoaded, afterCalls: made });
      }
      return counts;
    });
    let before = 0;
    for (const { device, whenLoaded, afterCalls } of counts) {
      assert.equal(device, "webgpu");
      assert.ok(whenLoaded > before, `${whenLoaded} pipelines were seen`);
      assert.equal(afterCalls, whenLoaded);
      before = afterCalls;
    }
  });
});

test("a large model has the GPU looked for before there is any work", async () => {
  // The tiny model passes for a large one.
  const prelude = `
    const post = self.postMessage;
    self.postMessage = (message, transfer) => {
      if (message.result?.isLarge === false) message.result.isLarge = true;
      post.call(self, message, transfer);
    };`;
  await withBrowser({ gpu: true }, { "worker.js": prelude }, async (browser) => {
    const reason = await browser.page.evaluate(async () => {
      const address = "/pkg/dist/index.js";
      const { Embedder } = await import(address);
      const embedder = await Embedder.load("/tests/fixtures/models/tiny-cls/", {});
      const atFirst = embedder.info.deviceReason;
      while (embedder.info.deviceReason === atFirst) await new Promise((resolve) => setTimeout(resolve, 50));
      const { deviceReason } = embedder.info;
      await embedder.dispose();
      return deviceReason;
    });
    assert.match(reason, /swiftshader/i);
  });
});

test("a kernel that computes something else is refused", () =>
  // The softmax of another temperature.
  withBrowser(
    { gpu: true },
    {
      "gpu.js": `{
        const create = GPUDevice.prototype.createShaderModule;
        GPUDevice.prototype.createShaderModule = function (options) {
          return create.call(this, { ...options, code: options.code.replace("exp(score - largest)", "exp(0.5 * (score - largest))") });
        };
      }`,
    },
    async (browser) => {
      const { error } = await bulk(browser, { device: "webgpu" });
      assert.match(error ?? "", /^unsupported_device: .*the GPU computes wrong vectors/);
    },
  ));

test("an adapter that refuses to open is an error that says so", () =>
  withBrowser(
    { gpu: true },
    {
      "gpu.js":
        "GPUAdapter.prototype.requestDevice = async () => { throw new DOMException('no memory', 'OperationError') };",
    },
    async (browser) => {
      const { error } = await bulk(browser, { device: "webgpu" });
      assert.match(error ?? "", /^unsupported_device: .*no memory/);
    },
  ));

/**
 * Runs `fault` once in the first GPU's worker, or in each, after the first submission behind the self-check, whose texts need one
 * read-back.
 */
const faulty = (fault: string, inEach: boolean) => ({
  "worker.js": `{
    let started = 0;
    const { Worker } = self;
    self.Worker = class extends Worker {
      constructor(url, options) {
        super(started++ === 0 ? url : url + "#second", options);
      }
    };
  }`,
  "gpu.js": `if (${inEach} || location.hash === "") {
    let device, reads = 0, faults = 0;
    const request = GPUAdapter.prototype.requestDevice;
    GPUAdapter.prototype.requestDevice = async function (...args) { return (device = await request.apply(this, args)); };
    const map = GPUBuffer.prototype.mapAsync;
    GPUBuffer.prototype.mapAsync = function (...args) { reads += 1; return map.apply(this, args); };
    const submit = GPUQueue.prototype.submit;
    GPUQueue.prototype.submit = function (...args) {
      const result = submit.apply(this, args);
      if (reads >= 2 && faults === 0) { faults += 1; ${fault} }
      return result;
    };
  }`,
});

const FAULTS: [name: string, fault: string][] = [
  ["a device that is destroyed between two calls", "setTimeout(() => device.destroy(), 300);"],
  ["a device that is destroyed in the middle of a call", "device.destroy();"],
  [
    "a validation error in the middle of a call",
    "device.createBuffer({ size: 16, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.STORAGE });",
  ],
  [
    "memory that runs out in the middle of a call",
    "device.createBuffer({ size: device.limits.maxBufferSize + 4, usage: GPUBufferUsage.STORAGE });",
  ],
  ["a worker that throws in the middle of a call", "throw new Error('gone');"],
];

for (const [name, fault] of FAULTS) {
  test(`${name}: the GPU is started again, and the call finishes with the right vectors`, () =>
    withBrowser({ gpu: true }, faulty(fault, false), async (browser) => {
      const result = await bulk(browser, { device: "webgpu" }, 3);
      assert.equal(result.error, undefined);
      assert.ok(result.difference < TOLERANCE, `${result.difference}`);
      assert.equal(result.device, "webgpu");
      assert.match(result.deviceReason, /It failed once and was started again\.$/);
      const reports = result.warnings.filter((text) => text.startsWith("embervec: WebGPU, as demanded, which failed"));
      assert.equal(reports.length, 1, JSON.stringify(result.warnings));
    }));

  test(`${name}, and again: what was demanded is lost, and the caller hears of it`, () =>
    withBrowser({ gpu: true }, faulty(fault, true), async (browser) => {
      const result = await bulk(browser, { device: "webgpu" }, 3);
      assert.match(result.error ?? "", /^device_lost: the GPU was lost, and is not to be had again/);
      assert.ok(result.difference < TOLERANCE, `${result.difference}`);
    }));
}

for (const inEach of [false, true]) {
  test(`a demanded GPU that gives what is no number ${inEach ? "each time it is started" : "once"}: ${inEach ? "it is lost" : "it is started again"}`, () => {
    const { "worker.js": worker, "gpu.js": gpu } = faulty("", inEach);
    // The second result is the first behind the self-check.
    const nan = `${gpu.slice(0, gpu.indexOf("{") + 1)}
      let results = 0;
      const post = self.postMessage;
      self.postMessage = (message, transfer) => {
        if (message.result instanceof Float32Array && ++results === 2) message.result.fill(NaN);
        post.call(self, message, transfer);
      };
    }`;
    return withBrowser({ gpu: true }, { "worker.js": worker, "gpu.js": nan }, async (browser) => {
      const { error, device, deviceReason, difference } = await bulk(browser, { device: "webgpu" }, 2);
      assert.ok(difference < TOLERANCE, `${difference}`);
      if (inEach) return assert.match(error ?? "", /^device_lost: /);
      assert.deepEqual([error, device], [undefined, "webgpu"]);
      assert.match(deviceReason, /started again\.$/);
    });
  });
}
