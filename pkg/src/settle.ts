// Waits on the platform end, whatever a browser's promise does.

import { allowListeners } from "./platform/web.js";

/** Milliseconds after which a promise of the browser is given up. IndexedDB opens in 10 to 50. */
export const PLATFORM_MS = 3000;

/** What was waited for has not come in time. */
export class TimeoutError extends Error {
  override readonly name = "TimeoutError";
}

/**
 * Runs `action` after so many milliseconds, unless the function that it gives is called before.
 *
 * After a busy thread, or a device's sleep, the timer is due together with the answer that it is for, whose turn comes first.
 */
export function after(ms: number, action: () => void): () => void {
  let timer = setTimeout(() => (timer = setTimeout(action, 0)), ms);
  return () => clearTimeout(timer);
}

export interface Wait<T> {
  /** Milliseconds; without them it may last as long as `signal` lets it. */
  ms?: number;
  signal?: AbortSignal | undefined;
  /** Disposes of what comes when nobody waits for it any more. */
  late?: (value: T) => void;
}

/**
 * What `start` gives, unless it does not come in time or the signal aborts first.
 *
 * @param what as in "the browser's IndexedDB", for the message
 * @throws {TimeoutError} after `ms`
 */
export function settled<T>(what: string, start: () => T | PromiseLike<T>, { ms, signal, late }: Wait<T>): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    let isOver = false;
    const end = () => {
      isOver = true;
      cancel?.();
      signal?.removeEventListener("abort", abort);
    };
    const abort = () => {
      end();
      reject(signal!.reason);
    };
    const fail = (error: unknown) => {
      if (isOver) return;
      end();
      reject(error);
    };
    const giveUp = () => fail(new TimeoutError(`${what} has not answered in ${ms! / 1000} s`));
    const cancel = ms === undefined ? undefined : after(ms, giveUp);
    if (signal?.aborted) return abort();
    allowListeners(signal);
    signal?.addEventListener("abort", abort);
    try {
      Promise.resolve(start()).then((value) => {
        if (isOver) return late?.(value);
        end();
        resolve(value);
      }, fail);
    } catch (error) {
      fail(error);
    }
  });
}
