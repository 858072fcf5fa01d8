import { COPIED_HI, offsetOf } from './entry.ts';

/** The active L1 table in memory: where the L2 tables are, and which belong to us alone. */
export class L1Table {
  offset: number;
  /** Offset of each L2 table, 0 where there is none. */
  offsets: Float64Array;
  /** 1 where the L2 table may be written in place. */
  copied: Uint8Array;
  /** Entries that changed and are not on stable media: index → epoch. Few, never on a hot path. */
  readonly #changed = new Map<number, number>();

  constructor(offset: number, bytes: Uint8Array) {
    this.offset = offset;
    const decoded = decodeL1(bytes);
    this.offsets = decoded.offsets;
    this.copied = decoded.copied;
  }

  /** Takes over another table. */
  replace(offset: number, offsets: Float64Array, copied: Uint8Array): void {
    this.offset = offset;
    this.offsets = offsets;
    this.copied = copied;
    this.#changed.clear();
  }

  /** A table of our own at `index`, since `epoch`. */
  set(index: number, l2Offset: number, epoch: number): void {
    this.offsets[index] = l2Offset;
    this.copied[index] = 1;
    this.#changed.set(index, epoch);
  }

  get dirty(): boolean {
    return this.#changed.size > 0;
  }

  dirtyIndexes(): number[] {
    return [...this.#changed.keys()];
  }

  /** All that changed in `epoch` or before is on stable media now. */
  settle(epoch: number): void {
    for (const [index, changed] of this.#changed) {
      if (changed <= epoch) this.#changed.delete(index);
    }
  }

  /** The entry at `index` as it is on disk. */
  encode(index: number): Uint8Array {
    return encodeL1(
      this.offsets.subarray(index, index + 1),
      this.copied.subarray(index, index + 1),
    );
  }
}

/** Takes an L1 table apart. */
export function decodeL1(bytes: Uint8Array): { offsets: Float64Array; copied: Uint8Array } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const offsets = new Float64Array(bytes.length / 8);
  const copied = new Uint8Array(offsets.length);
  for (let n = 0; n < offsets.length; n++) {
    const hi = view.getUint32(n * 8);
    offsets[n] = offsetOf(hi, view.getUint32(n * 8 + 4));
    copied[n] = (hi & COPIED_HI) === 0 ? 0 : 1;
  }
  return { offsets, copied };
}

/** The bytes of an L1 table. */
export function encodeL1(offsets: Float64Array, copied: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(offsets.length * 8);
  const view = new DataView(bytes.buffer);
  for (const [n, offset] of offsets.entries()) {
    const flag = copied[n] === 1 && offset !== 0 ? COPIED_HI : 0;
    view.setUint32(n * 8, (flag | Math.floor(offset / 2 ** 32)) >>> 0);
    view.setUint32(n * 8 + 4, offset % 2 ** 32);
  }
  return bytes;
}
