import { DecodeError } from '#base/mod.ts';
import {
  BACKING_NAME_BYTES_MAX,
  CLUSTER_BITS_MAX,
  CLUSTER_BITS_MIN,
  EXTENDED_CLUSTER_BITS_MIN,
  L1_BYTES_MAX,
  OFFSET_MAX,
  REFCOUNT_TABLE_BYTES_MAX,
  SNAPSHOTS_MAX,
} from './limits.ts';

/** "QFI\xfb". */
export const MAGIC = 0x514649fb;
export const HEADER_BYTES_V2 = 72;
export const HEADER_BYTES_V3_MIN = 104;
/** With the compression type, padded to eight. */
export const HEADER_BYTES_V3 = 112;

/** Bits of incompatible_features. */
export const Incompatible = {
  DIRTY: 1,
  CORRUPT: 2,
  DATA_FILE: 4,
  COMPRESSION: 8,
  EXTENDED_L2: 16,
} as const;
/** Bits of compatible_features. */
export const Compatible = { LAZY_REFCOUNTS: 1 } as const;
/** Bits of autoclear_features. */
export const Autoclear = { BITMAPS: 1, RAW_DATA_FILE: 2 } as const;

/** Types of header extensions. `JOURNAL` is ours: see journal.ts. */
export const ExtensionType = {
  END: 0,
  BACKING_FORMAT: 0xe2792aca,
  FEATURE_NAMES: 0x6803f857,
  BITMAPS: 0x23852875,
  ENCRYPTION: 0x0537be77,
  DATA_FILE: 0x44415441,
  JOURNAL: 0x504c5942,
} as const;

export type HeaderExtension = {
  readonly type: number;
  /** Offset of the extension's own header in the file. */
  readonly at: number;
  readonly data: Uint8Array;
};

/** The header of a qcow2 image, checked for sense but not for what we support. */
export type Header = {
  readonly version: 2 | 3;
  readonly backingOffset: number;
  readonly backingName: Uint8Array | null;
  readonly clusterBits: number;
  readonly sizeBytes: number;
  readonly cryptMethod: number;
  readonly l1Entries: number;
  readonly l1Offset: number;
  readonly refcountTableOffset: number;
  readonly refcountTableClusters: number;
  readonly snapshotCount: number;
  readonly snapshotsOffset: number;
  readonly incompatible: bigint;
  readonly compatible: bigint;
  readonly autoclear: bigint;
  readonly refcountOrder: number;
  readonly headerBytes: number;
  readonly compressionType: number;
  readonly extensions: readonly HeaderExtension[];
};

/**
 * Decodes the first cluster of an image, or as much of it as HEADER_BYTES_MAX, in which everything
 * up to the backing file's name must lie. `fileBytes` is the length of the file.
 * Throws DecodeError: no qcow2, or numbers that cannot be.
 */
export function decodeHeader(bytes: Uint8Array, fileBytes: number): Header {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length < HEADER_BYTES_V2) throw bad('the file is shorter than a header', 0);
  if (view.getUint32(0) !== MAGIC) throw bad('no qcow2 header', 0);
  const version = view.getUint32(4);
  if (version !== 2 && version !== 3) throw bad(`version ${version} is not known`, 4);
  const clusterBits = view.getUint32(20);
  if (clusterBits < CLUSTER_BITS_MIN || clusterBits > CLUSTER_BITS_MAX) {
    throw bad(`clusters of 2^${clusterBits} bytes`, 20);
  }
  const fixed = {
    version,
    clusterBits,
    backingOffset: u64(view, 8),
    sizeBytes: u64(view, 24),
    cryptMethod: view.getUint32(32),
    l1Entries: view.getUint32(36),
    l1Offset: u64(view, 40),
    refcountTableOffset: u64(view, 48),
    refcountTableClusters: view.getUint32(56),
    snapshotCount: view.getUint32(60),
    snapshotsOffset: u64(view, 64),
  } as const;
  const later = version === 2 ? SECOND_VERSION : decodeThird(view, bytes.length);
  checkTables(fixed, (later.incompatible & BigInt(Incompatible.EXTENDED_L2)) !== 0n, fileBytes);
  const backingName = decodeBackingName(bytes, fixed.backingOffset, view.getUint32(16));
  const area = Math.min(bytes.length, 2 ** clusterBits);
  const end = fixed.backingOffset === 0 ? area : fixed.backingOffset;
  const extensions = decodeExtensions(bytes, later.headerBytes, Math.min(end, area));
  return { ...fixed, ...later, backingName, extensions };
}

type Later = Pick<
  Header,
  'incompatible' | 'compatible' | 'autoclear' | 'refcountOrder' | 'headerBytes' | 'compressionType'
>;

const SECOND_VERSION: Later = {
  incompatible: 0n,
  compatible: 0n,
  autoclear: 0n,
  refcountOrder: 4,
  headerBytes: HEADER_BYTES_V2,
  compressionType: 0,
};

