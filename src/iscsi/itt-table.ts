const HASH = 0x9e3779b1; // 2^32 / golden ratio: spreads counters and pointers alike

/**
 * Initiator task tag → slot of the task. Open addressing in typed arrays: a look-up costs a few
 * nanoseconds where a Map costs tens, and nothing is allocated per command.
 *
 * Linear probing over twice the capacity or more, deletion by shifting back, so that no tombstones
 * gather. Slot 0 is stored as 1: zero means empty.
 */
export class IttTable {
  readonly #tags: Uint32Array;
  readonly #slots: Uint16Array;
  readonly #mask: number;
  readonly #shift: number;

  /** Room for `capacity` tags. */
  constructor(capacity: number) {
    const bits = Math.ceil(Math.log2(capacity)) + 1;
    this.#tags = new Uint32Array(1 << bits);
    this.#slots = new Uint16Array(1 << bits);
    this.#mask = (1 << bits) - 1;
    this.#shift = 32 - bits;
  }

  /** The slot of a tag, or -1. */
  find(tag: number): number {
    const at = this.#seek(tag);
    return this.#slots[at]! - 1;
  }

  /** Adds a tag that is not there yet. */
  add(tag: number, slot: number): void {
    const at = this.#seek(tag);
    this.#tags[at] = tag;
    this.#slots[at] = slot + 1;
  }

  /** Removes a tag, if it is there. */
  remove(tag: number): void {
    let hole = this.#seek(tag);
    if (this.#slots[hole] === 0) return;
    for (let at = (hole + 1) & this.#mask; this.#slots[at] !== 0; at = (at + 1) & this.#mask) {
      const home = this.#home(this.#tags[at]!);
      // Moves back whatever may not be found past the hole any more.
      if (((at - home) & this.#mask) >= ((at - hole) & this.#mask)) {
        this.#tags[hole] = this.#tags[at]!;
        this.#slots[hole] = this.#slots[at]!;
        hole = at;
      }
    }
    this.#slots[hole] = 0;
  }

  #home(tag: number): number {
    return Math.imul(tag, HASH) >>> this.#shift;
  }

  #seek(tag: number): number {
    let at = this.#home(tag);
    while (this.#slots[at] !== 0 && this.#tags[at] !== tag) at = (at + 1) & this.#mask;
    return at;
  }
}
