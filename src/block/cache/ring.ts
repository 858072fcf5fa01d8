/** A first-in-first-out queue of small integers that never grows. */
export class Ring {
  readonly #items: Int32Array;
  #head = 0;
  #size = 0;

  constructor(capacity: number) {
    this.#items = new Int32Array(capacity);
  }

  get size(): number {
    return this.#size;
  }

  /** There must be room. */
  push(item: number): void {
    this.#items[(this.#head + this.#size) % this.#items.length] = item;
    this.#size += 1;
  }

  /** The oldest; there must be one. */
  shift(): number {
    const item = this.#items[this.#head] ?? 0;
    this.#head = (this.#head + 1) % this.#items.length;
    this.#size -= 1;
    return item;
  }
}
