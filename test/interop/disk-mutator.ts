/**
 * Seeded mutations for this folder's tests. A linear congruential generator (Numerical Recipes'
 * constants): the same bytes on every run and machine.
 */
export class Mutator {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** A number from 0 to below `limit`. */
  next(limit: number): number {
    this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0;
    return Math.floor((this.#state / 2 ** 32) * limit);
  }

  /** Changes up to eight bytes of `bytes` in place, some to values that break parsers. */
  mutate(bytes: Uint8Array, from = 0, to = bytes.length): void {
    const edges = [0x00, 0x01, 0x7f, 0x80, 0xfe, 0xff];
    for (let i = this.next(8); i >= 0; i--) {
      const at = from + this.next(to - from);
      bytes[at] = this.next(2) === 0 ? this.next(256) : (edges[this.next(edges.length)] ?? 0);
    }
  }
}
