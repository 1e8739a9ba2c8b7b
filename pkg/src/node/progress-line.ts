// Progress on a terminal: one line that is written again and again; in a log a line now and then.

/** What is used of `process.stderr`. */
export interface Terminal {
  isTTY?: boolean;
  write(text: string): unknown;
}

/** Milliseconds from one line to the next. */
const TERMINAL_MS = 100;
const LOG_MS = 10_000;

/** For so long nobody knows how fast it is. */
const MEASURED_MS = 1000;

/** Goes back to the line's beginning and deletes it. */
const CLEAR = "\r\x1b[K";

export class ProgressLine {
  readonly #every: number;
  #what: string | undefined;
  #startedAt = 0;
  #startedWith = 0;
  #writtenAt = 0;
  #isShown = false;

  constructor(
    private readonly terminal: Terminal,
    private readonly now: () => number = () => performance.now(),
  ) {
    this.#every = terminal.isTTY ? TERMINAL_MS : LOG_MS;
  }

  /**
   * @param what "downloading"
   * @param total 0 where nobody knows
   */
  update(what: string, loaded: number, total: number): void {
    const now = this.now();
    if (what !== this.#what) {
      this.#what = what;
      // What is there already was not waited for.
      this.#startedAt = this.#writtenAt = now;
      this.#startedWith = loaded;
    }
    if (now - this.#writtenAt < this.#every) return;
    this.#writtenAt = now;
    const ms = now - this.#startedAt;
    const bytesPerMs = ms < MEASURED_MS ? 0 : (loaded - this.#startedWith) / ms;
    const line = progressText(what, loaded, total, bytesPerMs);
    this.terminal.write(this.terminal.isTTY ? CLEAR + line : `${line}\n`);
    this.#isShown = true;
  }

  /** Makes room for other text. */
  end(): void {
    if (this.terminal.isTTY && this.#isShown) this.terminal.write(CLEAR);
    this.#isShown = false;
  }
}

/** @param bytesPerMs 0 where nobody knows */
export function progressText(what: string, loaded: number, total: number, bytesPerMs: number): string {
  const parts = [
    `${what} ${total > 0 ? `${megabytes(loaded)} of ${megabytes(total)}` : megabytes(loaded)} MB`,
    ...(total > 0 ? [`${Math.floor((100 * loaded) / total)} %`] : []),
    ...(bytesPerMs > 0 ? [`${megabytes(bytesPerMs * 1000)} MB/s`] : []),
    ...(bytesPerMs > 0 && total > loaded ? [`${duration((total - loaded) / bytesPerMs)} left`] : []),
  ];
  return parts.join(", ");
}

/** With one decimal. */
export function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(1);
}

function duration(ms: number): string {
  const seconds = Math.ceil(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min ${seconds % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
