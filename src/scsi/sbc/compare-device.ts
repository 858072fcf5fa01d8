import { FilterDevice } from '#block/mod.ts';
import type { BlockDone } from '#block/mod.ts';

/**
 * Takes data as a disk would, and compares it with what is stored instead of writing it: so VERIFY
 * with BYTCHK needs no more memory than one piece, whatever its length.
 */
export class CompareDevice extends FilterDevice {
  /** Byte offset on the device of the first difference; -1: none so far. */
  mismatchBytes = -1;
  #stored = Buffer.alloc(0);

  override tryWrite(offset: number, from: Uint8Array, at: number, lengthBytes: number): boolean {
    const stored = this.#room(lengthBytes);
    if (!this.inner.tryRead(offset, stored, 0, lengthBytes)) return false;
    this.#compare(offset, stored, from, at, lengthBytes);
    return true;
  }

  override write(
    offset: number,
    from: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void {
    // Pieces may be on their way together: each has its own copy.
    const stored = Buffer.allocUnsafe(lengthBytes);
    this.inner.read(offset, stored, 0, lengthBytes, (error) => {
      if (error === null) this.#compare(offset, stored, from, at, lengthBytes);
      done(error);
    });
  }

  #room(lengthBytes: number): Buffer {
    if (this.#stored.length < lengthBytes) this.#stored = Buffer.allocUnsafe(lengthBytes);
    return this.#stored;
  }

  #compare(offset: number, stored: Buffer, from: Uint8Array, at: number, length: number): void {
    const difference = firstDifference(stored, 0, from, at, length);
    if (difference < 0) return;
    const found = offset + difference;
    if (this.mismatchBytes < 0 || found < this.mismatchBytes) this.mismatchBytes = found;
  }
}

/** The index of the first byte that differs, -1 when all are equal. */
export function firstDifference(
  a: Buffer,
  atA: number,
  b: Uint8Array,
  atB: number,
  length: number,
): number {
  if (a.compare(b, atB, atB + length, atA, atA + length) === 0) return -1;
  for (let i = 0; i < length; i++) if (a[atA + i] !== b[atB + i]) return i;
  return -1;
}
