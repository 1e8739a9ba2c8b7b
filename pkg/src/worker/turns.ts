// The worker's thread, which computes one piece after another. Between two pieces messages come in, and what is short goes first.

/** So many turns later a request that is a character shorter still goes first. */
const TURNS_PER_CHARACTER = 1 / 8;

/** What is longer waits no longer: a slice of a bulk job, for 256 turns, which are a second of queries. */
const MOST_CHARACTERS = 2048;

interface Piece {
  due: number;
  run: () => void;
}

/** Pieces of several jobs; none is so long that it may not be waited for. */
export class Turns {
  readonly #waiting: Piece[] = [];
  #count = 0;
  #isBusy = false;

  /** @param nextTask lets the messages in that have come */
  constructor(private readonly nextTask: () => Promise<void>) {}

  /**
   * When a job of so many characters is due that begins now: the shorter one of two, unless the other one waits for so long that it would
   * never come to its turn.
   */
  due(characters: number): number {
    return this.#count + Math.min(characters, MOST_CHARACTERS) * TURNS_PER_CHARACTER;
  }

  /** Runs the next piece of a job as soon as it is its turn. At once, where nothing runs. */
  take<T>(due: number, piece: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      const run = () => {
        try {
          resolve(piece());
        } catch (error) {
          reject(error);
        }
      };
      // Behind those that are due at the same time.
      const behind = this.#waiting.findIndex((other) => other.due > due);
      this.#waiting.splice(behind === -1 ? this.#waiting.length : behind, 0, { due, run });
      if (!this.#isBusy) void this.#work();
    });
  }

  async #work(): Promise<void> {
    this.#isBusy = true;
    for (let piece = this.#waiting.shift(); piece; piece = this.#waiting.shift()) {
      piece.run();
      this.#count += 1;
      await this.nextTask();
    }
    this.#isBusy = false;
  }
}
