/** The browser's half of reading PDF: the parser's own worker, and its files. */

import { PDFWorker, VerbosityLevel } from "pdfjs-dist/legacy/build/pdf.mjs";

import { WorkerStarter } from "../start-worker";
import type { PdfHost } from "./pdf";

declare global {
  interface ImportMeta {
    /** Webpack's: the addresses of a folder's files. */
    webpackContext(folder: string, options: { regExp: RegExp }): (file: string) => string;
  }
}

/** The addresses of the maps; webpack lists the folder. */
const maps = import.meta.webpackContext("pdfjs-dist/cmaps", { regExp: /\.bcmap$/ });

/** Its script tells PDF.js that it is ready: that is its first message. */
const starter = new WorkerStarter(
  () =>
    new Worker(/* webpackChunkName: "worker-pdf" */ new URL("./pdf.worker.ts", import.meta.url), {
      type: "module",
    }),
);

export const HOST: PdfHost = {
  async start(signal) {
    const starting = new AbortController();
    const abort = () => starting.abort(signal.reason);
    signal.addEventListener("abort", abort);
    if (signal.aborted) abort();
    try {
      const thread = await starter.start(starting.signal);
      const worker = PDFWorker.create({ port: thread, verbosity: VerbosityLevel.ERRORS });
      return {
        worker,
        end: () => {
          worker.destroy();
          thread.terminate();
        },
      };
    } finally {
      // The next document may have the same worker.
      signal.removeEventListener("abort", abort);
    }
  },
  async characterMap(file) {
    const response = await fetch(maps(`./${file}`));
    if (!response.ok) throw new Error(`${response.url}: status ${response.status}`);
    return new Uint8Array(await response.arrayBuffer());
  },
};
