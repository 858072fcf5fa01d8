import type { NbdRequest } from './request.ts';

/**
 * Requests that the server does not have. Two queues, because a write may have to wait for room
 * where a read need not; no order between the two is owed to anybody.
 */
export class WaitingRequests {
  readonly #others: NbdRequest[] = [];
  readonly #writes: NbdRequest[] = [];

  get size(): number {
    return this.#others.length + this.#writes.length;
  }

  push(request: NbdRequest): void {
    (request.mutates ? this.#writes : this.#others).push(request);
  }

  /** Puts something that changes nothing before all others. */
  putFirst(request: NbdRequest): void {
    this.#others.unshift(request);
  }

  /** The next write where `hasRoom` says so, else the next of the others. */
  next(hasRoom: (write: NbdRequest) => boolean): NbdRequest | null {
    const write = this.#writes[0];
    if (write !== undefined && hasRoom(write)) return this.#writes.shift() ?? null;
    return this.#others.shift() ?? null;
  }

  /** Takes out what `isLate`. */
  takeLate(isLate: (request: NbdRequest) => boolean): NbdRequest[] {
    const late: NbdRequest[] = [];
    for (const queue of [this.#others, this.#writes]) {
      const before = late.length;
      late.push(...queue.filter(isLate));
      if (late.length > before) queue.splice(0, queue.length, ...queue.filter((r) => !isLate(r)));
    }
    return late;
  }

  /** Empties both queues. */
  takeAll(): NbdRequest[] {
    return [...this.#others.splice(0), ...this.#writes.splice(0)];
  }
}