function decodeThird(view: DataView, available: number): Later {
  if (available < HEADER_BYTES_V3_MIN) throw bad('the header is cut short', available);
  const headerBytes = view.getUint32(100);
  if (headerBytes < HEADER_BYTES_V3_MIN || headerBytes % 8 !== 0 || headerBytes > available) {
    throw bad(`a header of ${headerBytes} bytes`, 100);
  }
  if (2 ** view.getUint32(20) < headerBytes) throw bad('the header is larger than a cluster', 100);
  const refcountOrder = view.getUint32(96);
  if (refcountOrder > 6) throw bad(`refcounts of 2^${refcountOrder} bits`, 96);
  const incompatible = view.getBigUint64(72);
  const compressionType = headerBytes > 104 ? view.getUint8(104) : 0;
  const other = (incompatible & BigInt(Incompatible.COMPRESSION)) !== 0n;
  if (other !== compressionType > 0) throw bad('compression type and its feature bit differ', 104);
  return {
    incompatible,
    compatible: view.getBigUint64(80),
    autoclear: view.getBigUint64(88),
    refcountOrder,
    headerBytes,
    compressionType,
  };
}

type Tables = Pick<
  Header,
  | 'clusterBits'
  | 'sizeBytes'
  | 'l1Entries'
  | 'l1Offset'
  | 'refcountTableOffset'
  | 'refcountTableClusters'
  | 'snapshotCount'
  | 'snapshotsOffset'
>;

function checkTables(t: Tables, extended: boolean, fileBytes: number): void {
  const clusterBytes = 2 ** t.clusterBits;
  if (extended && t.clusterBits < EXTENDED_CLUSTER_BITS_MIN) {
    throw bad(`subclusters need clusters of 16 KiB, not ${clusterBytes}`, 20);
  }
  const tableBytes = (clusterBytes / (extended ? 16 : 8)) * clusterBytes;
  if (t.l1Entries * 8 > L1_BYTES_MAX) throw bad(`an L1 table of ${t.l1Entries} entries`, 36);
  if (t.l1Entries < Math.ceil(t.sizeBytes / tableBytes)) {
    throw bad(`${t.l1Entries} L1 entries are too few for ${t.sizeBytes} bytes`, 36);
  }
  const aligned = (offset: number): boolean => offset % clusterBytes === 0 && offset > 0;
  if (t.l1Entries > 0) {
    if (!aligned(t.l1Offset)) throw bad('the L1 table is not aligned', 40);
    if (t.l1Offset + t.l1Entries * 8 > fileBytes) throw bad('the L1 table is past the end', 40);
  }
  if (!aligned(t.refcountTableOffset)) throw bad('the refcount table is not aligned', 48);
  const refcountBytes = t.refcountTableClusters * clusterBytes;
  if (t.refcountTableClusters === 0) throw bad('no refcount table', 56);
  if (refcountBytes > REFCOUNT_TABLE_BYTES_MAX) {
    throw bad(`a refcount table of ${t.refcountTableClusters} clusters`, 56);
  }
  if (t.refcountTableOffset >= fileBytes) throw bad('the refcount table is past the end', 48);
  if (t.snapshotCount > SNAPSHOTS_MAX) throw bad(`${t.snapshotCount} snapshots`, 60);
  if (t.snapshotCount > 0 && !aligned(t.snapshotsOffset)) {
    throw bad('the snapshot table is not aligned', 64);
  }
}

function decodeBackingName(bytes: Uint8Array, offset: number, length: number): Uint8Array | null {
  if (offset === 0) return null;
  if (length > BACKING_NAME_BYTES_MAX) throw bad(`a backing name of ${length} bytes`, 16);
  if (offset + length > bytes.length) throw bad('the backing name is outside the header', 8);
  return length === 0 ? null : bytes.slice(offset, offset + length);
}

function decodeExtensions(bytes: Uint8Array, start: number, end: number): HeaderExtension[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const found: HeaderExtension[] = [];
  let at = start;
  while (at + 8 <= end) {
    const type = view.getUint32(at);
    const length = view.getUint32(at + 4);
    if (type === ExtensionType.END) return found;
    if (length > end - at - 8) throw bad(`a header extension of ${length} bytes`, at + 4);
    found.push({ type, at, data: bytes.slice(at + 8, at + 8 + length) });
    at += 8 + Math.ceil(length / 8) * 8;
  }
  return found;
}

/** The first extension of a type, or undefined. */
export function extensionOf(header: Header, type: number): HeaderExtension | undefined {
  return header.extensions.find((e) => e.type === type);
}

/** A 64-bit number that must be an offset or a size we can count with. */
function u64(view: DataView, at: number): number {
  const value = view.getUint32(at) * 2 ** 32 + view.getUint32(at + 4);
  if (value > OFFSET_MAX) throw bad('a number beyond 2^53', at);
  return value;
}

function bad(message: string, offset: number): DecodeError {
  return new DecodeError('qcow2-header', message, offset);
}
