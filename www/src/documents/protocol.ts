/** What the page and the worker that reads documents say to each other. */

import type { ReaderEvent, Readable } from "./types";

/** The events of an id come one at a time: after each but the last the worker waits for `more`, so that it is never far ahead. */
export type ToWorker =
  | { type: "read"; id: number; index: number; source: Readable }
  | { type: "more"; id: number }
  | { type: "abort"; id: number };

export type FromWorker =
  /** The first message: the script runs. */
  | { type: "started" }
  | { type: "event"; id: number; event: ReaderEvent }
  | { type: "progress"; id: number; path: string; loaded: number; total: number }
  /** After the last event, or instead of one after `abort`. */
  | { type: "end"; id: number }
  /** A fault of the readers' own. */
  | { type: "error"; id: number; message: string };

export function isLast(event: ReaderEvent): boolean {
  return event.kind === "problem" || event.isLast;
}
