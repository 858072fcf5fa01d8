import { closeSync, openSync, readSync, fstatSync, constants } from 'node:fs';
import { printable, UserError } from '#base/mod.ts';
import type { DiskFormat } from './formats.ts';

/** Formats that qemu-img reads for us. */
export type ForeignFormat = Exclude<DiskFormat, 'raw' | 'qcow2'>;

const SECTOR_BYTES = 512;
/** DESC_SIZE of QEMU's block/vmdk.c. */
const QEMU_DESCRIPTOR_BYTES = 20 * SECTOR_BYTES;
/** Descriptors of vmdk files have some hundred bytes; VMware allows 20 sectors. */
const DESCRIPTOR_BYTES_MAX = 64 * 1024;

/**
 * Looks at what a file says about itself before qemu-img opens it, and refuses all that could make
 * qemu-img open another file (hostile case 35): vmdk descriptors that name extents or a parent,
 * differencing VHD, VHDX and VDI. Throws UserError `foreign-parts` or `format-wrong`.
 */
export function checkForeign(path: string, format: ForeignFormat): void {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const read: Read = (at, length) => {
      const bytes = Buffer.alloc(length);
      return bytes.subarray(0, readSync(fd, bytes, 0, length, at));
    };
    checkForeignBytes(path, format, read, fstatSync(fd).size);
  } finally {
    closeSync(fd);
  }
}

/** Reads what is there of a range of a file. */
type Read = (at: number, length: number) => Buffer;

/** `checkForeign` for bytes that are read by `read`; `path` is for the messages. */
export function checkForeignBytes(
  path: string,
  format: ForeignFormat,
  read: Read,
  sizeBytes: number,
): void {
  CHECKS[format](path, read, sizeBytes);
}

const CHECKS: Readonly<Record<ForeignFormat, (path: string, read: Read, size: number) => void>> = {
  vmdk: checkVmdk,
  vpc: checkVhd,
  vhdx: checkVhdx,
  vdi: checkVdi,
};

/** VMware Virtual Disk Format 1.1 §"Hosted sparse extents": magic, version, flags, capacity … */
function checkVmdk(path: string, read: Read): void {
  const header = read(0, SECTOR_BYTES);
  // A descriptor alone names its extents by path; so can one in a sparse file without capacity.
  if (header.length < SECTOR_BYTES || header.toString('latin1', 0, 4) !== 'KDMV') {
    throw foreign(path, 'it is a descriptor that names other files, or no vmdk at all');
  }
  if (header.readBigUInt64LE(12) === 0n) {
    throw foreign(path, 'it is a descriptor that names other files');
  }
  const at = Number(header.readBigUInt64LE(28)) * SECTOR_BYTES;
  const length = Number(header.readBigUInt64LE(36)) * SECTOR_BYTES;
  if (at === 0) throw foreign(path, 'it is one part of a disk of several files');
  if (!Number.isSafeInteger(at) || length > DESCRIPTOR_BYTES_MAX) throw wrong(path, 'vmdk');
  const text = read(at, length).toString('latin1').split('\0')[0] ?? '';
  const said = (key: string): string | undefined =>
    new RegExp(`^\\s*${key}\\s*=\\s*"?([^"\\r\\n]*)"?`, 'im').exec(text)?.[1];
  if (!/^(monolithicSparse|streamOptimized)$/i.test(said('createType') ?? '')) {
    throw foreign(path, `its kind is "${printable(said('createType') ?? 'none', 40)}"`);
  }
  const parent = said('parentCID')?.toLowerCase() ?? 'ffffffff';
  // QEMU looks for the parent at a fixed place, wherever the header says that the descriptor is.
  const fixed = read(SECTOR_BYTES, QEMU_DESCRIPTOR_BYTES).toString('latin1');
  if (parent !== 'ffffffff' || `${text}${fixed}`.includes('parentFileNameHint')) {
    throw foreign(path, 'it stands on another file');
  }
}

/**
 * Virtual Hard Disk Image Format Specification: footer, disk type 2 fixed, 3 dynamic, 4 difference.
 */
function checkVhd(path: string, read: Read, size: number): void {
  const cookie = (bytes: Buffer): boolean => bytes.toString('latin1', 0, 8) === 'conectix';
  const footer = size < SECTOR_BYTES ? Buffer.alloc(0) : read(size - SECTOR_BYTES, SECTOR_BYTES);
  const copy = read(0, SECTOR_BYTES);
  const found = [copy, footer].filter((bytes) => bytes.length === SECTOR_BYTES && cookie(bytes));
  if (found.length === 0) throw wrong(path, 'vhd');
  for (const bytes of found) {
    const type = bytes.readUInt32BE(60);
    if (type !== 2 && type !== 3) throw foreign(path, 'it holds only the difference to another');
  }
}

/**
 * MS-VHDX 2.6.2.1: the file parameters in the metadata region say HasParent; qemu-img looks too.
 */
function checkVhdx(path: string, read: Read): void {
  if (read(0, 8).toString('latin1') !== 'vhdxfile') throw wrong(path, 'vhdx');
}

/** VirtualBox VDICore.h: signature at 64, image type at 76: 1 dynamic, 2 fixed. */
function checkVdi(path: string, read: Read): void {
  const header = read(0, SECTOR_BYTES);
  if (header.length < SECTOR_BYTES || header.readUInt32LE(64) !== 0xbeda107f) {
    throw wrong(path, 'vdi');
  }
  const type = header.readUInt32LE(76);
  if (type !== 1 && type !== 2) throw foreign(path, 'it holds only the difference to another');
}

function foreign(path: string, why: string): UserError {
  return new UserError('invalid', 'foreign-parts', {
    what: `${path} cannot be taken into the library`,
    why,
    todo: 'where it was made, write it as one plain file: qemu-img convert -O qcow2 OLD NEW',
  });
}

function wrong(path: string, format: string): UserError {
  return new UserError('invalid', 'format-wrong', {
    what: `${path} is no ${format} file`,
    todo: 'was it copied completely? If it is of another kind, say so with --format',
  });
}
