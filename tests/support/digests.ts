// Digests without threads of their own, whose turn no test decides.

import { createHash } from "node:crypto";

export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Takes the place of `crypto.subtle` until it is restored. */
export function digestAtOnce(): () => void {
  const { subtle } = globalThis.crypto;
  const set = (value: unknown) =>
    void Object.defineProperty(globalThis.crypto, "subtle", { value, configurable: true });
  set({ digest: async (_: string, bytes: Uint8Array) => createHash("sha256").update(bytes).digest() });
  return () => set(subtle);
}
