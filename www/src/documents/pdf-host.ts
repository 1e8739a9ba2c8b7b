/** The browser's half of reading PDF: the parser's own worker, and its files. */

import { PDFWorker, VerbosityLevel } from "pdfjs-dist/legacy/build/pdf.mjs";

import type { Parser, PdfHost } from "./pdf";

declare global {
  interface ImportMeta {
    /** Webpack's: the addresses of a folder's files. */
    webpackContext(folder: string, options: { regExp: RegExp }): (file: string) => string;
  }
}

/** The addresses of the maps; webpack lists the folder. */
const maps = import.meta.webpackContext("pdfjs-dist/cmaps", { regExp: /\.bcmap$/ });

export const HOST: PdfHost = {
  start(): Parser {
    const thread = new Worker(/* webpackChunkName: "worker-pdf" */ new URL("./pdf.worker.ts", import.meta.url), {
      type: "module",
    });
    const worker = PDFWorker.create({ port: thread, verbosity: VerbosityLevel.ERRORS });
    return {
      worker,
      end: () => {
        worker.destroy();
        thread.terminate();
      },
    };
  },
  async characterMap(file) {
    const response = await fetch(maps(`./${file}`));
    if (!response.ok) throw new Error(`${response.url}: status ${response.status}`);
    return new Uint8Array(await response.arrayBuffer());
  },
};
