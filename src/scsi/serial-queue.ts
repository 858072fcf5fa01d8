/** Runs asynchronous works one after the other, in the order they came. */
export class SerialQueue {
  #last: Promise<unknown> = Promise.resolve();
  #length = 0;

  /** Something runs or waits. */
  get busy(): boolean {
    return this.#length > 0;
  }

  /** Settles as `work` does; a failure does not stop those behind it. */
  run<T>(work: () => Promise<T>): Promise<T> {
    this.#length += 1;
    const turn = this.#last.then(work).finally(() => {
      this.#length -= 1;
    });
    this.#last = turn.catch(() => undefined);
    return turn;
  }
}
