// `navigator.locks`, which Node does not have: <https://w3c.github.io/web-locks/#algorithms>, without `steal`.

interface Request {
  name: string;
  mode: LockMode;
  tab: TabLocks;
  /** Begins to hold the lock. */
  grant: () => void;
  /** Of a request for a lock that is free: it is not. */
  refuse: (() => void) | undefined;
}

/** The locks of an origin. */
export class LockServer {
  #held: Request[] = [];
  #queue: Request[] = [];

  /** @param turn resolves when it is the turn of the lock manager */
  constructor(private readonly turn: () => Promise<void>) {}

  openTab(): TabLocks {
    return new TabLocks(this);
  }

  /** The names of all locks that somebody has or waits for. */
  get names(): string[] {
    return [...this.#held, ...this.#queue].map(({ name }) => name);
  }

  async enqueue(request: Request): Promise<void> {
    this.#queue.push(request);
    await this.turn();
    this.#process();
  }

  drop(dropped: (request: Request) => boolean): void {
    this.#held = this.#held.filter((request) => !dropped(request));
    this.#queue = this.#queue.filter((request) => !dropped(request));
    this.#process();
  }

  #process(): void {
    for (const request of [...this.#queue]) {
      if (!this.#queue.includes(request)) continue;
      const isExclusive = ({ mode }: Request) => mode === "exclusive" || request.mode === "exclusive";
      const sameName = ({ name }: Request) => name === request.name;
      const isFirst = this.#queue.find(sameName) === request;
      if (isFirst && !this.#held.filter(sameName).some(isExclusive)) {
        this.#queue = this.#queue.filter((other) => other !== request);
        this.#held.push(request);
        request.grant();
      } else if (request.refuse) {
        this.#queue = this.#queue.filter((other) => other !== request);
        request.refuse();
      }
    }
  }
}

/** `navigator.locks` of one tab. */
export class TabLocks {
  constructor(private readonly server: LockServer) {}

  request<T>(name: string, options: LockOptions, callback: (lock: Lock | null) => Promise<T> | T): Promise<T> {
    const { mode = "exclusive", ifAvailable = false, signal } = options;
    return new Promise<T>((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const answer = async (lock: Lock | null) => callback(lock);
      const request: Request = {
        name,
        mode,
        tab: this,
        grant: () => {
          isGranted = true;
          const release = () => this.server.drop((other) => other === request);
          answer({ name, mode }).finally(release).then(resolve, reject);
        },
        refuse: ifAvailable ? () => void answer(null).then(resolve, reject) : undefined,
      };
      let isGranted = false;
      signal?.addEventListener("abort", () => {
        if (isGranted) return;
        this.server.drop((other) => other === request);
        reject(signal.reason);
      });
      void this.server.enqueue(request);
    });
  }

  /** What the browser does with a tab's locks when it is closed. */
  close(): void {
    this.server.drop(({ tab }) => tab === this);
  }
}
