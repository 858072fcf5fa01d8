import { BHS_BYTES, NO_BYTES, copyBytes } from './pdu/mod.ts';
import type { Pdu } from './pdu/mod.ts';

/** Puts a PDU together that is handled whole: login and the services, never data. */
export class Collector {
  readonly #limitBytes: number;
  #header: Uint8Array = new Uint8Array(BHS_BYTES);
  #data: Uint8Array = NO_BYTES;
  #bytes = 0;

  /** Data beyond `limitBytes` is dropped. */
  constructor(limitBytes = Infinity) {
    this.#limitBytes = limitBytes;
  }

  /** The header of the PDU being collected, or of the last one. */
  get header(): Uint8Array {
    return this.#header;
  }

  /** A header, to be followed by `dataBytes` of data. */
  begin(bytes: Uint8Array, at: number, dataBytes: number): void {
    // A copy: the receive buffer is a Buffer, whose `slice` would only be a view of it.
    this.#header = copyBytes(bytes, at, at + BHS_BYTES);
    const length = Math.min(dataBytes, this.#limitBytes);
    this.#data = length === 0 ? NO_BYTES : new Uint8Array(length);
    this.#bytes = 0;
  }

  add(bytes: Uint8Array, at: number, lengthBytes: number): void {
    const take = Math.min(lengthBytes, this.#data.length - this.#bytes);
    if (take <= 0) return;
    this.#data.set(bytes.subarray(at, at + take), this.#bytes);
    this.#bytes += take;
  }

  /** The whole PDU, without its additional headers. */
  take(): Pdu {
    const data = this.#data;
    this.#data = NO_BYTES;
    return { header: this.#header, ahs: NO_BYTES, data };
  }
}
