/** What a screen reader is told: what has come of something, once it has, and never each step on the way. */

import { byId } from "./dom";

/** A pause in typing. */
const PAUSE_MS = 700;

let timer: ReturnType<typeof setTimeout> | undefined;

export function announce(text: string): void {
  clearTimeout(timer);
  byId("announcer", HTMLDivElement).textContent = text;
}

/** The outcome when the typing pauses, not each letter's. */
export function announceSoon(text: string): void {
  clearTimeout(timer);
  timer = setTimeout(() => announce(text), PAUSE_MS);
}
