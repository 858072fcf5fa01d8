import { DecodeError } from '#base/mod.ts';
import {
  L1_BYTES_MAX,
  OFFSET_MAX,
  SNAPSHOTS_MAX,
  SNAPSHOT_EXTRA_BYTES_MAX,
  SNAPSHOT_TABLE_BYTES_MAX,
} from './limits.ts';
import { textOf } from './features.ts';
import type { Qcow2Snapshot } from './types.ts';

/** An entry of the snapshot table, complete enough to write it again unchanged. */
export type SnapshotEntry = {
  readonly l1Offset: number;
  readonly l1Entries: number;
  readonly id: Uint8Array;
  readonly name: Uint8Array;
  readonly seconds: number;
  readonly nanoseconds: number;
  readonly guestClock: bigint;
  readonly vmStateBytes: number;
  /** Null in version 2 entries without it: then it is the image's own size. */
  readonly sizeBytes: number | null;
  /** What follows the fields we know, kept as it is. */
  readonly extraTail: Uint8Array;
};

const FIXED_BYTES = 40;
const EXTRA_KNOWN_BYTES = 16;

/**
 * Decodes `count` entries. `bytes` may go on behind the table, but not be cut inside of it.
 * Throws DecodeError.
 */
export function decodeSnapshotTable(
  bytes: Uint8Array,
  count: number,
  clusterBytes: number,
): { readonly entries: SnapshotEntry[]; readonly lengthBytes: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (count > SNAPSHOTS_MAX) throw bad(`${count} snapshots`, 0);
  const entries: SnapshotEntry[] = [];
  let at = 0;
  for (let n = 0; n < count; n++) {
    if (at + FIXED_BYTES > bytes.length) throw bad('the snapshot table is cut short', at);
    const idBytes = view.getUint16(at + 12);
    const nameBytes = view.getUint16(at + 14);
    const extraBytes = view.getUint32(at + 36);
    if (extraBytes > SNAPSHOT_EXTRA_BYTES_MAX) throw bad(`${extraBytes} extra bytes`, at + 36);
    const end = at + FIXED_BYTES + extraBytes + idBytes + nameBytes;
    if (end > bytes.length) throw bad('the snapshot table is cut short', at);
    const l1Offset = u64(view, at);
    const l1Entries = view.getUint32(at + 8);
    if (l1Entries * 8 > L1_BYTES_MAX) throw bad(`an L1 table of ${l1Entries} entries`, at + 8);
    if (l1Offset % clusterBytes !== 0 || (l1Entries > 0 && l1Offset === 0)) {
      throw bad("a snapshot's L1 table is not aligned", at);
    }
    const extra = at + FIXED_BYTES;
    const idAt = extra + extraBytes;
    entries.push({
      l1Offset,
      l1Entries,
      id: bytes.slice(idAt, idAt + idBytes),
      name: bytes.slice(idAt + idBytes, end),
      seconds: view.getUint32(at + 16),
      nanoseconds: view.getUint32(at + 20),
      guestClock: view.getBigUint64(at + 24),
      vmStateBytes: extraBytes >= 8 ? u64(view, extra) : view.getUint32(at + 32),
      sizeBytes: extraBytes >= EXTRA_KNOWN_BYTES ? u64(view, extra + 8) : null,
      extraTail: bytes.slice(extra + Math.min(extraBytes, EXTRA_KNOWN_BYTES), idAt),
    });
    at = Math.ceil(end / 8) * 8;
    if (at > SNAPSHOT_TABLE_BYTES_MAX) throw bad('the snapshot table is too large', at);
  }
  return { entries, lengthBytes: at };
}

/** Encodes the table, extra data included. */
export function encodeSnapshotTable(entries: readonly SnapshotEntry[]): Uint8Array {
  const lengths = entries.map(entryBytes);
  const bytes = new Uint8Array(lengths.reduce((sum, n) => sum + n, 0));
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const [n, e] of entries.entries()) {
    const known = e.sizeBytes === null ? 0 : EXTRA_KNOWN_BYTES;
    setU64(view, at, e.l1Offset);
    view.setUint32(at + 8, e.l1Entries);
    view.setUint16(at + 12, e.id.length);
    view.setUint16(at + 14, e.name.length);
    view.setUint32(at + 16, e.seconds);
    view.setUint32(at + 20, e.nanoseconds);
    view.setBigUint64(at + 24, e.guestClock);
    view.setUint32(at + 32, e.vmStateBytes >= 2 ** 32 ? 0 : e.vmStateBytes);
    view.setUint32(at + 36, known + e.extraTail.length);
    const extra = at + FIXED_BYTES;
    if (e.sizeBytes !== null) {
      setU64(view, extra, e.vmStateBytes);
      setU64(view, extra + 8, e.sizeBytes);
    }
    bytes.set(e.extraTail, extra + known);
    bytes.set(e.id, extra + known + e.extraTail.length);
    bytes.set(e.name, extra + known + e.extraTail.length + e.id.length);
    at += lengths[n] ?? 0;
  }
  return bytes;
}

function entryBytes(e: SnapshotEntry): number {
  const known = e.sizeBytes === null ? 0 : EXTRA_KNOWN_BYTES;
  const bytes = FIXED_BYTES + known + e.extraTail.length + e.id.length + e.name.length;
  return Math.ceil(bytes / 8) * 8;
}

/** The entry as people see it. `imageBytes` stands in where the entry has no size of its own. */
export function describeSnapshot(e: SnapshotEntry, imageBytes: number): Qcow2Snapshot {
  return {
    id: textOf(e.id),
    name: textOf(e.name),
    takenMs: e.seconds * 1000 + Math.floor(e.nanoseconds / 1e6),
    sizeBytes: e.sizeBytes ?? imageBytes,
    vmStateBytes: e.vmStateBytes,
  };
}

function u64(view: DataView, at: number): number {
  const value = view.getUint32(at) * 2 ** 32 + view.getUint32(at + 4);
  if (value > OFFSET_MAX) throw bad('a number beyond 2^53', at);
  return value;
}

function setU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, Math.floor(value / 2 ** 32));
  view.setUint32(at + 4, value % 2 ** 32);
}

function bad(message: string, offset: number): DecodeError {
  return new DecodeError('qcow2-snapshots', message, offset);
}
