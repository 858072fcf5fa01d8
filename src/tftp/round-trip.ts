/** Below this the timers of an event loop are noise, and a burst of resends helps nobody. */
const LEAST_MS = 20;
/** No wait between two resends is longer, unless the client asked for more. */
const MOST_MS = 4000;
/** RFC 1123 §4.2.3.2 wants adaptive time-outs; before the first sample: a second (RFC 6298 §2). */
const INITIAL_MS = 1000;
/** Weight of a new sample (RFC 6298 §2.3). */
const GAIN = 1 / 8;

/**
 * The retransmission time-out: 3 × the smoothed round trip, at least 20 ms, doubled at each
 * time-out, back to its base on progress. Feed it no sample of a packet that was sent twice (Karn).
 * With a fixed second, as others have it, 1 % loss costs 38 times as much.
 */
export class RoundTrip {
  readonly #initialMs: number;
  readonly #mostMs: number;
  #smoothedMs: number | undefined;
  #doublings = 0;

  /** `askedMs` is the client's `timeout` option: where we start, and a wait we may reach. */
  constructor(askedMs?: number) {
    this.#initialMs = askedMs ?? INITIAL_MS;
    this.#mostMs = Math.max(MOST_MS, askedMs ?? 0);
  }

  /** The smoothed round trip, 0 before the first sample. */
  get smoothedMs(): number {
    return this.#smoothedMs ?? 0;
  }

  /** How long to wait for the next answer. */
  get timeoutMs(): number {
    const base =
      this.#smoothedMs === undefined ? this.#initialMs : Math.max(LEAST_MS, 3 * this.#smoothedMs);
    return Math.min(base * 2 ** this.#doublings, this.#mostMs);
  }

  /** An answer to something sent once took `ms`. */
  sample(ms: number): void {
    const old = this.#smoothedMs;
    this.#smoothedMs = old === undefined ? ms : old + GAIN * (ms - old);
  }

  progress(): void {
    this.#doublings = 0;
  }

  backOff(): void {
    this.#doublings += 1;
  }
}
