/**
 * A seeded generator (mulberry32): the same numbers on every machine, and neighbouring seeds have
 * nothing in common, so that seeds can be counted.
 */
export class Random {
  readonly seed: number;
  #state: number;

  constructor(seed: number) {
    this.seed = seed >>> 0;
    this.#state = Math.imul(this.seed ^ 0x9e3779b9, 0x85ebca6b) >>> 0;
  }

  /** 0 to 2³² - 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  }

  /** A whole number from 0 to below `limit`. */
  below(limit: number): number {
    return Math.floor((this.next() / 2 ** 32) * limit);
  }

  /** True in `probability` of all cases. */
  chance(probability: number): boolean {
    return this.next() < probability * 2 ** 32;
  }

  /** One of a list that is not empty. */
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }

  /** Another order, in place. */
  shuffle(list: unknown[]): void {
    for (let i = list.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      [list[i], list[j]] = [list[j], list[i]];
    }
  }

  /** Takes one out of a list that is not empty; the order of the rest is lost. */
  take<T>(list: T[]): T {
    const index = this.below(list.length);
    const taken = list[index] as T;
    const last = list.pop() as T;
    if (index < list.length) list[index] = last;
    return taken;
  }
}

/**
 * The seeds of a simulation: `ordinary` of them, or `nightly` under POLYBOOT_NIGHTLY=1, from
 * POLYBOOT_SEED on (1 when unset). POLYBOOT_SEED=7 POLYBOOT_SEEDS=1 runs seed 7 alone.
 */
export function seeds(ordinary: number, nightly: number): readonly number[] {
  const from = Number(process.env['POLYBOOT_SEED'] ?? 1);
  const usual = process.env['POLYBOOT_NIGHTLY'] === '1' ? nightly : ordinary;
  const count = Number(process.env['POLYBOOT_SEEDS'] ?? usual);
  return Array.from({ length: count }, (_, i) => from + i);
}

/** Seeds for a proof that a mistake is noticed: always the same, whatever is being repeated. */
export function firstSeeds(count: number): readonly number[] {
  return Array.from({ length: count }, (_, i) => 1 + i);
}

/** Runs `each` for every seed; a failure says how to see it again. */
export async function forSeeds(
  list: readonly number[],
  each: (seed: number) => Promise<void> | void,
): Promise<void> {
  for (const seed of list) {
    try {
      await each(seed);
    } catch (cause) {
      const why = cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
      throw new Error(`seed ${seed} (POLYBOOT_SEED=${seed} POLYBOOT_SEEDS=1): ${why}`, { cause });
    }
  }
}
