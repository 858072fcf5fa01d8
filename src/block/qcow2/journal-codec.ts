import { crc32c } from '#base/mod.ts';

/** Our header extension: journal's offset (8), length (8), format version (4), zeros (4). */
export const JOURNAL_EXTENSION_BYTES = 24;
export const JOURNAL_VERSION = 1;
/**
 * The autoclear feature that says "the journal is valid": a writer that does not know it must clear
 * it before it writes (so QEMU does), and then what the journal has is no longer believed.
 */
export const JOURNAL_AUTOCLEAR: bigint = 1n << 63n;

/** A half begins with its header, in a sector of its own. */
export const JOURNAL_HEAD_BYTES = 512;
export const RECORD_BYTES = 32;
const HALF_MAGIC = 0x706c626a; // "plbj"

/**
 * What a record says. `ENTRY`: guest cluster `index` has this L2 entry (and subcluster bitmap).
 * `TABLE`: L1 entry `index`. `RESERVED`: host clusters from `index` on, as many as the value, have
 * a reference count of 1 but belong to nobody unless another record names them.
 */
export const RecordKind = { ENTRY: 1, TABLE: 2, RESERVED: 3 } as const;

export type JournalRecord = {
  readonly kind: number;
  readonly index: number;
  readonly hi: number;
  readonly lo: number;
  readonly bitmapHi: number;
  readonly bitmapLo: number;
};

/** Puts a record at `at` of `bytes`/`view`; allocates nothing. */
export function encodeRecord(
  bytes: Uint8Array,
  view: DataView,
  at: number,
  epoch: number,
  kind: number,
  index: number,
  hi: number,
  lo: number,
  bitmapHi: number,
  bitmapLo: number,
): void {
  view.setUint32(at + 4, epoch);
  view.setUint32(at + 8, kind * 2 ** 24 + Math.floor(index / 2 ** 32));
  view.setUint32(at + 12, index % 2 ** 32);
  view.setUint32(at + 16, hi);
  view.setUint32(at + 20, lo);
  view.setUint32(at + 24, bitmapHi);
  view.setUint32(at + 28, bitmapLo);
  view.setUint32(at, crc32c(bytes, at + 4, RECORD_BYTES - 4));
}

/** The record at `at`, or null: the log ends before it. */
export function decodeRecord(
  bytes: Uint8Array,
  view: DataView,
  at: number,
  epoch: number,
): JournalRecord | null {
  if (at + RECORD_BYTES > bytes.length || view.getUint32(at + 4) !== epoch) return null;
  if (view.getUint32(at) !== crc32c(bytes, at + 4, RECORD_BYTES - 4)) return null;
  return {
    kind: view.getUint8(at + 8),
    index: (view.getUint32(at + 8) & 0xffffff) * 2 ** 32 + view.getUint32(at + 12),
    hi: view.getUint32(at + 16),
    lo: view.getUint32(at + 20),
    bitmapHi: view.getUint32(at + 24),
    bitmapLo: view.getUint32(at + 28),
  };
}

/** The header of a half: which epoch's records follow, and in which boot they were written. */
export function encodeHalf(epoch: number, bootId: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(JOURNAL_HEAD_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, HALF_MAGIC);
  view.setUint32(8, epoch);
  bytes.set(bootId.subarray(0, 16), 16);
  view.setUint32(4, crc32c(bytes, 8, 24));
  return bytes;
}

/** The epoch of a half that was written in this boot; null: nothing to believe. */
export function decodeHalf(bytes: Uint8Array, bootId: Uint8Array): number | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length < JOURNAL_HEAD_BYTES || view.getUint32(0) !== HALF_MAGIC) return null;
  if (view.getUint32(4) !== crc32c(bytes, 8, 24)) return null;
  for (let i = 0; i < 16; i++) if (bytes[16 + i] !== bootId[i]) return null;
  return view.getUint32(8);
}
