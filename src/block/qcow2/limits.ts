/**
 * The limits of the qcow2 engine. A file that asks for more is refused: a header is 100 bytes, and
 * what it claims must not decide how much memory or time an open takes (hostile case 34).
 */
const MIB = 1024 * 1024;

/** QEMU's own smallest and largest cluster. */
export const CLUSTER_BITS_MIN = 9;
export const CLUSTER_BITS_MAX = 21;
/** Extended L2 entries: a subcluster is a 32nd of a cluster and no less than 512 bytes. */
export const EXTENDED_CLUSTER_BITS_MIN = 14;

/** Header and extensions are one cluster, but no writer fills more than this of it. */
export const HEADER_BYTES_MAX = 64 * 1024;
/** The specification's limit for the name of a backing file. */
export const BACKING_NAME_BYTES_MAX = 1023;
/** QEMU's limit of an L1 table: 4 Mi entries, 2 PiB with clusters of 64 KiB. */
export const L1_BYTES_MAX = 32 * MIB;
/** QEMU's limit of a refcount table: 1 Mi blocks. */
export const REFCOUNT_TABLE_BYTES_MAX = 8 * MIB;
/** QEMU's limit of snapshots, and what their table may take: 256 bytes each. */
export const SNAPSHOTS_MAX = 65_536;
export const SNAPSHOT_TABLE_BYTES_MAX = 16 * MIB;
/** Of one snapshot: an ID and a name are 16-bit lengths, extra data is 1 KiB in QEMU. */
export const SNAPSHOT_EXTRA_BYTES_MAX = 1024;
/** Offsets are kept as numbers. */
export const OFFSET_MAX: number = Number.MAX_SAFE_INTEGER;
/**
 * Clusters of a file whose references can be counted: 4 bytes each, so 512 MiB of memory at most.
 * 8 TiB with clusters of 64 KiB.
 */
export const COUNTED_CLUSTERS_MAX = 128 * MIB;

/** Pieces of an L2 table that the cache holds: a page, 512 entries, 32 MiB of disk at 64 KiB. */
export const SLICE_BYTES = 4096;
/** Cache of L2 slices per open image: 8 GiB of disk at clusters of 64 KiB. */
export const CACHE_BYTES_DEFAULT: number = MIB;
/**
 * Slices that wait for a checkpoint at most, 8 MiB: a disk of 10 GiB has 320 in all. From three
 * quarters on a checkpoint is started in the background, at the limit writers wait for it.
 */
export const DIRTY_SLICES_MAX = 2048;

/**
 * Each half of the journal: 16,368 records, so that a checkpoint, which writes each slice once, is
 * shared by many first touches. A GiB of them at clusters of 64 KiB.
 */
export const JOURNAL_HALF_BYTES: number = 512 * 1024;

/** Clusters are reserved (their refcount set) in runs, so that an allocation writes no refcount. */
export const RESERVE_BYTES: number = 128 * MIB;
export const RESERVE_CLUSTERS_MAX = 1024;
export const RESERVE_CLUSTERS_MIN = 16;

/** Decompressed clusters kept per image, for readers smaller than a cluster. */
export const DECOMPRESSED_BYTES: number = 512 * 1024;
/** L1 tables of all snapshots together, so that 65,536 of 32 MiB are not read for hours. */
export const ALL_L1_BYTES_MAX: number = 256 * MIB;
