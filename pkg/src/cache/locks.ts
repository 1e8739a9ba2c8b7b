// The browser's locks, as far as it gives any.

import { lockManager } from "../platform/web.js";
import { PLATFORM_MS, type Wait, settled } from "../settle.js";

/** Gives a lock back. */
export type Release = () => void;

const NOTHING: Release = () => {};

/**
 * Locks that all tabs of an origin share. A browser has them in secure contexts only, and a user can block them: then
 * everybody gets what they ask for. A lock manager that has failed once is not asked again.
 */
export class Locks {
  #manager: LockManager | undefined;

  /** @param isOwn whether they are for a caller's own cache */
  constructor(isOwn = false) {
    this.#manager = lockManager(isOwn);
  }

  /** Waits for as long as somebody else has the lock; for a lock manager that says nothing, only {@link PLATFORM_MS}. */
  async take(name: string, mode: LockMode, signal?: AbortSignal): Promise<Release> {
    const release = await this.tryTake(name, mode, signal);
    if (release || !this.#manager) return release ?? NOTHING;
    // It answers, and says that somebody has it.
    return (await this.#request(name, { mode, ...(signal && { signal }) }, { signal })) ?? NOTHING;
  }

  /** Runs an action that nobody else with the same lock runs at the same time. */
  async hold<T>(name: string, action: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const release = await this.take(name, "exclusive", signal);
    try {
      return await action();
    } finally {
      release();
    }
  }

  /** A lock that is free; `undefined` where somebody has it. */
  async tryTake(name: string, mode: LockMode, signal?: AbortSignal): Promise<Release | undefined> {
    return this.#request(name, { mode, ifAvailable: true }, { ms: PLATFORM_MS, signal });
  }

  async #request(name: string, options: LockOptions, wait: Wait<unknown>): Promise<Release | undefined> {
    const manager = this.#manager;
    if (!manager) return NOTHING;
    const start = () =>
      new Promise<Release | undefined>((resolve, reject) => {
        const hold = (lock: Lock | null) => (lock ? new Promise<void>(resolve) : resolve(undefined));
        manager.request(name, options, hold).catch(reject);
      });
    try {
      return await settled("the browser's lock manager", start, { ...wait, late: (release) => release?.() });
    } catch {
      wait.signal?.throwIfAborted();
      this.#manager = undefined;
      return NOTHING;
    }
  }
}
