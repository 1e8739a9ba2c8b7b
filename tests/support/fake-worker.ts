// Something in a worker's place, for what a real one does only when a machine is short of memory.

import type { EncodeResult, FromWorker, ToWorker } from "../../pkg/src/worker/protocol.ts";

/** What a fake worker does with a message: an answer, nothing, or its end. */
export type Answer = Partial<FromWorker> | "nothing" | "dies";

export type Behaviour = (message: Exclude<ToWorker, { type: "abort" }>, worker: FakeWorker) => Answer;

export const LOADED = {
  cached: true,
  stored: true,
  storedReason: "",
  asksForPersistence: false,
  simd: "simd128" as const,
  kernels: "",
  dimension: 1,
  maxSeqLength: 256,
  similarity: "cosine" as const,
  specialTokens: 2,
  prompts: {},
  pooling: [],
  normalizes: false,
  weights: "0".repeat(64),
  version: "0.0.0",
  memoryBytes: 1,
  isLarge: false,
};

/** A vector of one dimension for each text: its length. */
export function lengths(texts: readonly string[]): EncodeResult {
  return {
    vectors: Float32Array.from(texts, ({ length }) => length),
    dimension: 1,
    tokenCounts: Uint32Array.from(texts, () => 1),
    truncated: new Uint8Array(texts.length),
  };
}

/** The workers that were started, as long as a test replaces `Worker` with {@link FakeWorker}. */
export let started: FakeWorker[] = [];
let behaviour: Behaviour;

/** Takes the place of `Worker` from now on. */
export function replaceWorker(next: Behaviour): void {
  started = [];
  behaviour = next;
  Object.assign(globalThis, { Worker: FakeWorker });
}

export class FakeWorker extends EventTarget {
  onmessage: (event: { data: unknown }) => void = () => {};
  onerror: (event: object) => void = () => {};
  isTerminated = false;

  constructor(_url: URL | string, { type }: WorkerOptions) {
    super();
    if (type !== "module") throw new Error("the package's workers are modules");
    started.push(this);
    queueMicrotask(() => this.say({ type: "started" }));
  }

  say(message: object): void {
    if (!this.isTerminated) this.onmessage({ data: message });
  }

  postMessage(message: ToWorker): void {
    if (message.type === "abort") return;
    // As of a real one, nothing comes before the caller has gone on.
    setTimeout(() => {
      if (this.isTerminated) return;
      const answer = behaviour(message, this);
      if (answer === "nothing") return;
      // Nobody says over what.
      if (answer === "dies") this.onerror({ message: "out of memory" });
      else this.say({ id: message.id, ...answer });
    });
  }

  terminate(): void {
    this.isTerminated = true;
  }
}
