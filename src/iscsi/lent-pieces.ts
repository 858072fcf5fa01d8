import type { LentMessage } from '#block/mod.ts';

/** Blocks lent for one message, each with a header before it; IOV_MAX is 1,024. */
export const LENT_PIECES_MAX = 128;

/**
 * What one message lends from devices, and where it belongs between the bytes of the output chunk:
 * piece n comes behind the chunk's first `cut(n)` bytes. No allocation per piece.
 */
export class LentPieces {
  count = 0;
  #bytes = 0;
  readonly #cuts = new Uint32Array(LENT_PIECES_MAX);
  readonly #lengths = new Uint32Array(LENT_PIECES_MAX);
  readonly #addresses = new Float64Array(LENT_PIECES_MAX);
  readonly #offsets = new Float64Array(LENT_PIECES_MAX);

  /** Bytes of all pieces. */
  get bytes(): number {
    return this.#bytes;
  }

  add(cut: number, offsetBytes: number, address: number, lengthBytes: number): void {
    const n = this.count;
    this.#cuts[n] = cut;
    this.#offsets[n] = offsetBytes;
    this.#addresses[n] = address;
    this.#lengths[n] = lengthBytes;
    this.count = n + 1;
    this.#bytes += lengthBytes;
  }

  clear(): void {
    this.count = 0;
    this.#bytes = 0;
  }

  cut(n: number): number {
    return this.#cuts[n]!;
  }

  address(n: number): number {
    return this.#addresses[n]!;
  }

  length(n: number): number {
    return this.#lengths[n]!;
  }

  /** True when a piece lies within the range of its device. */
  touch(offsetBytes: number, lengthBytes: number): boolean {
    const end = offsetBytes + lengthBytes;
    for (let n = 0; n < this.count; n++) {
      const from = this.#offsets[n]!;
      if (from < end && from + this.#lengths[n]! > offsetBytes) return true;
    }
    return false;
  }

  /** Puts the whole message together; `bytes[0, used)` are the headers. */
  fill(message: LentMessage, bytes: Uint8Array, used: number): void {
    let at = 0;
    for (let n = 0; n < this.count; n++) {
      const cut = this.#cuts[n]!;
      if (cut > at) message.addBytes(bytes, at, cut - at);
      message.addLent(this.#addresses[n]!, this.#lengths[n]!);
      at = cut;
    }
    if (used > at) message.addBytes(bytes, at, used - at);
  }
}
