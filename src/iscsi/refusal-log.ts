import type { Log } from '#base/mod.ts';
import { REFUSAL_LOG_MS } from './limits.ts';

/** Addresses counted between two lines: a flood can come from more than we want to remember. */
const ADDRESSES_MAX = 1024;

type Tally = {
  /** When the last line about this reason was written. */
  saidMs: number;
  count: number;
  readonly byAddress: Map<string, number>;
};

/**
 * Says in the log that peers are turned away, without letting them write it: one line for each
 * reason at once, then one a minute at most, with how many and from where.
 */
export class RefusalLog {
  readonly #log: Log;
  readonly #tallies = new Map<string, Tally>();

  constructor(log: Log) {
    this.#log = log;
  }

  /** A peer was turned away for `reason`, one of a few fixed texts. */
  note(reason: string, address: string, nowMs: number): void {
    let tally = this.#tallies.get(reason);
    if (tally === undefined) {
      tally = { saidMs: Number.NEGATIVE_INFINITY, count: 0, byAddress: new Map() };
      this.#tallies.set(reason, tally);
    }
    tally.count += 1;
    const { byAddress } = tally;
    if (byAddress.has(address) || byAddress.size < ADDRESSES_MAX) {
      byAddress.set(address, (byAddress.get(address) ?? 0) + 1);
    }
    if (nowMs - tally.saidMs >= REFUSAL_LOG_MS) this.#say(reason, tally, nowMs);
  }

  /** Called now and then: says what has gathered. */
  sweep(nowMs: number): void {
    for (const [reason, tally] of this.#tallies) {
      if (tally.count > 0 && nowMs - tally.saidMs >= REFUSAL_LOG_MS)
        this.#say(reason, tally, nowMs);
    }
  }

  #say(reason: string, tally: Tally, nowMs: number): void {
    const { byAddress, count } = tally;
    let most = '';
    let highest = 0;
    for (const [address, n] of byAddress) if (n > highest) [most, highest] = [address, n];
    const facts = { why: reason, count, addresses: byAddress.size, most };
    this.#log.warn(facts, count === 1 ? 'a connection was turned away' : 'connections turned away');
    tally.saidMs = nowMs;
    tally.count = 0;
    byAddress.clear();
  }
}
