/**
 * L2 tables in memory, in slices of a page. A slice is found by two typed-array look-ups, with no
 * Map and no allocation. Slices that changed stay until a checkpoint has written them; of the
 * others as many as fit the budget, the least recently used go first (clock).
 *
 * Words are in the machine's own order: an entry is [high, low] or, with subclusters,
 * [high, low, zero bits, allocation bits].
 */
export class SliceCache {
  readonly sliceWords: number;
  readonly #capacity: number;
  /** Slice number → slot + 1. */
  #index: Int32Array;
  readonly #slots: Uint32Array[] = [];
  readonly #keys: number[] = [];
  /** Epoch of the last change that is not on stable media yet; 0 = clean. */
  readonly #dirty: number[] = [];
  #touched = new Uint8Array(64);
  #hand = 0;
  #dirtyCount = 0;
  #settled = 0;

  constructor(slices: number, sliceBytes: number, budgetBytes: number) {
    this.sliceWords = sliceBytes / 4;
    this.#capacity = Math.max(4, Math.floor(budgetBytes / sliceBytes));
    this.#index = new Int32Array(slices);
  }

  get dirtyCount(): number {
    return this.#dirtyCount;
  }

  /**
   * How often slices were settled or forgotten: what was read from the file before that may be out
   * of date.
   */
  get settledTimes(): number {
    return this.#settled;
  }

  /** The words of a slice, or undefined when it is not in memory. */
  find(slice: number): Uint32Array | undefined {
    const slot = this.#index[slice]! - 1;
    if (slot < 0) return undefined;
    this.#touched[slot] = 1;
    return this.#slots[slot];
  }

  /** Room for a slice that is not in memory; the caller fills all its words. */
  claim(slice: number): Uint32Array {
    const slot = this.#freeSlot();
    this.#keys[slot] = slice;
    this.#dirty[slot] = 0;
    this.#touched[slot] = 1;
    this.#index[slice] = slot + 1;
    return this.#slots[slot]!;
  }

  /** Notes that a slice in memory changed in `epoch`. */
  change(slice: number, epoch: number): void {
    const slot = this.#index[slice]! - 1;
    if (this.#dirty[slot] === 0) this.#dirtyCount += 1;
    this.#dirty[slot] = epoch;
  }

  /** Calls back for each slice that is not on stable media. */
  eachDirty(visit: (slice: number, words: Uint32Array) => void): void {
    for (const [slot, epoch] of this.#dirty.entries()) {
      if (epoch !== 0) visit(this.#keys[slot]!, this.#slots[slot]!);
    }
  }

  /** All that changed in `epoch` or before is on stable media now. */
  settle(epoch: number): void {
    this.#settled += 1;
    for (const [slot, changed] of this.#dirty.entries()) {
      if (changed === 0 || changed > epoch) continue;
      this.#dirty[slot] = 0;
      this.#dirtyCount -= 1;
    }
  }

  /** Forgets everything, for a disk whose L1 table was exchanged or grew. */
  reset(slices: number): void {
    this.#settled += 1;
    this.#index = new Int32Array(slices);
    this.#slots.length = 0;
    this.#keys.length = 0;
    this.#dirty.length = 0;
    this.#dirtyCount = 0;
    this.#hand = 0;
  }

  #freeSlot(): number {
    const count = this.#slots.length;
    if (count >= this.#capacity) {
      for (let tries = 0; tries < 2 * count; tries++) {
        const slot = this.#hand;
        this.#hand = (slot + 1) % count;
        if (this.#dirty[slot] !== 0) continue;
        if (this.#touched[slot] === 1) {
          this.#touched[slot] = 0;
          continue;
        }
        this.#index[this.#keys[slot]!] = 0;
        return slot;
      }
    }
    if (count >= this.#touched.length) {
      const more = new Uint8Array(2 * count);
      more.set(this.#touched);
      this.#touched = more;
    }
    this.#slots.push(new Uint32Array(this.sliceWords));
    return count;
  }
}
