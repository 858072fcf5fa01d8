import { stat } from 'node:fs/promises';
import type { Stats } from 'node:fs';
import { EnvironmentError, UserError, errnoOf, messageOf } from '#base/mod.ts';
import type { BasePool } from './base-pool.ts';
import { CachedDevice } from './cache/cached-device.ts';
import type { BlockDevice } from './device.ts';
import { VolatileDevice } from './filter/volatile.ts';
import { openNbd } from './nbd/open-nbd.ts';
import { openQcow2 } from './qcow2/mod.ts';
import { openRaw } from './raw-open.ts';

/**
 * What a frozen base's file looked like when it was frozen; made by `frozenFile`. `mtimeMs` is in
 * whole milliseconds.
 */
export type FrozenFile = {
  readonly sizeBytes: number;
  readonly inode: number;
  readonly mtimeMs: number;
};

/** A raw file or block device; an ISO has `blockBytes` 2048. */
export type RawSource = {
  readonly kind: 'raw';
  readonly path: string;
  /** Logical block of the disk that is shown: 512, 2048 or 4096; default 512. */
  readonly blockBytes?: number;
  /**
   * Keep what is read most in memory while it is open read-only. Default: an NBD export yes, a file
   * no, because the kernel's page cache serves it as fast (bench/cache.ts). Worth it for a file on
   * a slow file system that the kernel does not cache.
   */
  readonly cached?: boolean;
  /** Refuse to open a file that is no longer the one that was frozen (hostile case 36). */
  readonly frozen?: FrozenFile;
};

/**
 * A qcow2 file. Its base is what `backing` says, never what is written inside the file (hostile
 * case 35): a file that needs a base is refused without one.
 */
export type Qcow2Source = {
  readonly kind: 'qcow2';
  readonly path: string;
  readonly backing?: DiskSource;
  /** Logical block of the disk that is shown; default 512, or the base's where that is larger. */
  readonly blockBytes?: number;
  readonly cached?: boolean;
  readonly frozen?: FrozenFile;
};

/** An export of an NBD server: `nbd://host[:port]/export` or `nbd+unix:///export?socket=/path`. */
export type NbdSource = {
  readonly kind: 'nbd';
  readonly url: string;
  /** Logical block of the disk that is shown; default 512, or the server's minimum. */
  readonly blockBytes?: number;
  readonly cached?: boolean;
};

/** What a disk is made of, as plain data: it travels between threads and into the store. */
export type DiskSource = RawSource | Qcow2Source | NbdSource;

/** How a disk is opened. Its bases are always opened read-only, whatever is said here. */
export type OpenOptions = {
  readonly readOnly?: boolean;
  /**
   * Durability contract 9: nothing of this disk is kept over a power cut, by its owner's choice, so
   * a flush does nothing. Also the only way to write to an NBD export that cannot flush.
   */
  readonly volatile?: boolean;
};

/**
 * Levels of a chain, the disk itself counted: each costs a look-up for every cluster that is not
 * above, and 200 disks on chains this long still open within the memory of one.
 */
export const CHAIN_LEVELS_MAX = 32;

/**
 * Opens a disk and everything that it stands on. What is only read, bases and a disk that is opened
 * read-only, comes through `pool`: shared lock, and one open device for all disks of this thread. A
 * disk that can be written has a lock of its own.
 *
 * Throws `UserError` (missing, in use, not what was frozen, a chain that is too long or meets
 * itself, a format that cannot be read) or `EnvironmentError`. Nothing stays open when it throws.
 */
export async function openDisk(
  source: DiskSource,
  options: OpenOptions,
  pool: BasePool,
): Promise<BlockDevice> {
  await refuseBadChain(source);
  if (options.readOnly === true) return openShared(source, pool);
  const device = await openOne(source, options, pool);
  return options.volatile === true ? new VolatileDevice(device) : device;
}

/**
 * What to remember of a file that becomes a base. Throws `UserError` where there is no such file or
 * it is none (a block device keeps no time of its last change: use the volume manager's snapshot).
 */
export async function frozenFile(path: string): Promise<FrozenFile> {
  const stats = await look(path);
  if (stats.isFile()) return frozenOf(stats);
  throw new UserError('unsupported', 'freeze-kind', {
    what: `"${path}" cannot be frozen`,
    why: 'it is no regular file, so a later change of it could not be seen',
    todo: 'use a read-only snapshot of the volume as the base',
  });
}

async function openShared(source: DiskSource, pool: BasePool): Promise<BlockDevice> {
  const key = await poolKeyOf(source);
  return pool.acquire(key, async () => {
    const device = await openOne(source, { readOnly: true }, pool);
    const cached = source.cached ?? source.kind === 'nbd';
    return cached ? new CachedDevice(device, pool.hotBlocks) : device;
  });
}

