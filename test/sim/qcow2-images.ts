import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { MemoryDevice, createQcow2 } from '#block/mod.ts';
import type { BlockDevice, Qcow2CreateOptions } from '#block/mod.ts';
import { Content } from './content.ts';
import { BLOCK_BYTES, writeStamp } from './stamp.ts';

/** Blocks of the simulated disks: 128 KiB are 256 of the smallest clusters, under five tables. */
export const BLOCKS = 256;
const SIZE_BYTES = BLOCKS * BLOCK_BYTES;

/** A new image, and what stands below it. */
export type Blank = {
  readonly name: string;
  readonly image: Content;
  /** What the disk holds at first. */
  readonly content: Buffer;
  readonly backing: BlockDevice | null;
  readonly snapshots: boolean;
  readonly discards: boolean;
};

const BASE = { file: 'base.raw', format: 'raw' } as const;

const KINDS: readonly (Omit<Qcow2CreateOptions, 'sizeBytes'> & { readonly name: string })[] = [
  { name: 'clusters of 512 bytes', clusterBytes: 512 },
  { name: 'clusters of 4 KiB', clusterBytes: 4096 },
  { name: 'clusters of 64 KiB', clusterBytes: 65_536 },
  { name: 'lazy refcounts', clusterBytes: 512, lazyRefcounts: true },
  { name: 'refcounts of one bit', clusterBytes: 1024, refcountBits: 1 },
  { name: 'refcounts of 64 bits', clusterBytes: 512, refcountBits: 64 },
  { name: 'version 2', clusterBytes: 512, compat: '0.10' },
  { name: 'overlay', clusterBytes: 2048, extendedL2: false, backing: BASE },
  { name: 'overlay with subclusters', clusterBytes: 16_384, extendedL2: true, backing: BASE },
  { name: 'version 2 overlay', clusterBytes: 1024, compat: '0.10', backing: BASE },
];

/** Makes one image of every kind, in memory; the folder is only passed through. */
export async function blanks(folder: string): Promise<Blank[]> {
  const base = baseContent();
  const made: Blank[] = [];
  for (const { name, ...options } of KINDS) {
    const path = join(folder, 'blank.qcow2');
    await createQcow2(path, { sizeBytes: SIZE_BYTES, ...options });
    const overlay = options.backing !== undefined;
    made.push({
      name,
      image: Content.of(await readFile(path)),
      content: overlay ? base : Buffer.alloc(SIZE_BYTES),
      backing: overlay ? baseDevice(base) : null,
      snapshots: options.refcountBits !== 1,
      // A discarded cluster of a version 2 overlay would show the base again.
      discards: !(overlay && options.compat === '0.10'),
    });
    await rm(path);
  }
  return made;
}

/** Every second block of the base has data: copies on write must bring along what is beside. */
function baseContent(): Buffer {
  const content = Buffer.alloc(SIZE_BYTES);
  for (let lba = 0; lba < BLOCKS; lba += 2) {
    writeStamp(content, lba * BLOCK_BYTES, { tag: lba, generation: 1 });
  }
  return content;
}

function baseDevice(content: Buffer): MemoryDevice {
  const base = new MemoryDevice({ sizeBytes: content.length, readOnly: true });
  base.load(content);
  return base;
}
