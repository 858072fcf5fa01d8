import type { Geometry } from './chs.ts';
import type { Filesystem } from './filesystems.ts';
import type { IsoReport } from './iso.ts';

/** One partition as found. */
export type PartitionReport = {
  /** As Linux numbers it: 1–4 of the MBR, 5… logical, or the place in the GPT. */
  readonly number: number;
  readonly scheme: 'mbr' | 'logical' | 'gpt';
  /** "06", or a GUID. */
  readonly typeCode: string;
  readonly typeName: string;
  readonly startLba: number;
  readonly sectorCount: number;
  readonly sizeBytes: number;
  readonly active: boolean;
  readonly name?: string;
  readonly filesystem?: Filesystem;
};

/** Something to tell the owner. `code` is stable; `text` is plain English. */
export type DiskWarning = { readonly code: string; readonly text: string };

/** Whether a firmware finds something to start, and why (not). */
export type BootVerdict = { readonly bootable: boolean; readonly why: string };

/** All that can be told from a disk's bytes. */
export type DiskReport = {
  readonly sizeBytes: number;
  readonly table: 'gpt' | 'mbr' | 'none' | 'iso';
  readonly partitions: readonly PartitionReport[];
  /** Of a disk without a partition table. */
  readonly filesystem?: Filesystem;
  readonly iso?: IsoReport;
  /** Sector 0 ends in 55 AA; without it iPXE refuses to boot the disk from a BIOS. */
  readonly hasBootSignature: boolean;
  /** C/H/S that a BIOS guest will see under iPXE: today's rule, and that of old builds. */
  readonly geometry: Geometry;
  readonly earlyGeometry: Geometry;
  /** What DOS reaches with it. */
  readonly reachableBytes: number;
  readonly bios: BootVerdict;
  readonly uefi: BootVerdict;
  /** UEFI loaders found, such as `\EFI\BOOT\BOOTX64.EFI`. */
  readonly uefiLoaders: readonly string[];
  readonly warnings: readonly DiskWarning[];
};

/** Partitions of whichever table rules. */
export type FoundPartitions = {
  readonly table: 'gpt' | 'mbr' | 'none';
  readonly partitions: readonly PartitionReport[];
};
