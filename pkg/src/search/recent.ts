// What was read a moment ago: as one types, the same things are asked for again.

/** Keeps what was used last, up to a number of bytes. */
export class Recent<Key, Value> {
  readonly #values = new Map<Key, Promise<Value>>();
  readonly #bytes = new Map<Key, number>();
  #sum = 0;

  constructor(
    private readonly maxBytes: number,
    private readonly bytesOf: (value: Value) => number,
  ) {}

  get(key: Key, read: () => Promise<Value>): Promise<Value> {
    const known = this.#values.get(key);
    if (known) {
      // The one that was used last is the last to go.
      this.#values.delete(key);
      this.#values.set(key, known);
      return known;
    }
    const value = read();
    this.#values.set(key, value);
    value.then(
      (value) => this.#note(key, this.bytesOf(value)),
      () => this.#values.delete(key),
    );
    return value;
  }

  #note(key: Key, bytes: number): void {
    if (!this.#values.has(key)) return;
    this.#bytes.set(key, bytes);
    this.#sum += bytes;
    for (const oldest of this.#values.keys()) {
      if (this.#sum <= this.maxBytes || oldest === key) return;
      this.#values.delete(oldest);
      this.#sum -= this.#bytes.get(oldest) ?? 0;
      this.#bytes.delete(oldest);
    }
  }
}
