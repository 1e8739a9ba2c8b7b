/** Pages that the extension's first version has saved, in a database of its own. */

import { deleteDB, openDB } from "idb";

const NAME = "embervec-saved-pages";

export interface OldPage {
  readonly url: string;
  readonly title: string;
  readonly hash: string;
  readonly savedAt: number;
  readonly passages: readonly string[];
  /** One row per passage, of all-MiniLM-L6-v2. */
  readonly vectors: Float32Array<ArrayBuffer>;
}

/** `undefined`: there is no such database. */
export async function readOldPages(): Promise<OldPage[] | undefined> {
  const databases = await indexedDB.databases();
  if (!databases.some(({ name }) => name === NAME)) return undefined;
  const database = await openDB(NAME);
  try {
    if (!database.objectStoreNames.contains("pages")) return [];
    const pages = (await database.getAll("pages")) as OldPage[];
    return pages.filter(({ passages }) => passages.length > 0);
  } finally {
    database.close();
  }
}

export function deleteOldPages(): Promise<void> {
  return deleteDB(NAME);
}
