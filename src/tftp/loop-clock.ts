import { systemClock, type Cancel, type Clock } from '#base/mod.ts';

/** Callers look at the time themselves when a timer fires. */
const SLACK_MS = 2;

/**
 * A clock for a loop that waits by itself: its timers fire when `run` is called. There is one timer
 * per transfer, so a scan of all of them, once per expiry, is cheap.
 */
export class LoopClock implements Clock {
  readonly #timers = new Set<{ readonly dueMs: number; readonly fn: () => void }>();
  #nextMs = Number.POSITIVE_INFINITY;

  monotonicMs(): number {
    return systemClock.monotonicMs();
  }

  wallMs(): number {
    return systemClock.wallMs();
  }

  after(delayMs: number, fn: () => void): Cancel {
    const timer = { dueMs: this.monotonicMs() + delayMs, fn };
    this.#timers.add(timer);
    this.#nextMs = Math.min(this.#nextMs, timer.dueMs);
    return () => {
      this.#timers.delete(timer);
    };
  }

  /** Milliseconds until the next timer may be due, at least 0; Infinity without timers. */
  untilNextMs(nowMs: number): number {
    return Math.max(0, this.#nextMs - nowMs);
  }

  /** Fires what is due at `nowMs`. */
  run(nowMs: number): void {
    if (nowMs < this.#nextMs) return;
    // A little early is fine, and lets many that fall due together cost one scan.
    const due = [...this.#timers].filter((t) => t.dueMs <= nowMs + SLACK_MS);
    for (const timer of due) {
      // Cancelled by one that fired before it.
      if (this.#timers.delete(timer)) timer.fn();
    }
    this.#nextMs = Number.POSITIVE_INFINITY;
    for (const { dueMs } of this.#timers) this.#nextMs = Math.min(this.#nextMs, dueMs);
  }
}
