import type { Lease } from './lease.ts';

/**
 * Leases that run, by address, and those that have ended found without looking at the others.
 * Leases of one length end in the order in which they were granted; of different lengths (the
 * configuration changed, and old ones run on) they do not, so each length has its own queue.
 */
export class ActiveLeases {
  readonly #all = new Map<number, Lease>();
  /** Lease time → leases in order of their last grant. */
  readonly #queues = new Map<number, Map<number, Lease>>();

  get size(): number {
    return this.#all.size;
  }

  get(address: number): Lease | undefined {
    return this.#all.get(address);
  }

  has(address: number): boolean {
    return this.#all.has(address);
  }

  values(): MapIterator<Lease> {
    return this.#all.values();
  }

  /** Puts it behind all others of its length; an earlier lease of the address goes. */
  set(lease: Lease): void {
    this.delete(lease.address);
    this.#all.set(lease.address, lease);
    const queue = this.#queues.get(lease.seconds) ?? new Map<number, Lease>();
    this.#queues.set(lease.seconds, queue.set(lease.address, lease));
  }

  delete(address: number): void {
    const lease = this.#all.get(address);
    if (lease === undefined) return;
    this.#all.delete(address);
    const queue = this.#queues.get(lease.seconds);
    queue?.delete(address);
    if (queue?.size === 0) this.#queues.delete(lease.seconds);
  }

  /** Those that have ended by `nowMs`; they may be deleted meanwhile. */
  *ended(nowMs: number): Generator<Lease> {
    for (const queue of this.#queues.values()) {
      for (const lease of queue.values()) {
        if (lease.expiresMs > nowMs) break;
        yield lease;
      }
    }
  }
}
