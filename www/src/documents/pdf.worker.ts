/** The thread in which PDF.js parses. */

import "pdfjs-dist/legacy/build/pdf.worker.mjs";
