import type { PassageText } from "./page-messages";

/** Of a page's address and text: a page that has changed has another one. */
export async function hashOf(url: string, passages: readonly PassageText[]): Promise<string> {
  const bytes = new TextEncoder().encode(JSON.stringify([url, passages.map(([text]) => text)]));
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
