import { close, constants, fstat, open } from 'node:fs';
import type { Stats } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { promisify } from 'node:util';
import { EnvironmentError, UserError, errnoOf, messageOf } from '#base/mod.ts';
import { blockDeviceGeometry, lockImage, punchHole, supportsNowait } from '#os/mod.ts';
import { fileSystemOf, residencyOn } from './file-system.ts';
import { RawDevice } from './raw.ts';

/** How a raw image is opened. */
export type RawOptions = {
  readonly readOnly?: boolean;
  /** Logical block of the disk we show: 512 unless the device's own is larger; 2048 for an ISO. */
  readonly blockBytes?: number;
  /** False only for a file that some other lock protects already. */
  readonly lock?: boolean;
};

/**
 * What a `RawDevice` is made of. `residency`: `ask` = RWF_NOWAIT tells what is cached; `always` =
 * the file system is memory, reading never waits; `never` = only the thread pool may read.
 */
export type RawFile = {
  readonly fd: number;
  readonly sizeBytes: number;
  readonly blockBytes: number;
  readonly physicalBlockBytes: number;
  readonly readOnly: boolean;
  readonly canDiscard: boolean;
  readonly residency: 'ask' | 'always' | 'never';
  /** mincore(2) can be believed, so that resident pages may be lent. */
  readonly tellsResidency: boolean;
  /** See `FileSystemKind`. */
  readonly writesByAddress: boolean;
  readonly locked: boolean;
  /** A regular file: it can be made larger from here. */
  readonly growable: boolean;
};

const openFd = promisify(open);
const closeFd = promisify(close);
const statFd = promisify(fstat);

/** What our initiators know how to boot from. */
const BLOCK_SIZES: readonly number[] = [512, 2048, 4096];
const PAGE_BYTES = 4096;
/** Whom the kernel names as owner where a user namespace does not know the real one. */
const NOBODY = 65_534;

/**
 * Opens a raw image, a regular file or a block device (symbolic links are followed), and locks it:
 * exclusively for writing, shared for reading.
 * Throws `UserError` (no such image, a folder or FIFO, a size that is no whole number of blocks, in
 * use elsewhere) or `EnvironmentError` (no permission and the like).
 */
export async function openRaw(path: string, options: RawOptions = {}): Promise<RawDevice> {
  const readOnly = options.readOnly ?? false;
  // Look before opening: opening a FIFO or a tape for a look can already do something.
  const before = await guarded(path, stat(path));
  refuseStranger(path, before);
  // O_EXCL on a block device: EBUSY when it is mounted or part of an array.
  const alone = before.isBlockDevice() && !readOnly ? constants.O_EXCL : 0;
  const access = readOnly ? constants.O_RDONLY : constants.O_RDWR;
  const flags = access | alone | constants.O_NONBLOCK;
  const fd = await guarded(path, openFd(path, flags));
  try {
    return new RawDevice(await inspect(fd, path, readOnly, options));
  } catch (e) {
    await closeFd(fd);
    throw e;
  }
}

async function inspect(
  fd: number,
  path: string,
  readOnly: boolean,
  options: RawOptions,
): Promise<RawFile> {
  const stats = await guarded(path, statFd(fd));
  refuseStranger(path, stats);
  const size = sizesOf(fd, stats, options.blockBytes);
  refuseBadSize(path, size);
  const locked = options.lock ?? true;
  if (locked) lockImage(fd, readOnly ? 'shared' : 'exclusive');
  const fileSystem = await guarded(path, fileSystemOf(path, stats));
  const residency = residencyOn(fileSystem, supportsNowait(fd));
  const canDiscard = !readOnly && (await discardWorks(fd, stats, size.sizeBytes));
  const growable = stats.isFile();
  const tellsResidency = !readOnly || mayBeTold(stats);
  const writesByAddress = fileSystem !== 'other';
  const how = { residency, tellsResidency, writesByAddress };
  return { fd, ...size, readOnly, canDiscard, ...how, locked, growable };
}

type Sizes = Pick<RawFile, 'sizeBytes' | 'blockBytes' | 'physicalBlockBytes'>;

