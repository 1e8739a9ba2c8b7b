/** Reads the document in slices, so that the page goes on reacting, and keeps what it has read until the page changes. */

import { bodyOf, rootOf, titleOf } from "./own";
import { type Passage, Walker } from "./passages";

/** Of the page's thread, at a time. */
const SLICE_MS = 7;

export class Reading {
  /** Another one for every reading. */
  readonly id = newId();
  readonly url = addressOf(location);
  readonly title = titleOf(document).trim() || location.host || location.pathname;
  readonly passages: Passage[] = [];
  isDone = false;
  /** Whether the page has changed since. */
  isStale = false;
  readonly #root = bodyOf(document) ?? rootOf(document);
  readonly #walker = new Walker(this.#root);
  readonly #listeners = new Set<() => void>();
  readonly #observer = new MutationObserver(() => this.#change());
  #isRunning = false;

  constructor() {
    this.#observer.observe(this.#root, {
      subtree: true,
      childList: true,
      characterData: true,
      attributeFilter: ["class", "style", "hidden", "open"],
    });
  }

  /** The hosts of frames that the browser keeps to itself. */
  get unreadable(): readonly string[] {
    return this.#walker.unreadable;
  }

  /** Whether the page has more passages than are read. */
  get isCut(): boolean {
    return this.#walker.isCut;
  }

  /** Reads on as long as anybody listens, who is called whenever there is more. */
  listen(listener: () => void): void {
    this.#listeners.add(listener);
    if (!this.#isRunning && !this.isDone) void this.#run();
  }

  unlisten(listener: () => void): void {
    this.#listeners.delete(listener);
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    const passages = this.#passages;
    while (this.#listeners.size > 0 && !this.isDone) {
      const end = performance.now() + SLICE_MS;
      while (performance.now() < end) {
        const { value, done } = passages.next();
        if (value) this.passages.push(value);
        if (done) {
          this.isDone = true;
          break;
        }
      }
      this.#tell();
      await pause();
    }
    this.#isRunning = false;
  }

  readonly #passages = this.#walker.passages();

  #change(): void {
    this.#observer.disconnect();
    this.isStale = true;
    this.#tell();
  }

  #tell(): void {
    for (const listener of this.#listeners) listener();
  }
}

/** Not a timer: those wait a second in a tab behind others. */
function pause(): Promise<void> {
  return scheduler.postTask(() => {}, { priority: "user-visible" });
}

/** Pages without https have no `crypto.randomUUID`. */
export function newId(): string {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(16).padStart(8, "0")).join("");
}

/** A part of the page has the page's own address, but where a script uses the fragment as a path. */
export function addressOf({ href, hash }: Location): string {
  return /^#(!|\/)/.test(hash) || hash === "" ? href : href.slice(0, -hash.length);
}
