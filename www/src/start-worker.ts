/** Starts a worker, and starts it again if its script never runs. */

/**
 * How long a script may take until it runs, one number for each try. Chromium 156 loses a worker, without a word, if
 * its page gets a new service worker at this moment, as it does after a deploy. So the first number is small. The last
 * one leaves time for a slow network.
 */
const PATIENCE_MS = [5000, 25_000];

/** Its script could not be fetched, has a fault, or never ran. */
export class NotStarted extends Error {}

export class WorkerStarter {
  readonly #create: () => Worker;
  readonly #patience: readonly number[];
  /** Whether all tries have failed: then nobody waits as long again. */
  #isHopeless = false;

  /**
   * @param create starts the script, whose first message says that it runs
   * @param patience in milliseconds; `Infinity` as the last one: that worker is never given up
   */
  constructor(create: () => Worker, patience: readonly number[] = PATIENCE_MS) {
    this.#create = create;
    this.#patience = patience;
  }

  /**
   * @param signal ends the worker, whether it runs yet or not
   * @returns the worker, once it runs
   * @throws {NotStarted} or the signal's reason
   */
  async start(signal = new AbortController().signal): Promise<Worker> {
    const tries = this.#isHopeless ? this.#patience.slice(0, 1) : this.#patience;
    for (const patience of tries) {
      signal.throwIfAborted();
      const worker = this.#create();
      signal.addEventListener("abort", () => worker.terminate());
      let isRunning = false;
      try {
        isRunning = await runs(worker, patience, signal);
      } finally {
        if (!isRunning) worker.terminate();
      }
      if (isRunning) {
        this.#isHopeless = false;
        return worker;
      }
    }
    this.#isHopeless = true;
    throw new NotStarted(`a worker has not run after ${tries.length} tries`);
  }
}

/** Waits for the first message. */
async function runs(worker: Worker, patience: number, signal: AbortSignal): Promise<boolean> {
  const settled = new AbortController();
  const listening = { signal: settled.signal };
  let timer: ReturnType<typeof setTimeout> | undefined;
  try {
    return await new Promise<boolean>((resolve, reject) => {
      // After a device's sleep the timer is due together with the message that it is for, whose turn comes first.
      const giveUp = () => (timer = setTimeout(() => resolve(false), 0));
      if (patience !== Infinity) timer = setTimeout(giveUp, patience);
      worker.addEventListener("message", () => resolve(true), listening);
      const fail = (event: ErrorEvent) => {
        event.preventDefault();
        reject(new NotStarted("a worker's script cannot run", { cause: event.error }));
      };
      worker.addEventListener("error", fail, listening);
      signal.addEventListener("abort", () => reject(signal.reason), listening);
    });
  } finally {
    clearTimeout(timer);
    settled.abort();
  }
}
