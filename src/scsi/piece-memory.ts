import { PIECES_MAX, PIECE_BYTES } from './limits.ts';

/**
 * Memory for the commands of one unit that read or write much without sending it (VERIFY, WRITE
 * SAME, EXTENDED COPY, PRE-FETCH): `PIECES_MAX` pieces at a time, however many of them there are.
 * Whoever finds none waits, first come, first served, and holds a piece only as long as it takes to
 * move it.
 */
export class PieceMemory {
  #used = 0;
  readonly #waiting: (() => void)[] = [];

  /** Nothing is free now: who asks waits. */
  get full(): boolean {
    return this.#used === PIECES_MAX;
  }

  /** Runs `work` with up to `PIECE_BYTES` of memory, content unknown; settles as it does. */
  async use(lengthBytes: number, work: (piece: Buffer) => Promise<void>): Promise<void> {
    if (this.full) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#used += 1;
    try {
      await work(Buffer.allocUnsafeSlow(Math.min(lengthBytes, PIECE_BYTES)));
    } finally {
      const next = this.#waiting.shift();
      // Its place goes to the one who waits.
      if (next === undefined) this.#used -= 1;
      else next();
    }
  }
}
