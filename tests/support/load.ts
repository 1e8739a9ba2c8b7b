// Loading a model in a page, and what is left in its IndexedDB.

import type { Page } from "playwright-core";

export interface Outcome {
  /** Of the text "a quick brown fox". */
  vector?: number[];
  cached?: boolean;
  error?: { isEmbervecError: boolean; code: string; message: string };
}

/** Loads a model with JSON options, encodes a text with it and disposes of it; in the page. */
export async function loadInPage({ model, options }: { model: string; options: object }): Promise<Outcome> {
  const address = "/pkg/dist/index.js";
  const { Embedder, EmbervecError } = await import(address);
  try {
    const embedder = await Embedder.load(model, { dtype: "fp32", ...options });
    const vector: Float32Array = await embedder.encode("a quick brown fox");
    await embedder.dispose();
    // Two of them would be equal to each other.
    if (vector.length === 0 || !vector.every(Number.isFinite)) throw new Error(`not a vector: ${vector}`);
    return { vector: [...vector], cached: embedder.info.cached };
  } catch (error) {
    const { code, message } = error as { code: string; message: string };
    return { error: { isEmbervecError: error instanceof EmbervecError, code, message } };
  }
}

/** {@link loadInPage} in this page. */
export function load(page: Page, model: string, options: object = {}): Promise<Outcome> {
  return page.evaluate(loadInPage, { model, options });
}

/** The models that are whole in the package's database, and the keys of all chunks. */
export function storedKeys(page: Page): Promise<{ models: string[]; chunks: string[] }> {
  return page.evaluate(async () => {
    const done = <T>(request: IDBRequest<T>) =>
      new Promise<T>((resolve, reject) => {
        request.onsuccess = () => resolve(request.result);
        request.onerror = () => reject(request.error);
      });
    // Opening it would create it.
    if (!(await indexedDB.databases()).some(({ name }) => name === "embervec")) return { models: [], chunks: [] };
    const database = await done(indexedDB.open("embervec"));
    const keys = (await done(database.transaction("entries").objectStore("entries").getAllKeys())).map(String);
    database.close();
    const withPrefix = (prefix: string) =>
      keys.filter((key) => key.startsWith(prefix)).map((key) => key.slice(prefix.length).trim());
    return { models: withPrefix("model "), chunks: withPrefix("chunk ") };
  });
}

/** Deletes the package's database; waits for connections that are still open. */
export function deleteStored(page: Page): Promise<void> {
  return page.evaluate(
    () =>
      new Promise<void>((resolve, reject) => {
        const request = indexedDB.deleteDatabase("embervec");
        request.onsuccess = () => resolve();
        request.onerror = () => reject(request.error);
      }),
  );
}
