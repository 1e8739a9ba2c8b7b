/** What is wrong, in words. */

import { EmbervecError } from "embervec";

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

export function codeOf(error: unknown): string {
  return error instanceof EmbervecError ? error.code : error instanceof Error ? error.name : "error";
}
