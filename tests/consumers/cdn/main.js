/** For files of another origin, of which no worker may be started. */
const createWorker = (url) => {
  const script = new Blob([`import ${JSON.stringify(url)}`], { type: "text/javascript" });
  return new Worker(URL.createObjectURL(script), { type: "module" });
};

/** Imports the package from an address. */
globalThis.open = async (address) => {
  const { Embedder } = await import(address);
  globalThis.load = (model, options) => Embedder.load(model, { createWorker, ...options });
};
