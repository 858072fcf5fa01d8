import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { DecodeError, EnvironmentError, UserError, errnoOf, messageOf } from '#base/mod.ts';
import { backingOf, dataFileOf, encryptionOf, has, unknownFeatures } from './features.ts';
import { Compatible, ExtensionType, Incompatible, decodeHeader, extensionOf } from './header.ts';
import type { Header } from './header.ts';
import { HEADER_BYTES_MAX, SNAPSHOT_TABLE_BYTES_MAX } from './limits.ts';
import { decodeSnapshotTable, describeSnapshot } from './snapshot-table.ts';
import type { SnapshotEntry } from './snapshot-table.ts';
import type { Qcow2Info } from './types.ts';

/**
 * What the qcow2 file at `path` says about itself: looks, opens nothing that the file names, takes
 * no lock, and is safe on hostile files. Also tells of images that `openQcow2` refuses.
 * Throws UserError (missing, no regular file, no qcow2 image or a broken one) or EnvironmentError.
 */
export async function readQcow2Info(path: string): Promise<Qcow2Info> {
  const file = await opened(path);
  try {
    const stats = await file.stat();
    if (!stats.isFile() && !stats.isBlockDevice()) {
      throw new UserError('invalid', 'image-kind', {
        what: `"${path}" cannot be used as an image`,
        why: 'it is not a regular file',
      });
    }
    // A block device's length is not in its stats; what is read then bounds everything else.
    const fileBytes = stats.isFile() ? stats.size : Number.MAX_SAFE_INTEGER;
    const header = decodeHeader(await readAt(file, 0, HEADER_BYTES_MAX), fileBytes);
    const snapshots = await snapshotsOf(file, header);
    return infoOf(header, snapshots, fileBytes);
  } catch (e) {
    throw explained(path, e);
  } finally {
    await file.close();
  }
}

async function opened(path: string): Promise<FileHandle> {
  try {
    // O_NONBLOCK: a FIFO must not hold us.
    return await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (e) {
    throw explained(path, e);
  }
}

async function readAt(file: FileHandle, position: number, lengthMax: number): Promise<Uint8Array> {
  const bytes = Buffer.alloc(lengthMax);
  let length = 0;
  while (length < lengthMax) {
    const { bytesRead } = await file.read(bytes, length, lengthMax - length, position + length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return bytes.subarray(0, length);
}

async function snapshotsOf(file: FileHandle, header: Header): Promise<readonly SnapshotEntry[]> {
  if (header.snapshotCount === 0) return [];
  // An entry has 40 bytes and two names: 64 KiB for the first look, all of it when that is short.
  const few = await readAt(file, header.snapshotsOffset, HEADER_BYTES_MAX);
  const { snapshotCount, clusterBits } = header;
  try {
    return decodeSnapshotTable(few, snapshotCount, 2 ** clusterBits).entries;
  } catch (e) {
    if (!(e instanceof DecodeError) || few.length < HEADER_BYTES_MAX) throw e;
  }
  const all = await readAt(file, header.snapshotsOffset, SNAPSHOT_TABLE_BYTES_MAX);
  return decodeSnapshotTable(all, snapshotCount, 2 ** clusterBits).entries;
}

/** Puts header and snapshots into the form that people read. */
export function infoOf(
  header: Header,
  snapshots: readonly SnapshotEntry[],
  fileBytes: number,
): Qcow2Info {
  return {
    version: header.version,
    sizeBytes: header.sizeBytes,
    clusterBytes: 2 ** header.clusterBits,
    refcountBits: 2 ** header.refcountOrder,
    extendedL2: has(header, Incompatible.EXTENDED_L2),
    lazyRefcounts: (header.compatible & BigInt(Compatible.LAZY_REFCOUNTS)) !== 0n,
    compression: header.compressionType === 1 ? 'zstd' : 'zlib',
    dirty: has(header, Incompatible.DIRTY),
    corrupt: has(header, Incompatible.CORRUPT),
    backing: backingOf(header),
    snapshots: snapshots.map((s) => describeSnapshot(s, header.sizeBytes)),
    dataFile: dataFileOf(header),
    encryption: encryptionOf(header),
    bitmaps: extensionOf(header, ExtensionType.BITMAPS) !== undefined,
    unknownFeatures: unknownFeatures(header),
    fileBytes,
  };
}

/** An error of opening or reading an image, for people. */
export function explained(path: string, e: unknown): unknown {
  if (e instanceof DecodeError) {
    const what = `"${path}" is no qcow2 image that can be used`;
    return new UserError('invalid', 'qcow2-invalid', { what, why: e.message }, { cause: e });
  }
  const code = errnoOf(e);
  if (code === undefined || e instanceof UserError || e instanceof EnvironmentError) return e;
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    const what = `there is no image "${path}"`;
    return new UserError('not-found', 'image-missing', { what }, { cause: e });
  }
  const what = `the image "${path}" cannot be read`;
  return new EnvironmentError(code, { what, why: messageOf(e) }, { cause: e });
}
