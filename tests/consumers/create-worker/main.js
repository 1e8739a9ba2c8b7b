import { Embedder } from "embervec";

const createWorker = () => new Worker(new URL("embervec/worker.js", import.meta.url), { type: "module" });

globalThis.load = (model, options) => Embedder.load(model, { createWorker, ...options });
