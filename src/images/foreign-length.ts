import { open } from 'node:fs/promises';
import { UserError } from '#base/mod.ts';
import type { ForeignFormat } from './foreign-formats.ts';

const SECTOR_BYTES = 512;
/** More than the tables of the largest disk have; what is larger, qemu-img refuses. */
const TABLE_BYTES_MAX = 32 * 2 ** 20;

/** Reads what is there of a range of a file. */
type Read = (at: number, length: number) => Promise<Buffer>;

/**
 * Refuses a vmdk or VDI that is shorter than its own tables say: qemu-img takes what is missing for
 * zeros, so a download that ended too early would be a disk without its end. (It sees itself that a
 * VHD or VHDX was cut short.) Rejects with UserError `image-broken`, or the signal's reason.
 */
export async function refuseCutShort(
  path: string,
  format: ForeignFormat,
  signal?: AbortSignal,
): Promise<void> {
  if (format !== 'vmdk' && format !== 'vdi') return;
  const file = await open(path, 'r');
  try {
    const read: Read = async (at, length) => {
      signal?.throwIfAborted();
      const buffer = Buffer.alloc(length);
      const { bytesRead } = await file.read(buffer, 0, length, at);
      return buffer.subarray(0, bytesRead);
    };
    const stats = await file.stat();
    // A device says nothing of where its content ends.
    if (!stats.isFile()) return;
    const { size } = stats;
    const neededBytes = format === 'vdi' ? await vdiEnd(read) : await vmdkEnd(read, size);
    if (neededBytes > size) throw cutShort(path, size);
  } finally {
    await file.close();
  }
}

/** VirtualBox VDICore.h, header 1.1: where the blocks begin, their size, how many there are. */
async function vdiEnd(read: Read): Promise<number> {
  const header = await read(0, SECTOR_BYTES);
  if (header.length < SECTOR_BYTES) return Infinity;
  const blockBytes = header.readUInt32LE(0x178) + header.readUInt32LE(0x17c);
  return header.readUInt32LE(0x158) + header.readUInt32LE(0x184) * blockBytes;
}

/** Bits of the flags: grains are packed, and behind one another with a word before each. */
const VMDK_STREAM = 0x30000;
/** Entries of a grain table that name no place in the file: absent, and all zeros. */
const VMDK_PLACES_FROM = 2;

/**
 * VMware Virtual Disk Format 1.1 §"Hosted sparse extents": a directory of tables of grains. Of a
 * stream qemu-img misses what is not there by itself.
 */
async function vmdkEnd(read: Read, fileBytes: number): Promise<number> {
  const header = await read(0, SECTOR_BYTES);
  if (header.length < SECTOR_BYTES) return Infinity;
  if ((header.readUInt32LE(8) & VMDK_STREAM) !== 0) return 0;
  const capacity = Number(header.readBigUInt64LE(12));
  const grain = Number(header.readBigUInt64LE(20));
  const perTable = header.readUInt32LE(44);
  const directoryAt = Number(header.readBigUInt64LE(56)) * SECTOR_BYTES;
  const tables = Math.ceil(capacity / grain / perTable);
  // Numbers that cannot be: qemu-img says which.
  if (!(tables * 4 <= TABLE_BYTES_MAX && perTable * 4 <= TABLE_BYTES_MAX)) return 0;
  if (directoryAt + tables * 4 > fileBytes) return Infinity;
  const directory = await read(directoryAt, tables * 4);
  let end = 0;
  for (let t = 0; t < tables; t++) {
    const tableAt = directory.readUInt32LE(t * 4) * SECTOR_BYTES;
    if (tableAt === 0) continue;
    const table = await read(tableAt, perTable * 4);
    if (table.length < perTable * 4) return Infinity;
    for (let n = 0; n < perTable; n++) {
      const at = table.readUInt32LE(n * 4);
      // The last grain need not be there behind the end of the disk.
      const sectors = Math.min(grain, capacity - (t * perTable + n) * grain);
      if (at >= VMDK_PLACES_FROM) end = Math.max(end, at + sectors);
    }
  }
  return end * SECTOR_BYTES;
}

/** The file ends before what its tables tell of. */
export function cutShort(path: string, fileBytes: number): UserError {
  return new UserError('invalid', 'image-broken', {
    what: `${path} is damaged`,
    why: `it ends at byte ${fileBytes}, and its tables tell of more`,
    todo: 'was it copied completely? Fetch it again',
  });
}
