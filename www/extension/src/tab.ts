/** The tab that the user looks at: its text, and a passage in it. Only `activeTab` lets the extension in, so only where it was called. */

import type { PageText } from "./protocol";

export interface TabPage extends PageText {
  readonly tabId: number;
}

/** The browser does not let the extension into the page, or there is none. */
export class UnreadableError extends Error {}

export async function readActiveTab(): Promise<TabPage> {
  const [tab] = await chrome.tabs.query({ active: true, currentWindow: true });
  if (tab?.id === undefined) throw new UnreadableError("There is no tab in this window.");
  const read = await inPage(tab.id, [], () => globalThis.embervec?.read?.());
  const hash = await sha256(JSON.stringify([read.url, read.passages]));
  return { ...read, tabId: tab.id, hash, key: `${tab.id} ${read.url} ${hash}` };
}

/** `false` where it is no longer in the page. */
export function showPassage(tabId: number, text: string, index: number): Promise<boolean> {
  return inPage(tabId, [text, index], (text: string, index: number) => globalThis.embervec?.show?.(text, index));
}

/**
 * @param call is sent to the page as its source text, so it may only use its arguments; gives `undefined` where the script is not there,
 *   even if an element of the page has its name
 */
async function inPage<const Args extends readonly unknown[], Result>(
  tabId: number,
  args: Args,
  call: (...args: [...Args]) => Result | undefined,
): Promise<Result> {
  const target = { tabId };
  const run = async () => {
    const [injection] = await chrome.scripting.executeScript({ target, func: call, args: [...args] });
    return (injection?.result ?? undefined) as Result | undefined;
  };
  try {
    const answer = await run();
    if (answer !== undefined) return answer;
    // Once per document: a script's constants cannot be declared twice.
    await chrome.scripting.executeScript({ target, files: ["content.js"] });
    const second = await run();
    if (second === undefined) throw new Error("The page gave no answer.");
    return second;
  } catch (error) {
    throw new UnreadableError(error instanceof Error ? error.message : String(error), { cause: error });
  }
}

async function sha256(text: string): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
