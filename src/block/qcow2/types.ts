import type { BlockDevice } from '../device.ts';

/** What a backing file is, as the header says it. Never used to open anything. */
export type Qcow2Backing = {
  /** The name as text, control characters replaced. For people and for qemu-img only. */
  readonly file: string;
  /** Null where the header does not say: then nobody may guess (hostile case 35). */
  readonly format: string | null;
};

/** An internal snapshot as the snapshot table tells it. */
export type Qcow2Snapshot = {
  /** QEMU's ID: a decimal number as text, unique within the file. */
  readonly id: string;
  readonly name: string;
  /** When it was taken, in milliseconds since the Epoch. */
  readonly takenMs: number;
  /** Size of the disk when it was taken. */
  readonly sizeBytes: number;
  /** Bytes of a virtual machine's memory stored with it; 0 for ours. */
  readonly vmStateBytes: number;
};

/** What a qcow2 file says about itself. */
export type Qcow2Info = {
  readonly version: 2 | 3;
  readonly sizeBytes: number;
  readonly clusterBytes: number;
  readonly refcountBits: number;
  readonly extendedL2: boolean;
  readonly lazyRefcounts: boolean;
  readonly compression: 'zlib' | 'zstd';
  /** Refcounts may be wrong: a writer did not come to its end. */
  readonly dirty: boolean;
  /** Some program found the structure broken. */
  readonly corrupt: boolean;
  readonly backing: Qcow2Backing | null;
  readonly snapshots: readonly Qcow2Snapshot[];
  /** The external data file's name ('' when the file does not say), null when data is inside. */
  readonly dataFile: string | null;
  readonly encryption: 'aes' | 'luks' | 'unknown' | null;
  /** Whether it carries QEMU's persistent dirty bitmaps. */
  readonly bitmaps: boolean;
  /** Features this program does not know and may not ignore, by name where the file has one. */
  readonly unknownFeatures: readonly string[];
  /** Length of the file. */
  readonly fileBytes: number;
};

/** How a qcow2 image is opened. */
export type Qcow2Options = {
  readonly readOnly?: boolean;
  /** False only for a file that some other lock protects already. */
  readonly lock?: boolean;
  /**
   * The disk below, opened by the caller; needed when the header names one. What it is comes from
   * the caller's records and never from the file.
   */
  readonly backing?: BlockDevice | null;
  /** True: closing the image closes `backing` too. */
  readonly ownsBacking?: boolean;
  /** Logical block of the disk we show, 512 unless the backing has larger ones. */
  readonly blockBytes?: number;
  /** False: an image whose refcounts need a repair first is refused. Default true. */
  readonly repair?: boolean;
  /** Bytes of L2 slices kept in memory. */
  readonly cacheBytes?: number;
};

/** What a new qcow2 image is to be. */
export type Qcow2CreateOptions = {
  /** Size of the disk, a multiple of 512. */
  readonly sizeBytes: number;
  /** A power of two, 512 to 2 MiB. Default 64 KiB; 128 KiB with `extendedL2`. */
  readonly clusterBytes?: number;
  /** 1, 2, 4, 8, 16, 32 or 64; default 16. Snapshots need more than 1. */
  readonly refcountBits?: number;
  /** Subclusters: a first write of 4 KiB copies nothing. Default: true with a backing file. */
  readonly extendedL2?: boolean;
  readonly lazyRefcounts?: boolean;
  /** `0.10` is version 2, for QEMU older than 1.1. */
  readonly compat?: '1.1' | '0.10';
  /** Text for qemu-img's sake; nothing here follows it. */
  readonly backing?: { readonly file: string; readonly format: 'raw' | 'qcow2' };
};

/** What a check does besides looking. */
export type Qcow2CheckOptions = {
  /** `leaks`: only refcounts that are too high; `all`: everything that can be mended. */
  readonly repair?: 'leaks' | 'all';
  /** Called now and then with 0…1. */
  readonly progress?: (fraction: number) => void;
  readonly signal?: AbortSignal;
};

/** What a check found. */
export type Qcow2Report = {
  /** Faults that put data at risk, still there at the end. */
  readonly errors: number;
  /** Clusters that nothing uses but that count as used, still there at the end. */
  readonly leaks: number;
  readonly errorsFixed: number;
  readonly leaksFixed: number;
  /** The first of the faults, in words, 20 at most. */
  readonly findings: readonly string[];
  /** Guest clusters with data of their own, and of these the compressed ones. */
  readonly allocatedClusters: number;
  readonly compressedClusters: number;
  readonly totalClusters: number;
  /** Where the last cluster in use ends. */
  readonly endBytes: number;
};
