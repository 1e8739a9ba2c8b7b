// What a page can do with the models that are kept.

import type { CacheChoice } from "./cache/cache.js";
import { managed } from "./cache/cache.js";
import { ModelStore } from "./cache/store.js";
import { EmbervecError, codeOf } from "./errors.js";
import { packModel, unpackModel } from "./model/archive.js";
import { modelKey, resolveModel } from "./model/source.js";
import { STORAGE, pageUrl } from "./platform/web.js";
import { folderFetch } from "./platform/web-parts.js";
import { checkCachedOptions, checkModelOptions } from "./options.js";
import type { LoadOptions } from "./types.js";

/** Where a model is, as in {@link LoadOptions}. */
export interface ModelOptions {
  /** Host of hub ids. Default `"https://huggingface.co"`. */
  hub?: string;
  /** Branch, tag or commit of a hub id. Default `"main"`. */
  revision?: string;
  /** Where the model is kept. Default `"indexeddb"`. */
  cache?: CacheChoice;
}

/** A model in the cache. */
export interface StoredModel {
  /** As given to `load`; the folder's address if that is not known. */
  model: string;
  /** `undefined` for a folder's address, or where it is not known. */
  revision: string | undefined;
  /** Address of the model's folder. */
  url: string;
  /** `"q8"`: weights in 8 bits. `"original"`: as on the host, for `"fp32"` and `"fp16"`. */
  weights: "q8" | "original";
  /** Bytes that are stored. */
  size: number;
  /** `false` for an interrupted download: the next `load` resumes it. */
  complete: boolean;
  /** When the download was complete; `undefined` where it is not. */
  storedAt: Date | undefined;
  /** When it was last loaded; `undefined` where it is not complete. */
  usedAt: Date | undefined;
}

/** Lists every model in the cache, including interrupted downloads. */
export async function listModels(options: Pick<ModelOptions, "cache"> = {}): Promise<StoredModel[]> {
  return withStore("listModels", options, async (store) => {
    const [records, sizes] = [await store.records(), await store.sizes()];
    return [...new Set([...records.keys(), ...sizes.keys()])].map((key) => {
      const record = records.get(key);
      const [url = "", form] = key.split("#");
      return {
        model: record?.name ?? url,
        revision: record?.revision,
        url,
        weights: form === "q8" ? "q8" : "original",
        size: sizes.get(key) ?? 0,
        complete: record !== undefined,
        storedAt: record && new Date(record.storedAt),
        usedAt: record && new Date(record.usedAt),
      };
    });
  });
}

/** Whether `load` with the same options would work without the network. */
export async function isCached(
  model: string,
  options: ModelOptions & Pick<LoadOptions, "dtype"> = {},
): Promise<boolean> {
  const isStored = async (store: ModelStore) => {
    const { dtype = "auto" } = options;
    const { base } = resolveModel(model, options, pageUrl());
    if (folderFetch(base)) return true;
    const original = await store.find(base);
    const q8 = await store.find(modelKey(base, "q8"));
    return original !== undefined || (q8 !== undefined && (dtype === "auto" || dtype === "q8"));
  };
  return withStore("isCached", options, isStored, checkCachedOptions);
}

/** Deletes a model in every form, including interrupted downloads. Loaded embedders continue to work. */
export async function deleteModel(model: string, options: ModelOptions = {}): Promise<void> {
  await withStore("deleteModel", options, async (store) => {
    const { base } = resolveModel(model, options, pageUrl());
    await store.delete(base, modelKey(base, "q8"));
  });
}

/** Deletes everything but search indexes. A model that is being downloaded is not kept, either. */
export async function clearCache(options: Pick<ModelOptions, "cache"> = {}): Promise<void> {
  await withStore("clearCache", options, (store) => store.clear());
}

/** The size of all models in the cache, in bytes. */
export async function cacheSize(options: Pick<ModelOptions, "cache"> = {}): Promise<number> {
  const sizes = await withStore("cacheSize", options, (store) => store.sizes());
  return [...sizes.values()].reduce((sum, size) => sum + size, 0);
}

/**
 * Exports a cached model as one file, for a browser without a network. The file is a tar archive of the model's folder.
 *
 * @throws {EmbervecError} `model_not_found` if the model is not in the cache
 */
export async function exportModel(model: string, options: ModelOptions = {}): Promise<Blob> {
  return withStore("exportModel", options, async (store) => {
    const { base } = resolveModel(model, options, pageUrl());
    await store.use(base);
    let damage: unknown;
    for (const key of [modelKey(base, "q8"), base]) {
      const record = await store.find(key);
      try {
        if (record) return await packModel(store, key, record);
      } catch (error) {
        if (codeOf(error) !== "integrity") throw error;
        damage ??= error;
      }
    }
    refuseUnusable(store);
    throw (
      damage ?? new EmbervecError("model_not_found", `${base} is not in ${STORAGE}; load it once before you export it`)
    );
  });
}

/**
 * Puts into the cache what {@link exportModel} returned, or a tar archive of a folder that `npx embervec pack` has made; `load` with
 * the same `model` and options then needs no network. Waits for a download of the same model.
 *
 * @throws {EmbervecError} `integrity` if a byte differs from the archive's manifest, `quota` if there is no room
 */
export async function importModel(model: string, archive: Blob, options: ModelOptions = {}): Promise<void> {
  await withStore("importModel", options, async (store) => {
    if (!(archive instanceof Blob))
      throw new EmbervecError("invalid_input", "importModel takes the archive as a Blob or File");
    const { base, revision } = resolveModel(model, options, pageUrl());
    await store.use(base);
    await store.exclusively(base, async () => {
      let key = base;
      await store.reserve(base, archive.size, 0);
      const unpacked = await unpackModel(store, archive, (manifest) => {
        const isPacked = [...manifest.keys()].some((path) => path.endsWith(".q8.safetensors"));
        return (key = modelKey(base, isPacked ? "q8" : "fp32"));
      });
      const now = Date.now();
      await store.commit(key, { name: model, revision, ...unpacked, absent: "others", storedAt: now, usedAt: now });
    });
  });
}

/** Uses a cache, and leaves nothing of it open. */
async function withStore<T>(
  call: string,
  options: ModelOptions,
  action: (store: ModelStore) => Promise<T>,
  check = checkModelOptions,
): Promise<T> {
  check(call, options);
  const store = ModelStore.over(managed(options.cache));
  try {
    const result = await action(store);
    refuseUnusable(store, store.refused);
    return result;
  } finally {
    store.close();
  }
}

/** Nobody is served by a list of models that could not be read. */
function refuseUnusable(store: ModelStore, unusable = store.unusable): void {
  if (unusable === undefined) return;
  throw new EmbervecError(store.isFull ? "quota" : "storage", `this is not possible, ${unusable}`);
}
