// A model of a hub in the cache, as the hub has it.

import { Folder, Loader } from "../../wasm/simd128/embervec.js";
import type { ModelStore } from "../cache/store.js";
import { EmbervecError } from "../errors.js";
import type { FolderFile, FolderPlan } from "../model/folder.js";
import { type ModelSink, loadModel } from "../model/load.js";
import { resolveModel } from "../model/source.js";
import { environment, headersFor, pageUrl } from "../platform/web.js";
import { folderFetch } from "../platform/web-parts.js";
import type { ProgressCallback } from "../types.js";
import type { ModelFiles } from "./pack.js";

export interface FetchOptions {
  hub: string | undefined;
  revision: string | undefined;
  progress: ProgressCallback;
  signal: AbortSignal;
}

/** Downloads what the cache does not have of a model, and gives the files. The wasm module has been started. */
export async function fetchModel(store: ModelStore, name: string, options: FetchOptions): Promise<ModelFiles> {
  const { hub, progress, signal } = options;
  const where = {
    ...(hub !== undefined && { hub }),
    ...(options.revision !== undefined && { revision: options.revision }),
  };
  const { base, revision, pointers } = resolveModel(name, where, pageUrl());
  const host = { base, pointers, headers: headersFor({}, base), signal, fetch: folderFetch(base) };
  const localFilesOnly = environment().localFilesOnly ?? false;
  await loadModel(store, fileSink, { name, revision, host, dtype: "fp32", localFilesOnly, progress });
  const record = await store.find(base);
  if (!record) throw new EmbervecError("storage", `the cache has not kept the model, ${store.unusable}`);
  return {
    size: async (path) => record.files.get(path)?.size,
    chunks: (path) => store.chunks(base, path, record.files.get(path)!),
  };
}

/** Looks at the small files, as a load does. The weights only pass through the store, which verifies them. */
function fileSink(): ModelSink<void> {
  const folder = new Folder();
  const nothing = new Uint8Array(0);
  return {
    plan: folder as FolderPlan,
    begin: () => {
      const weights = folder.weights() as FolderFile[];
      new Loader(folder, "fp32").free();
      return weights;
    },
    beginWeights() {},
    pushWeights() {},
    takeConverted: () => nothing,
    endWeights() {},
    finish: () => folder.free(),
  };
}
