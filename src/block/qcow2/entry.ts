import type { Layout } from './layout.ts';

/** Bits of the high word of an L2 entry, and of L1 entries. */
export const COPIED_HI = 0x80000000;
export const COMPRESSED_HI = 0x40000000;
const OFFSET_HI = 0x00ffffff;
const OFFSET_LO = 0xfffffe00;
const TWO_32 = 2 ** 32;
/** Reserved bits, which must be zero: 56-61 and 1-8 (and 0, but for the zero flag of version 3). */
export const RESERVED_HI = 0x3f000000;
export const RESERVED_LO = 0x1fe;

/**
 * An L2 entry taken apart. Entries without subclusters are treated as if a cluster had one:
 * `alloc` and `zero` are masks of subclusters (1 or 32 bits, as unsigned numbers).
 */
export type Entry = {
  /** Offset of the host cluster, 0 when there is none. Of compressed data: where it begins. */
  host: number;
  /** The host cluster belongs to this entry alone and may be written in place. */
  copied: boolean;
  compressed: boolean;
  /** Length of the compressed data in bytes, at most; 0 when not compressed. */
  compressedBytes: number;
  alloc: number;
  zero: number;
};

/** The host offset in an L1 or standard L2 entry. */
export function offsetOf(hi: number, lo: number): number {
  return (hi & OFFSET_HI) * TWO_32 + ((lo & OFFSET_LO) >>> 0);
}

/** Takes the entry at word `at` of a slice apart; returns why it cannot be, or null. */
export function decodeEntry(
  layout: Layout,
  words: Uint32Array,
  at: number,
  into: Entry,
): string | null {
  const hi = words[at]!;
  const lo = words[at + 1]!;
  into.alloc = 0;
  into.zero = 0;
  into.compressedBytes = 0;
  into.compressed = (hi & COMPRESSED_HI) !== 0;
  if (into.compressed) {
    into.copied = false;
    // x = 62 - (cluster_bits - 8): offset below, additional sectors above.
    const shift = 62 - (layout.clusterBits - 8) - 32;
    into.host = (hi & (2 ** shift - 1)) * TWO_32 + lo;
    const sectors = ((hi & 0x3fffffff) >>> shift) + 1;
    into.compressedBytes = sectors * 512 - (into.host % 512);
    if (into.host > Number.MAX_SAFE_INTEGER - 2 ** 32) return 'compressed data beyond 2^53';
    return null;
  }
  into.host = offsetOf(hi, lo);
  into.copied = (hi & COPIED_HI) !== 0;
  if (into.host > Number.MAX_SAFE_INTEGER) return 'a cluster beyond 2^53';
  if (into.host % layout.clusterBytes !== 0) return 'a cluster that is not aligned';
  if (layout.extended) {
    into.zero = words[at + 2]!;
    into.alloc = words[at + 3]!;
    if ((into.zero & into.alloc) !== 0) return 'a subcluster both allocated and zero';
    if (into.alloc !== 0 && into.host === 0) return 'allocated subclusters without a cluster';
  } else if ((lo & 1) !== 0) {
    if (layout.version === 2) return 'a zero cluster in a version 2 image';
    into.zero = 1;
  } else if (into.host !== 0) {
    into.alloc = 1;
  }
  return null;
}

/** A fresh `Entry` to decode into. */
export function blankEntry(): Entry {
  return { host: 0, copied: false, compressed: false, compressedBytes: 0, alloc: 0, zero: 0 };
}

/** The high word of an entry with a host cluster of its own, or with none. */
export function encodeHi(host: number): number {
  return host === 0 ? 0 : (COPIED_HI | Math.floor(host / TWO_32)) >>> 0;
}

/** The low word; `zero` is the flag of a standard entry. */
export function encodeLo(host: number, zero: boolean): number {
  return ((host % TWO_32) | (zero ? 1 : 0)) >>> 0;
}
