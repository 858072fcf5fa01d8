/** A token bucket: `perSecond` on average, `burst` at once. */
export class TokenBucket {
  readonly #perSecond: number;
  readonly #burst: number;
  #tokens: number;
  #atMs: number;

  constructor(perSecond: number, burst: number, nowMs: number) {
    this.#perSecond = perSecond;
    this.#burst = burst;
    this.#tokens = burst;
    this.#atMs = nowMs;
  }

  /** Takes one token; false when there is none. */
  take(nowMs: number): boolean {
    const gained = ((nowMs - this.#atMs) / 1000) * this.#perSecond;
    this.#tokens = Math.min(this.#burst, this.#tokens + Math.max(0, gained));
    this.#atMs = nowMs;
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }
}

/** Sources that are counted apart; more share the last bucket. A relay is configured, so few. */
const MAXIMUM_SOURCES = 256;
/** Seconds of the sustained rate that may come at once: a classroom's power switch. */
const BURST_SECONDS = 5;

/** One bucket per source (our interface, or a relay's address). */
export class SourceLimiter {
  readonly #buckets = new Map<string, TokenBucket>();
  readonly #perSecond: number;

  constructor(perSecond: number) {
    this.#perSecond = perSecond;
  }

  take(source: string, nowMs: number): boolean {
    const name = this.#buckets.size >= MAXIMUM_SOURCES && !this.#buckets.has(source) ? '' : source;
    let bucket = this.#buckets.get(name);
    if (bucket === undefined) {
      bucket = new TokenBucket(this.#perSecond, this.#perSecond * BURST_SECONDS, nowMs);
      this.#buckets.set(name, bucket);
    }
    return bucket.take(nowMs);
  }
}
