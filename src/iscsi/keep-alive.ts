import { PING_AFTER_MS, PING_TIMEOUT_MS } from './limits.ts';

/**
 * Is the initiator alive (hostile case 28)? Anything that arrives proves it; after a silence it is
 * pinged, and any PDU counts as the answer. The data path only sets a flag: the time is taken when
 * somebody looks.
 */
export class KeepAlive {
  /** Set when bytes arrive. */
  heard = true;
  #heardMs = 0;
  #pingedMs: number | null = null;

  /** What has to be done at this time. */
  sweep(nowMs: number): 'ping' | 'drop' | null {
    if (this.heard) {
      this.heard = false;
      this.#heardMs = nowMs;
      this.#pingedMs = null;
      return null;
    }
    if (this.#pingedMs !== null) return nowMs - this.#pingedMs >= PING_TIMEOUT_MS ? 'drop' : null;
    if (nowMs - this.#heardMs < PING_AFTER_MS) return null;
    this.#pingedMs = nowMs;
    return 'ping';
  }
}
