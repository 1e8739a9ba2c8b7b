// The browser's GPU, before anything is fetched for it.

import { EmbervecError, messageOf } from "../errors.js";
import { settled } from "../settle.js";
import type { GpuNeeds } from "./protocol.js";

export interface Adapter {
  /** For people. */
  name: string;
  /** Differs from that of every other adapter with other results. */
  key: string;
}

/** Milliseconds that a browser has to start its GPU process, which takes it one second on a slow machine. */
const ADAPTER_MS = 15_000;

/** @throws {EmbervecError} that says what is missing */
export async function findAdapter(needs: GpuNeeds): Promise<Adapter> {
  const none = (reason: string, cause?: unknown) => new EmbervecError("unsupported_device", reason, { cause });
  if (needs.unsupported) throw none(needs.unsupported);
  if (!navigator.gpu)
    throw none("there is no WebGPU on this page (it needs a browser with WebGPU, and https or localhost)");
  let adapter: GPUAdapter | null;
  try {
    const { gpu } = navigator;
    adapter = await settled("the browser", () => gpu.requestAdapter({ powerPreference: "high-performance" }), {
      ms: ADAPTER_MS,
    });
  } catch (cause) {
    throw none(`the browser refused to look for a GPU (${messageOf(cause)})`, cause);
  }
  if (!adapter) throw none("the browser found no GPU");
  const { maxStorageBufferBindingSize, maxBufferSize } = adapter.limits;
  const largest = Math.min(maxStorageBufferBindingSize, maxBufferSize);
  if (largest < needs.bufferBytes) {
    throw none(
      `the GPU takes buffers of ${megabytes(largest)} MB, and the largest of this model has ${megabytes(needs.bufferBytes)} MB`,
    );
  }
  const { vendor, architecture, device, description } = adapter.info;
  const parts = [vendor, architecture, device, description].filter((part) => part !== "");
  return { name: description || parts.join(" ") || "unnamed adapter", key: parts.join("/") };
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(0);
}
