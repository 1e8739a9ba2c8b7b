// Git LFS pointers: what git, and so a hub, has in place of a large file.
//
// Format: <https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md>.

import { EmbervecError } from "../errors.js";
import { MAX_FILE_BYTES } from "../limits.js";

export interface Pointer {
  sha256: string;
  size: number;
}

/** A pointer has 130 bytes or so. */
export const POINTER_BYTES = 1024;

/**
 * @param url where the text is from, for messages
 * @returns `undefined` for what is no pointer
 * @throws {EmbervecError} for one to what no file can be
 */
export function parsePointer(text: string, url: string): Pointer | undefined {
  const parts = /^version https:\/\/git-lfs\.github\.com\/spec\/v1\noid sha256:([0-9a-f]{64})\nsize (\d+)\n/.exec(text);
  const [, sha256, digits] = parts ?? [];
  if (sha256 === undefined || digits === undefined) return undefined;
  const size = Number(digits);
  if (size > MAX_FILE_BYTES) {
    throw new EmbervecError(
      "integrity",
      `${url} says that the file has ${digits} bytes; none of a model can have more than ${MAX_FILE_BYTES}`,
    );
  }
  return { sha256, size };
}
