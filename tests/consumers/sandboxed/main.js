import { Embedder } from "/node_modules/embervec/dist/index.js";

/** For a page without an origin, of which Chromium starts no module worker by a `blob:`. */
const createWorker = (url) =>
  new Worker(`data:text/javascript,${encodeURIComponent(`import ${JSON.stringify(url)}`)}`, { type: "module" });

globalThis.load = (model, options) => Embedder.load(model, { createWorker, ...options });
