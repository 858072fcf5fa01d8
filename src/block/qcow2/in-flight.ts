/**
 * Calls that run elsewhere while the engine goes on: a host cluster that was freed may not get a
 * new owner before every call that could still touch it has ended. Calls belong to the generation
 * in which they began; `drained` waits for all that began before it was asked.
 */
export class InFlight {
  #current = 0;
  #older = 0;
  #generation = 0;
  readonly #waiters: (() => void)[] = [];
  #onOlderGone: (() => void) | null = null;

  /** Begins a call; the answer goes to `leave`. */
  enter(): number {
    this.#current += 1;
    return this.#generation;
  }

  leave(generation: number): void {
    if (generation === this.#generation) this.#current -= 1;
    else this.#older -= 1;
    if (this.#older === 0 && this.#onOlderGone !== null) {
      const wake = this.#onOlderGone;
      this.#onOlderGone = null;
      wake();
    }
    if (this.#current + this.#older === 0) for (const w of this.#waiters.splice(0)) w();
  }

  /** Resolves when all calls that have begun so far have ended. One at a time. */
  async drained(): Promise<void> {
    // Older ones of an earlier wait are gone: waits do not overlap.
    this.#generation += 1;
    this.#older = this.#current;
    this.#current = 0;
    if (this.#older === 0) return;
    await new Promise<void>((resolve) => {
      this.#onOlderGone = resolve;
    });
  }

  /** Resolves when nothing is under way. */
  async idle(): Promise<void> {
    while (this.#current + this.#older > 0) {
      await new Promise<void>((resolve) => {
        this.#waiters.push(resolve);
      });
    }
  }
}
