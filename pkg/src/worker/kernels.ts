// Which of the CPU's kernels are the fastest: measured once per version of the browser and machine.

import type { ModelStore } from "../cache/store.js";
import { engine } from "../platform/web.js";

/** Changes with the package, and so with the kernels. */
declare const EMBERVEC_VERSION: string;

export class MeasuredKernels {
  private constructor(
    private readonly store: ModelStore,
    private readonly key: string,
    /** Those of an earlier visit; `undefined`: they have to be measured. */
    readonly names: string | undefined,
  ) {}

  static async find(store: ModelStore, simd: string): Promise<MeasuredKernels> {
    const key = [EMBERVEC_VERSION, simd, engine()].join(" ");
    return new MeasuredKernels(store, key, await store.kernels(key));
  }

  /** Notes which ones are in use. */
  async keep(names: string): Promise<void> {
    if (names !== this.names) await this.store.keepKernels(this.key, names);
  }
}
