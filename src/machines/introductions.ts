import type { Clock } from '#base/mod.ts';
import { INTRODUCTIONS_BURST, INTRODUCTIONS_PER_SECOND } from './limits.ts';

/**
 * The token bucket that unknown machines draw from: whoever invents MAC addresses fills neither the
 * disk nor the list (hostile case 4). Known machines never pass here.
 */
export class IntroductionRate {
  readonly #clock: Clock;
  #tokens = INTRODUCTIONS_BURST;
  #atMs: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#atMs = clock.monotonicMs();
  }

  /** True when one more introduction may be made now. */
  take(): boolean {
    const nowMs = this.#clock.monotonicMs();
    const earned = ((nowMs - this.#atMs) / 1000) * INTRODUCTIONS_PER_SECOND;
    this.#tokens = Math.min(INTRODUCTIONS_BURST, this.#tokens + earned);
    this.#atMs = nowMs;
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }
}
