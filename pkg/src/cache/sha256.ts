// Digests of bytes, as hexadecimal text.

import { sha1 } from "@noble/hashes/legacy.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";

import { PLATFORM_MS, settled } from "../settle.js";

/** Of a file that comes in pieces: `crypto.subtle` takes it only as a whole. */
export class Sha256 {
  readonly #hash = sha256.create();

  update(bytes: Uint8Array): void {
    this.#hash.update(bytes);
  }

  digest(): string {
    return bytesToHex(this.#hash.digest());
  }
}

/** Once the browser's own has failed it is not asked again. */
let hasFailed = false;

export async function sha256Of(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  // The browser's own is ten times as fast, and absent outside secure contexts.
  const { subtle } = globalThis.crypto;
  if (subtle && !hasFailed) {
    try {
      const digest = await settled("the browser's SHA-256", () => subtle.digest("SHA-256", bytes), { ms: PLATFORM_MS });
      return bytesToHex(new Uint8Array(digest));
    } catch {
      hasFailed = true;
    }
  }
  return bytesToHex(sha256(bytes));
}

/** The name that git gives to a file: <https://git-scm.com/book/en/v2/Git-Internals-Git-Objects>. */
export function gitBlobOf(bytes: Uint8Array): string {
  return bytesToHex(
    sha1
      .create()
      .update(new TextEncoder().encode(`blob ${bytes.byteLength}\0`))
      .update(bytes)
      .digest(),
  );
}
