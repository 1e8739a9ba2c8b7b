/** Creates the offscreen document, and passes keys on to the page. It may be stopped at any moment, so it keeps nothing. */

import type { StepMessage } from "./page-messages";
import { ENSURE_ENCODER } from "./protocol";

const DOCUMENT = "offscreen.html";

/** Two panels may ask at once. */
let creating: Promise<void> | undefined;

chrome.runtime.onMessage.addListener((message: unknown, _sender, respond: (problem: string) => void) => {
  if (message !== ENSURE_ENCODER) return false;
  creating ??= ensureDocument().finally(() => (creating = undefined));
  creating.then(
    () => respond(""),
    (error: unknown) => respond(error instanceof Error ? error.message : String(error)),
  );
  return true; // `respond` is called later
});

async function ensureDocument(): Promise<void> {
  if (await exists()) return;
  try {
    await chrome.offscreen.createDocument({
      url: DOCUMENT,
      reasons: [chrome.offscreen.Reason.WORKERS],
      justification: "The language model runs in workers, which outlive the popup and this service worker.",
    });
  } catch (error) {
    // A service worker that was stopped meanwhile may have begun it.
    if (!(await exists())) throw error;
  }
}

async function exists(): Promise<boolean> {
  const contexts = await chrome.runtime.getContexts({ contextTypes: [chrome.runtime.ContextType.OFFSCREEN_DOCUMENT] });
  return contexts.length > 0;
}

chrome.commands.onCommand.addListener((command, tab) => {
  const message: StepMessage = { step: command === "next-hit" ? 1 : -1 };
  // In a page without a mark nobody listens.
  if (tab?.id !== undefined) chrome.tabs.sendMessage(tab.id, message, { frameId: 0 }).catch(() => {});
});
