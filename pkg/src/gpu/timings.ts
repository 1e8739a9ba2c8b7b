// Which device is faster for a batch, from a few measurements.

import type { Timing } from "../cache/entries.js";

/** Whether the GPU is faster for so many tokens: as between the measured sizes, and beyond these as at the nearest. */
export function isFaster(timings: readonly Timing[], tokens: number): boolean {
  return ratio(timings, tokens) < 1;
}

/** Milliseconds that the GPU takes for so many tokens: of the nearest larger measurement, and beyond the largest in proportion. */
export function expected(timings: readonly Timing[], tokens: number): number {
  const timing = timings.find((timing) => timing.tokens >= tokens) ?? timings[timings.length - 1];
  return timing ? timing.gpu * Math.max(1, tokens / timing.tokens) : 0;
}

/** The GPU's time over the CPU's. */
function ratio(timings: readonly Timing[], tokens: number): number {
  const above = timings.findIndex((timing) => timing.tokens >= tokens);
  const at = ({ cpu, gpu }: Timing) => gpu / cpu;
  if (above === -1) return timings.length > 0 ? at(timings[timings.length - 1]!) : Infinity;
  const high = timings[above]!;
  const low = timings[above - 1];
  if (!low) return at(high);
  const share = (tokens - low.tokens) / (high.tokens - low.tokens);
  const between = (a: number, b: number) => a + (b - a) * share;
  return between(low.gpu, high.gpu) / between(low.cpu, high.cpu);
}

/** A sentence for `info.deviceReason`. */
export function describe(adapter: string, timings: readonly Timing[]): string {
  const faster = timings.filter(({ cpu, gpu }) => gpu < cpu);
  const times = ({ tokens, cpu, gpu }: Timing) =>
    `${tokens} tokens take ${gpu.toFixed(0)} ms there and ${cpu.toFixed(0)} ms on the CPU`;
  if (faster.length === 0) {
    const last = timings[timings.length - 1]!;
    return `The CPU, because WebGPU (${adapter}) is slower here: ${times(last)}.`;
  }
  const best = faster.reduce((best, timing) => (timing.gpu / timing.cpu < best.gpu / best.cpu ? timing : best));
  return `WebGPU (${adapter}) where it is faster, the CPU otherwise: ${times(best)}.`;
}
