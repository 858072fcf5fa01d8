/** Time as a dependency, so that every time-out can be tested without waiting. */
export interface Clock {
  /**
   * Monotonic milliseconds: for time-outs and leases' remaining time (a clock jump cannot hurt).
   */
  monotonicMs(): number;
  /** Wall clock, milliseconds since 1970: for people and for what is stored. */
  wallMs(): number;
  /** Runs `fn` once after `delayMs`; the result cancels it. Does not keep the process alive. */
  after(delayMs: number, fn: () => void): Cancel;
}

export type Cancel = () => void;

/** The host's clock. */
export const systemClock: Clock = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
  after(delayMs, fn) {
    const timer = setTimeout(fn, delayMs);
    timer.unref();
    return () => {
      clearTimeout(timer);
    };
  },
};

/** A clock that only moves when told to; timers fire in order of their due time. */
export class FakeClock implements Clock {
  #nowMs = 0;
  readonly #epochMs: number;
  readonly #timers = new Set<{ dueMs: number; fn: () => void }>();

  constructor(epochMs = 1_700_000_000_000) {
    this.#epochMs = epochMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return this.#epochMs + this.#nowMs;
  }

  after(delayMs: number, fn: () => void): Cancel {
    const timer = { dueMs: this.#nowMs + delayMs, fn };
    this.#timers.add(timer);
    return () => {
      this.#timers.delete(timer);
    };
  }

  /** Moves time forward, firing what falls due on the way. */
  advance(byMs: number): void {
    const endMs = this.#nowMs + byMs;
    for (;;) {
      const next = [...this.#timers].sort((a, b) => a.dueMs - b.dueMs)[0];
      if (next === undefined || next.dueMs > endMs) break;
      this.#timers.delete(next);
      this.#nowMs = Math.max(this.#nowMs, next.dueMs);
      next.fn();
    }
    this.#nowMs = endMs;
  }

  /** Timers still armed. */
  get pending(): number {
    return this.#timers.size;
  }
}
