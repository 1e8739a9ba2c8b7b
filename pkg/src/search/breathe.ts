// Long work in the worker lets messages in: a search does not wait for it.

import { nextTask } from "../platform/web-task.js";

/** As long as a piece of work may take: a search of 10,000 passages takes about 1 ms. */
const PIECE_MS = 8;

let began = 0;
let breath: Promise<void> | undefined;

/** To be awaited between two pieces of work; does something only when the last time is a while ago. */
export async function breathe(): Promise<void> {
  if (performance.now() - began < PIECE_MS) return;
  breath ??= nextTask().finally(() => {
    breath = undefined;
    began = performance.now();
  });
  await breath;
}
