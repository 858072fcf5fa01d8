import { COMMAND_WINDOW } from './limits.ts';

/** Fewer answers at a time cost more in system calls than they gain. */
const EARLY_ANSWERS_MIN = 4;

/**
 * How many answers a turn collects before it sends. As a rule all of them: one send per turn is
 * the cheapest. But a session that is alone in its thread takes turns with its initiator, and each
 * waits while the other works. Sending half of what the initiator has outstanding keeps both busy
 * (measured, 4 KiB at depth 32, one session: reads 1.3×, writes 1.6×; with four sessions the
 * others fill the gaps, and more sends only cost).
 */
export class Pace {
  /** Answers after which to send, in this turn. */
  early = Infinity;
  #depth = 1;
  #answers = 0;

  /** A turn begins. */
  begin(alone: boolean): void {
    this.#answers = 0;
    this.early = alone ? Math.max(EARLY_ANSWERS_MIN, this.#depth >> 1) : Infinity;
  }

  /**
   * A command came: `inFlight` are here with it, `unseen` answers had not reached the initiator
   * when it was sent (StatSN − ExpStatSN). Together they are its queue depth.
   */
  heard(inFlight: number, unseen: number): void {
    this.#depth = unseen > COMMAND_WINDOW ? inFlight : inFlight + unseen;
  }

  /** An answer is written. True: send now. */
  answered(): boolean {
    this.#answers += 1;
    if (this.#answers < this.early) return false;
    this.#answers = 0;
    return true;
  }
}