async function openOne(
  source: DiskSource,
  options: OpenOptions,
  pool: BasePool,
): Promise<BlockDevice> {
  const readOnly = options.readOnly ?? false;
  const shown = source.blockBytes === undefined ? {} : { blockBytes: source.blockBytes };
  if (source.kind === 'nbd') {
    return openNbd(source.url, { ...shown, readOnly, volatile: options.volatile ?? false });
  }
  await refuseThawed(source);
  const device =
    source.kind === 'raw'
      ? await openRaw(source.path, { ...shown, readOnly })
      : await openOverlay(source, { ...shown, readOnly }, pool);
  return stillFrozen(source, device);
}

async function openOverlay(
  source: Qcow2Source,
  options: { readonly readOnly: boolean; readonly blockBytes?: number },
  pool: BasePool,
): Promise<BlockDevice> {
  const { path } = source;
  if (source.backing === undefined) return openQcow2(path, options);
  const backing = await openShared(source.backing, pool);
  try {
    return await openQcow2(path, { ...options, backing, ownsBacking: true });
  } catch (e) {
    await closed(backing);
    throw e;
  }
}

function closed(device: BlockDevice): Promise<void> {
  return new Promise((resolve) => {
    device.close(() => {
      resolve();
    });
  });
}

/** Looks again once the lock is held: nobody who asks for locks can change it from here on. */
async function stillFrozen<T extends BlockDevice>(
  source: RawSource | Qcow2Source,
  device: T,
): Promise<T> {
  try {
    await refuseThawed(source);
    return device;
  } catch (e) {
    await closed(device);
    throw e;
  }
}

async function refuseThawed(source: RawSource | Qcow2Source): Promise<void> {
  const { frozen, path } = source;
  if (frozen === undefined) return;
  const now = frozenOf(await look(path));
  const changes = [
    now.inode === frozen.inode ? '' : 'it is another file of that name',
    now.sizeBytes === frozen.sizeBytes
      ? ''
      : `it has ${now.sizeBytes} bytes and had ${frozen.sizeBytes}`,
    now.mtimeMs === frozen.mtimeMs
      ? ''
      : `it was last changed at ${isoTime(now.mtimeMs)}, not at ${isoTime(frozen.mtimeMs)}`,
  ].filter((c) => c !== '');
  if (changes.length === 0) return;
  throw new UserError('conflict', 'base-changed', {
    what: `the base "${path}" is not what it was when it was frozen, so nothing on it is opened`,
    why: changes.join('; '),
    todo: 'put the file back as it was, or rebuild what stands on it from a whole copy',
  });
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}

function frozenOf(stats: Stats): FrozenFile {
  return { sizeBytes: stats.size, inode: stats.ino, mtimeMs: Math.floor(stats.mtimeMs) };
}

async function look(path: string): Promise<Stats> {
  try {
    return await stat(path);
  } catch (cause) {
    const code = errnoOf(cause) ?? 'unknown';
    if (code === 'ENOENT' || code === 'ENOTDIR') {
      throw new UserError('not-found', 'image-missing', { what: `there is no image "${path}"` });
    }
    const what = `the image "${path}" cannot be opened`;
    throw new EnvironmentError(code, { what, why: messageOf(cause) }, { cause });
  }
}

/**
 * Bounds the chain, and refuses one that meets itself or has a changed base (hostile case 35, 36).
 */
async function refuseBadChain(source: DiskSource): Promise<void> {
  const seen = new Set<string>();
  let level: DiskSource | undefined = source;
  while (level !== undefined) {
    if (seen.size === CHAIN_LEVELS_MAX) {
      throw new UserError('invalid', 'chain-long', {
        what: `the disk stands on more than ${CHAIN_LEVELS_MAX - 1} others`,
        todo: 'flatten one of them',
      });
    }
    const key = await identityOf(level);
    if (seen.has(key)) {
      throw new UserError('invalid', 'chain-loop', { what: `the disk stands on itself (${key})` });
    }
    seen.add(key);
    // Also where the base is open already for another disk.
    if (level.kind !== 'nbd') await refuseThawed(level);
    level = level.kind === 'qcow2' ? level.backing : undefined;
  }
}

/** The same for two names of one file. */
async function identityOf(source: DiskSource): Promise<string> {
  if (source.kind === 'nbd') return source.url;
  const stats = await look(source.path);
  return stats.isBlockDevice() ? `device ${stats.rdev}` : `file ${stats.dev}:${stats.ino}`;
}

/** Two disks share a base when this is the same: the file, how it is read, and what is below. */
async function poolKeyOf(source: DiskSource): Promise<string> {
  const below =
    source.kind === 'qcow2' && source.backing !== undefined ? await poolKeyOf(source.backing) : '';
  const { kind, blockBytes, cached } = source;
  return [kind, await identityOf(source), blockBytes ?? '', cached ?? '', below].join(' | ');
}
