// What a page can do with the models that are kept.

import type { CacheChoice } from "./cache/cache.js";
import { cacheOf } from "./cache/cache.js";
import { ModelStore } from "./cache/store.js";
import { EmbervecError } from "./errors.js";
import { packModel, unpackModel } from "./model/archive.js";
import { modelKey, pageUrl, resolveModel } from "./model/source.js";
import { checkCachedOptions, checkModelOptions } from "./options.js";
import type { LoadOptions } from "./types.js";

/** Where a model is; as in {@link LoadOptions}. */
export interface ModelOptions {
  hub?: string;
  revision?: string;
  cache?: CacheChoice;
}

/** A model in the cache. */
export interface StoredModel {
  /** As `load` was called; the address where that is not known. */
  model: string;
  revision: string | undefined;
  /** Address of the model's folder. */
  url: string;
  /** `"q8"`: weights in 8 bits. `"original"`: as the host has them, for `"fp32"` and `"fp16"`. */
  weights: "q8" | "original";
  /** Bytes that are stored. */
  size: number;
  /** `false` for a download that was interrupted: the next `load` goes on with it. */
  complete: boolean;
  /** `undefined` where it is not complete. */
  storedAt: Date | undefined;
  usedAt: Date | undefined;
}

/** Every model in the cache, also those that have come only in part. */
export async function listModels(options: Pick<ModelOptions, "cache"> = {}): Promise<StoredModel[]> {
  const store = open("listModels", options);
  const [records, sizes] = [await store.records(), await store.sizes()];
  refuseUnusable(store);
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
}

/** Whether `load` with the same options would not need the network. */
export async function isCached(
  model: string,
  options: ModelOptions & Pick<LoadOptions, "dtype"> = {},
): Promise<boolean> {
  const store = open("isCached", options, checkCachedOptions);
  const { dtype = "auto" } = options;
  const { base } = resolveModel(model, options, pageUrl());
  const original = await store.find(base);
  const q8 = await store.find(modelKey(base, "q8"));
  refuseUnusable(store);
  return original !== undefined || (q8 !== undefined && (dtype === "auto" || dtype === "q8"));
}

/** Deletes a model in every form, also one that has come only in part. Embedders that are loaded go on. */
export async function deleteModel(model: string, options: ModelOptions = {}): Promise<void> {
  const store = open("deleteModel", options);
  const { base } = resolveModel(model, options, pageUrl());
  await store.delete(base);
  await store.delete(modelKey(base, "q8"));
  refuseUnusable(store);
}

/** Deletes everything that embervec has stored. */
export async function clearCache(options: Pick<ModelOptions, "cache"> = {}): Promise<void> {
  const store = open("clearCache", options);
  // The records first, so that no model is half there.
  await store.forget("model ");
  await store.forget("");
  refuseUnusable(store);
}

/** Bytes of all models in the cache. */
export async function cacheSize(options: Pick<ModelOptions, "cache"> = {}): Promise<number> {
  const store = open("cacheSize", options);
  const sizes = await store.sizes();
  refuseUnusable(store);
  return [...sizes.values()].reduce((sum, size) => sum + size, 0);
}

/**
 * A model of the cache as one file, to be carried to a browser without a network: a tar archive of its folder.
 *
 * @throws {EmbervecError} `model_not_found` where the model is not in the cache
 */
export async function exportModel(model: string, options: ModelOptions = {}): Promise<Blob> {
  const store = open("exportModel", options);
  const { base } = resolveModel(model, options, pageUrl());
  for (const key of [modelKey(base, "q8"), base]) {
    const record = await store.find(key);
    if (record) return packModel(store, key, record);
  }
  refuseUnusable(store);
  throw new EmbervecError("model_not_found", `${base} is not in this browser's storage; load it once, and it can be exported`);
}

/**
 * Puts into the cache what {@link exportModel} has given, or a tar archive of a folder that `cargo xtask pack` has made; `load` with
 * the same `model` and options then needs no network.
 *
 * @throws {EmbervecError} `integrity` where a byte is not what the archive's manifest says, `quota` where there is no room
 */
export async function importModel(model: string, archive: Blob, options: ModelOptions = {}): Promise<void> {
  const store = open("importModel", options);
  if (!(archive instanceof Blob)) throw new EmbervecError("invalid_input", "importModel takes the archive as a Blob or File");
  const { base, revision } = resolveModel(model, options, pageUrl());
  let key = base;
  await store.reserve(base, archive.size, 0);
  const files = await unpackModel(store, archive, (manifest) => {
    const isPacked = [...manifest.keys()].some((path) => path.endsWith(".q8.safetensors"));
    return (key = modelKey(base, isPacked ? "q8" : "fp32"));
  });
  const now = Date.now();
  await store.commit(key, { name: model, revision, files, absent: "others", storedAt: now, usedAt: now });
  refuseUnusable(store);
}

function open(call: string, options: ModelOptions, check = checkModelOptions): ModelStore {
  check(call, options);
  return ModelStore.over(cacheOf(options.cache));
}

/** Nobody is served by a list of models that could not be read. */
function refuseUnusable(store: ModelStore): void {
  const { unusable } = store;
  if (unusable === undefined) return;
  throw new EmbervecError(store.isFull ? "quota" : "storage", `it cannot be done, ${unusable}`);
}
