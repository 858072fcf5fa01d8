import { stampCookie } from './protocol.ts';
import type { NbdRequest } from './request.ts';

/**
 * What the server has been sent and has not answered. A cookie is the number of the sending and the
 * place in this table, so that an answer to something older, or a second answer, fits nothing.
 */
export class InFlight {
  readonly #slots: (NbdRequest | undefined)[];
  readonly #serials: Uint32Array;
  readonly #free: number[];
  #serial = 0;

  constructor(slots: number) {
    this.#slots = Array.from({ length: slots });
    this.#serials = new Uint32Array(slots);
    this.#free = Array.from({ length: slots }, (_, i) => slots - 1 - i);
  }

  get full(): boolean {
    return this.#free.length === 0;
  }

  get size(): number {
    return this.#slots.length - this.#free.length;
  }

  /** Gives the request a place and a cookie; there must be room. */
  put(request: NbdRequest): void {
    const slot = this.#free.pop() ?? 0;
    this.#serial = (this.#serial + 1) >>> 0;
    this.#serials[slot] = this.#serial;
    this.#slots[slot] = request;
    request.slot = slot;
    stampCookie(request.frame, this.#serial, slot);
  }

  /** The request of a cookie, if it is still here. */
  find(serial: number, slot: number): NbdRequest | undefined {
    return this.#serials[slot] === serial ? this.#slots[slot] : undefined;
  }

  remove(request: NbdRequest): void {
    this.#slots[request.slot] = undefined;
    this.#free.push(request.slot);
    request.slot = -1;
  }

  /** All that is here, in no order. */
  list(): NbdRequest[] {
    return this.#slots.filter((r) => r !== undefined);
  }

  /** Empties the table. */
  takeAll(): NbdRequest[] {
    const all = this.list();
    for (const request of all) this.remove(request);
    return all;
  }
}
