// A thread of Node's that looks like a browser's worker, as far as `WorkerClient` looks.

import { Worker as NodeWorker } from "node:worker_threads";

import { messageOf } from "../../errors.js";

export class Thread {
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onerror: ((event: { message: string; error: unknown }) => void) | null = null;
  readonly #thread: NodeWorker;
  /** Whether something has come from the script. */
  #runs = false;
  #isOver = false;

  constructor(url: URL) {
    // The process's own arguments (a loader of its tests, code to evaluate) are not for this script.
    this.#thread = new NodeWorker(url, { name: "embervec", execArgv: [] });
    this.#thread.on("message", (data) => {
      this.#runs = true;
      this.onmessage?.({ data });
    });
    // Of a script that did not load a browser says nothing more.
    this.#thread.on("error", (error) => this.#end(this.#runs ? messageOf(error) : "", error));
    this.#thread.on("exit", (code) => this.#end(`it has ended with exit code ${code}`));
  }

  addEventListener(_type: "messageerror", listener: () => void): void {
    this.#thread.on("messageerror", listener);
  }

  postMessage(message: unknown, transfer: Transferable[]): void {
    this.#thread.postMessage(message, transfer as never);
  }

  terminate(): void {
    this.#isOver = true;
    void this.#thread.terminate();
  }

  ref(): void {
    this.#thread.ref();
  }

  unref(): void {
    this.#thread.unref();
  }

  /** An error is followed by the thread's end, which is told once. */
  #end(message: string, error?: unknown): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.onerror?.({ message, error });
  }
}
