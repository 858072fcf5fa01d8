/** Lets changes of the disk pass, many at a time, or holds them all back for one that is alone. */
export class WriteGate {
  #inside = 0;
  #held = false;
  #waiting: (() => void)[] = [];
  #empty: (() => void) | null = null;

  /** While true, nothing may be changed by whoever has not come in. */
  get held(): boolean {
    return this.#held;
  }

  /** Comes in, when the gate is not held. */
  async enter(): Promise<void> {
    while (this.#held) await this.#turn();
    this.#inside += 1;
  }

  leave(): void {
    this.#inside -= 1;
    if (this.#inside > 0 || this.#empty === null) return;
    const wake = this.#empty;
    this.#empty = null;
    wake();
  }

  /** Closes the gate and waits until nobody is inside. */
  async hold(): Promise<void> {
    while (this.#held) await this.#turn();
    this.#held = true;
    if (this.#inside === 0) return;
    await new Promise<void>((resolve) => {
      this.#empty = resolve;
    });
  }

  release(): void {
    this.#held = false;
    for (const wake of this.#waiting.splice(0)) wake();
  }

  #turn(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
    });
  }
}
