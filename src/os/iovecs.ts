import { addressOf } from './libc.ts';

const TWO_32 = 2 ** 32;

/**
 * An array of struct iovec { void *base; size_t length } (64 bit) for system calls; the object
 * keeps its memory alive. Lengths are below 2^32.
 */
export class Iovecs {
  /** Of the first; the others follow, 16 bytes each. */
  readonly address: number;
  readonly #words: Uint32Array;

  constructor(count: number) {
    this.#words = new Uint32Array(4 * count);
    this.address = addressOf(this.#words);
  }

  /** Entry `n` is `lengthBytes` at `address`. */
  set(n: number, address: number, lengthBytes: number): void {
    const at = 4 * n;
    this.#words[at] = address >>> 0;
    this.#words[at + 1] = address / TWO_32;
    this.#words[at + 2] = lengthBytes;
  }
}
