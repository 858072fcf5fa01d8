import { open } from 'node:fs/promises';

/** Cylinder, head, sector, as a partition table keeps them. */
export type Chs = readonly [cylinder: number, head: number, sector: number];

/** One partition as its table entry says it, right or wrong. */
export type Entry = {
  readonly type: number;
  readonly start: Chs;
  readonly end: Chs;
  readonly firstLba: number;
  readonly sectors: number;
};

/** A sector's address in a geometry, as `fdisk` would write it. */
export function chsOf(lba: number, heads: number, sectors: number): Chs {
  const cylinder = Math.floor(lba / (heads * sectors));
  // What lies beyond cylinder 1023 is written as the last address there is.
  if (cylinder > 1023) return [1023, heads - 1, sectors];
  return [cylinder, Math.floor(lba / sectors) % heads, (lba % sectors) + 1];
}

/** A partition that ends where the disk does, with addresses true for one geometry. */
export function wholeDisk(sizeBytes: number, firstLba: number, heads: number): Entry {
  const last = sizeBytes / 512 - 1;
  return {
    type: 6,
    start: chsOf(firstLba, heads, 63),
    end: chsOf(last, heads, 63),
    firstLba,
    sectors: last - firstLba + 1,
  };
}

/** Makes a sparse disk with a boot record, and marks of four letters at sectors. */
export async function makeDisk(
  file: string,
  sizeBytes: number,
  parts: {
    readonly code?: Uint8Array;
    readonly entries?: readonly Entry[];
    readonly marks?: readonly { readonly lba: number; readonly text: string }[];
  },
): Promise<void> {
  const record = Buffer.alloc(512);
  record.set(parts.code ?? [], 0);
  parts.entries?.forEach((entry, n) => record.set(encodeEntry(entry), 446 + 16 * n));
  record.set([0x55, 0xaa], 510);
  const disk = await open(file, 'w');
  try {
    await disk.truncate(sizeBytes);
    await disk.write(record, 0, 512, 0);
    for (const mark of parts.marks ?? []) await disk.write(mark.text, mark.lba * 512, 'latin1');
  } finally {
    await disk.close();
  }
}

function encodeEntry(entry: Entry): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.set(encodeChs(entry.start), 1);
  bytes.writeUInt8(entry.type, 4);
  bytes.set(encodeChs(entry.end), 5);
  bytes.writeUInt32LE(entry.firstLba, 8);
  bytes.writeUInt32LE(entry.sectors, 12);
  return bytes;
}

function encodeChs([cylinder, head, sector]: Chs): number[] {
  return [head, sector | ((cylinder >> 8) << 6), cylinder & 255];
}
