/** The worker that reads documents. Several may be read at a time; each waits for the page after each of its events. */

import { type FromWorker, isLast, type ToWorker } from "./protocol";
import { readDocument } from "./read";

/** The page's types have none for a worker. */
const scope = self as unknown as Pick<MessagePort, "addEventListener"> & { postMessage(message: FromWorker): void };

interface Reading {
  controller: AbortController;
  /** Called when the page wants the next event. */
  more: () => void;
}

/** Enough for a bar that moves. */
const PROGRESS_MS = 50;

const readings = new Map<number, Reading>();

scope.addEventListener("message", ({ data }: MessageEvent<ToWorker>) => {
  switch (data.type) {
    case "read":
      void read(data);
      break;
    case "more":
      readings.get(data.id)?.more();
      break;
    case "abort":
      readings.get(data.id)?.controller.abort();
      readings.get(data.id)?.more();
      break;
  }
});

async function read({ id, index, source }: Extract<ToWorker, { type: "read" }>): Promise<void> {
  const controller = new AbortController();
  const { signal } = controller;
  const reading: Reading = { controller, more: () => {} };
  readings.set(id, reading);
  const path = "file" in source ? source.path : source.name;
  let reported = 0;
  try {
    await readDocument(source, {
      index,
      signal,
      progress: (loaded, total) => {
        const now = performance.now();
        if (now - reported < PROGRESS_MS && loaded < total) return;
        reported = now;
        post({ type: "progress", id, path, loaded, total });
      },
      send: async (event) => {
        const isAsked = new Promise<void>((resolve) => (reading.more = resolve));
        post({ type: "event", id, event });
        if (isLast(event)) return;
        await isAsked;
        signal.throwIfAborted();
      },
    });
    post({ type: "end", id });
  } catch (error) {
    if (signal.aborted) post({ type: "end", id });
    else post({ type: "error", id, message: error instanceof Error ? error.message : String(error) });
  } finally {
    readings.delete(id);
  }
}

function post(message: FromWorker): void {
  scope.postMessage(message);
}

post({ type: "started" });
