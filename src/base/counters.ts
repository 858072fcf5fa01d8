/**
 * Named event counters of one service. The names are a closed union per service, so a typo does not
 * compile and a reader finds every reason in one place.
 */
export class Counters<Name extends string> {
  readonly #counts: Map<Name, number>;

  constructor(names: readonly Name[]) {
    this.#counts = new Map(names.map((n) => [n, 0]));
  }

  inc(name: Name, by = 1): void {
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + by);
  }

  get(name: Name): number {
    return this.#counts.get(name) ?? 0;
  }

  /** A copy, in declaration order. */
  snapshot(): Record<Name, number> {
    // Object.fromEntries loses the key type; the map holds exactly the declared names.
    return Object.fromEntries(this.#counts) as Record<Name, number>;
  }
}