function sizesOf(fd: number, stats: Stats, asked: number | undefined): Sizes {
  if (stats.isBlockDevice()) {
    const g = blockDeviceGeometry(fd);
    const blockBytes = Math.max(asked ?? 512, g.logicalBlockBytes);
    const physicalBlockBytes = Math.max(g.physicalBlockBytes, blockBytes);
    return { sizeBytes: g.sizeBytes, blockBytes, physicalBlockBytes };
  }
  const blockBytes = asked ?? 512;
  return {
    sizeBytes: stats.size,
    blockBytes,
    physicalBlockBytes: Math.max(PAGE_BYTES, blockBytes),
  };
}

function refuseBadSize(path: string, size: Sizes): void {
  if (!BLOCK_SIZES.includes(size.blockBytes)) {
    throw new UserError('invalid', 'image-block-size', {
      what: `"${path}" cannot be shown in blocks of ${size.blockBytes} bytes`,
      why: 'disks have blocks of 512, 2048 or 4096 bytes',
    });
  }
  if (size.sizeBytes > 0 && size.sizeBytes % size.blockBytes === 0) return;
  const empty = size.sizeBytes === 0;
  throw new UserError('invalid', 'image-size', {
    what: `"${path}" cannot be used as a disk`,
    why: empty
      ? 'it is empty'
      : `its size, ${size.sizeBytes} bytes, is no multiple of the block size, ${size.blockBytes}`,
    todo: `make it larger with: truncate -s %${size.blockBytes} "${path}"`,
  });
}

function refuseStranger(path: string, stats: Stats): void {
  if (stats.isFile() || stats.isBlockDevice()) return;
  const kind = stats.isDirectory()
    ? 'a folder'
    : stats.isFIFO()
      ? 'a FIFO'
      : stats.isSocket()
        ? 'a socket'
        : 'a character device';
  throw new UserError('invalid', 'image-kind', {
    what: `"${path}" cannot be used as a disk`,
    why: `it is ${kind}`,
    todo: 'name a regular file or a block device',
  });
}

/**
 * To those who may not write a file and do not own it, mincore(2) says that all of it is resident,
 * so as to tell nothing (Linux since 5.2). A container's root is not told of files that the
 * container has no user for.
 */
function mayBeTold(stats: Stats): boolean {
  const user = process.geteuid?.();
  return stats.uid === user || (user === 0 && stats.uid !== NOBODY);
}

/** Whether space can be given back, found without changing the image. */
async function discardWorks(fd: number, stats: Stats, sizeBytes: number): Promise<boolean> {
  if (stats.isFile()) {
    try {
      // Past the end there is nothing to lose, and KEEP_SIZE makes nothing.
      punchHole(fd, Math.ceil(sizeBytes / PAGE_BYTES) * PAGE_BYTES, PAGE_BYTES);
      return true;
    } catch {
      return false;
    }
  }
  // makedev(3): major in bits 8-19 (and 32-63), minor in 0-7 and 20-31.
  const major = Math.floor(stats.rdev / 256) % 4096;
  const minor = (stats.rdev % 256) + Math.floor(stats.rdev / 2 ** 20) * 256;
  const device = `/sys/dev/block/${major}:${minor}`;
  for (const queue of [`${device}/queue`, `${device}/../queue`]) {
    try {
      // What fallocate(PUNCH_HOLE) needs of a block device is write-zeroes, not discard.
      return Number(await readFile(`${queue}/write_zeroes_max_bytes`, 'latin1')) > 0;
    } catch {
      continue; // a partition has no queue of its own
    }
  }
  return false;
}

/** Waits for a call on the image, and says what a failure means. */
async function guarded<T>(path: string, call: Promise<T>): Promise<T> {
  try {
    return await call;
  } catch (cause) {
    const code = errnoOf(cause) ?? 'unknown';
    if (code === 'ENOENT' || code === 'ENOTDIR') {
      const what = `there is no image "${path}"`;
      throw new UserError('not-found', 'image-missing', { what }, { cause });
    }
    const why = messageOf(cause);
    const todo = HINT_BY_ERRNO[code];
    const what = `the image "${path}" cannot be opened`;
    throw new EnvironmentError(code, todo === undefined ? { what, why } : { what, why, todo }, {
      cause,
    });
  }
}

const HINT_BY_ERRNO: Readonly<Record<string, string>> = {
  EACCES: 'give this user the right to read and write the file, or use it read-only',
  EPERM: 'give this user the right to read and write the file, or use it read-only',
  EROFS: 'use it read-only, or put it on a file system that can be written',
  EBUSY: 'unmount the device, or end the program that uses it',
};
