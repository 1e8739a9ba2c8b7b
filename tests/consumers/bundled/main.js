import { Embedder } from "embervec";

globalThis.load = (model, options) => Embedder.load(model, options);
