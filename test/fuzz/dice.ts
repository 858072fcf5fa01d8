/** Seeded chance and bounded effort, for all fuzzers here. */
import assert from 'node:assert/strict';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** Ten times as much at night. */
const NIGHTLY = process.env['POLYBOOT_NIGHTLY'] === '1' ? 10 : 1;

/** Cases of an ordinary run; all fuzzers of this folder together make 10^5, at night 10^6. */
export function cases(ordinary: number): number {
  return ordinary * NIGHTLY;
}

/** Chance that repeats: xorshift32. */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0 || 1;
  }

  /** A whole number from 0 up to, not including, `below`. */
  roll(below: number): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return (x >>> 0) % below;
  }

  /** True once in `of`. */
  once(of: number): boolean {
    return this.roll(of) === 0;
  }

  pick<T>(from: readonly T[]): T {
    const chosen = from[this.roll(from.length)];
    assert.ok(chosen !== undefined, 'a list to pick from has something in it');
    return chosen;
  }

  /** A number as attackers like them: around zero, powers of two, and the ends of 32 bits. */
  oddNumber(): number {
    const near = this.roll(5) - 2;
    return (
      (this.pick([0, 1, 48, 512, 8192, 65536, 2 ** 20, 2 ** 24, 2 ** 31, 2 ** 32]) + near) >>> 0
    );
  }

  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.roll(256));
  }
}

/** Memory that JavaScript and its buffers hold after a full collection, bytes. */
export function heldBytes(): number {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  collect();
  collect();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** What a run may hold more at its end than after its first tenth: pools and caches filling. */
export const GROWTH_BYTES_MAX: number = 12 * 1024 * 1024;

/** Watches memory over a run of `count` cases: call `after` behind each. */
export class Growth {
  readonly #first: number;
  readonly #count: number;
  #base = 0;

  constructor(count: number) {
    this.#count = count;
    this.#first = Math.ceil(count / 10);
  }

  after(n: number): void {
    if (n === this.#first) this.#base = heldBytes();
    if (n !== this.#count - 1) return;
    const grown = heldBytes() - this.#base;
    assert.ok(grown < GROWTH_BYTES_MAX, `${grown} bytes more after ${this.#count} cases`);
  }
}

/** Lets what is under way go on for one turn of the event loop. */
export function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/** Turns of the event loop that anything may take; beyond them it hangs. */
const TURNS_MAX = 20_000;

/** Waits until it is true, for a bounded number of turns. */
export async function settled(condition: () => boolean, what: string): Promise<void> {
  for (let n = 0; n < TURNS_MAX; n++) {
    if (condition()) return;
    await turn();
  }
  assert.fail(`${what}: still not after ${TURNS_MAX} turns`);
}
