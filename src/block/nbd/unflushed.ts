import type { NbdRequest } from './request.ts';

/** What one entry costs beyond its data: the objects around it, about. */
const ENTRY_BYTES = 512;

/**
 * The writes that a server has or gets and that no flush covers yet, in the order in which they
 * were sent first. When the connection breaks nobody knows which of them are on the disk: they are
 * sent again in this order (durability contract 8). Bounded by the caller, through `hasRoomFor`.
 */
export class UnflushedWrites {
  readonly #bytesMax: number;
  #entries = new Set<NbdRequest>();
  #bytes = 0;
  #epoch = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get size(): number {
    return this.#entries.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Some write has been taken, so that a flush would make room. */
  get canFlush(): boolean {
    for (const entry of this.#entries) if (entry.takenInEpoch >= 0) return true;
    return false;
  }

  /** In the order of sending. */
  list(): NbdRequest[] {
    return [...this.#entries];
  }

  /** An only write always has room. */
  hasRoomFor(request: NbdRequest): boolean {
    return this.#bytes === 0 || this.#bytes + costOf(request) <= this.#bytesMax;
  }

  /** Adding one again, when it is sent again, changes nothing. */
  add(request: NbdRequest): void {
    if (this.#entries.has(request)) return;
    this.#entries.add(request);
    this.#bytes += costOf(request);
  }

  delete(request: NbdRequest): void {
    if (this.#entries.delete(request)) this.#bytes -= costOf(request);
  }

  /** The server has said that it took the write. */
  taken(request: NbdRequest): void {
    request.takenInEpoch = this.#epoch;
  }

  /** A flush is being sent; returns what to tell `flushed` when it succeeds. */
  beginFlush(): number {
    this.#epoch += 1;
    return this.#epoch;
  }

  /** Forgets what that flush made durable: the writes taken before it was sent. */
  flushed(epoch: number): void {
    for (const entry of this.#entries) {
      if (entry.takenInEpoch >= 0 && entry.takenInEpoch < epoch) this.delete(entry);
    }
  }

  /** Forgets the oldest write that the server has taken; false when there is none. */
  dropOldest(): boolean {
    for (const entry of this.#entries) {
      if (entry.takenInEpoch < 0) continue;
      this.delete(entry);
      return true;
    }
    return false;
  }
}

function costOf(request: NbdRequest): number {
  return request.frame.length + ENTRY_BYTES;
}
