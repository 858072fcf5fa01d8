import { UserError } from '#base/mod.ts';
import { SECTOR_BYTES } from './sector-io.ts';

/** 12, 16 or 32: decided by the number of clusters and by nothing else (FAT spec §3.5). */
export type FatBits = 12 | 16 | 32;

/** Where everything of a FAT file system lies, in sectors of 512 bytes from its start. */
export type FatLayout = {
  readonly bits: FatBits;
  readonly totalSectors: number;
  readonly sectorsPerCluster: number;
  readonly reservedSectors: number;
  readonly fatCount: number;
  readonly sectorsPerFat: number;
  /** Entries of the fixed root directory; 0 on FAT32, whose root is a cluster chain. */
  readonly rootEntries: number;
  readonly rootSectors: number;
  /** First sector of cluster 2. */
  readonly dataStart: number;
  readonly clusterCount: number;
};

/** Most clusters of each kind (FAT spec §3.5). */
export const MAX_CLUSTERS: Readonly<Record<FatBits, number>> = {
  12: 4084,
  16: 65524,
  32: 0x0ffffff4,
};
const MIN_CLUSTERS: Readonly<Record<FatBits, number>> = { 12: 1, 16: 4085, 32: 65525 };

/** 32 KiB: DOS and Windows 9x take no larger cluster. */
const MAX_SECTORS_PER_CLUSTER = 64;
const FAT_COUNT = 2;
const FAT32_RESERVED = 32;
/** Entries 0 and 1 hold the media byte and flags; clusters count from 2. */
const LEADING_ENTRIES = 2;
const ROOT_ENTRIES = 512;
const DIRECTORY_ENTRY_BYTES = 32;

// What FORMAT of DOS and Windows 9x chooses: up to so many sectors, so many sectors per cluster.
const MIB = (1024 * 1024) / SECTOR_BYTES;
const CLUSTER_TABLE: Readonly<Record<FatBits, readonly (readonly [number, number])[]>> = {
  12: [[16 * MIB, 8]],
  16: [
    [16 * MIB, 2],
    [128 * MIB, 4],
    [256 * MIB, 8],
    [512 * MIB, 16],
    [1024 * MIB, 32],
    [Infinity, 64],
  ],
  32: [
    [260 * MIB, 1],
    [8192 * MIB, 8],
    [16384 * MIB, 16],
    [32768 * MIB, 32],
    [Infinity, 64],
  ],
};

/** The kind of a file system with so many clusters. */
export function fatBitsOf(clusterCount: number): FatBits {
  if (clusterCount <= MAX_CLUSTERS[12]) return 12;
  return clusterCount <= MAX_CLUSTERS[16] ? 16 : 32;
}

/** The largest partition that FAT16 can fill, in sectors: just under 2 GiB. */
export const MAX_FAT16_SECTORS = MAX_CLUSTERS[16] * MAX_SECTORS_PER_CLUSTER;

/**
 * Lays out a FAT of this kind over `totalSectors`. Clusters are those of DOS's FORMAT, made larger
 * or smaller only where their number would not fit the kind. Throws UserError `fat-size` when no
 * cluster size does.
 */
export function layoutFat(bits: FatBits, totalSectors: number): FatLayout {
  const usual = CLUSTER_TABLE[bits].find(([limit]) => totalSectors <= limit)?.[1];
  let perCluster = usual ?? MAX_SECTORS_PER_CLUSTER;
  let layout = layoutWith(bits, totalSectors, perCluster);
  while (layout.clusterCount > MAX_CLUSTERS[bits] && perCluster < MAX_SECTORS_PER_CLUSTER) {
    perCluster *= 2;
    layout = layoutWith(bits, totalSectors, perCluster);
  }
  while (layout.clusterCount < MIN_CLUSTERS[bits] && perCluster > 1) {
    perCluster /= 2;
    layout = layoutWith(bits, totalSectors, perCluster);
  }
  const { clusterCount } = layout;
  if (clusterCount < MIN_CLUSTERS[bits] || clusterCount > MAX_CLUSTERS[bits]) {
    throw new UserError('invalid', 'fat-size', {
      what: `a partition of ${totalSectors} sectors cannot be FAT${bits}`,
      why: `it would have ${clusterCount} clusters`,
      todo: clusterCount < MIN_CLUSTERS[bits] ? 'choose a larger size' : 'choose a smaller size',
    });
  }
  return layout;
}

function layoutWith(bits: FatBits, totalSectors: number, sectorsPerCluster: number): FatLayout {
  const reservedSectors = bits === 32 ? FAT32_RESERVED : 1;
  const rootEntries = bits === 32 ? 0 : ROOT_ENTRIES;
  const rootSectors = (rootEntries * DIRECTORY_ENTRY_BYTES) / SECTOR_BYTES;
  const clustersWith = (sectorsPerFat: number): number => {
    const data = totalSectors - reservedSectors - rootSectors - FAT_COUNT * sectorsPerFat;
    return Math.max(0, Math.floor(data / sectorsPerCluster));
  };
  // A larger table leaves fewer clusters, which need a smaller table: grow until it is enough.
  let sectorsPerFat = 1;
  for (;;) {
    const entries = clustersWith(sectorsPerFat) + LEADING_ENTRIES;
    const needed = Math.ceil((entries * bits) / 8 / SECTOR_BYTES);
    if (needed <= sectorsPerFat) break;
    sectorsPerFat = needed;
  }
  return {
    bits,
    totalSectors,
    sectorsPerCluster,
    reservedSectors,
    fatCount: FAT_COUNT,
    sectorsPerFat,
    rootEntries,
    rootSectors,
    dataStart: reservedSectors + FAT_COUNT * sectorsPerFat + rootSectors,
    clusterCount: clustersWith(sectorsPerFat),
  };
}
