import { constants, fstatSync, ftruncateSync, read, write } from 'node:fs';
import { chmod, copyFile, rm } from 'node:fs/promises';
import { promisify } from 'node:util';
import { EnvironmentError, errnoOf } from '#base/mod.ts';
import { seekData, seekHole } from '#os/mod.ts';

const readAt = promisify(read);
const writeAt = promisify(write);

/** One read: large enough that the disk streams, small enough that a cancel is prompt. */
const CHUNK_BYTES = 1024 * 1024;
/** Zeros are left out in units of this. */
const HOLE_BYTES = 64 * 1024;
const ZEROS = Buffer.alloc(HOLE_BYTES);

/**
 * Shares the blocks of `from` with a new file `to` where the file system can (XFS, Btrfs, ZFS, NFS
 * 4.2): instant, and no space. False where it cannot; then `to` does not exist.
 */
export async function reflink(from: string, to: string): Promise<boolean> {
  try {
    await copyFile(from, to, constants.COPYFILE_FICLONE_FORCE | constants.COPYFILE_EXCL);
    // It takes over the mode of a frozen image too.
    await chmod(to, 0o600);
    return true;
  } catch (e) {
    await rm(to, { force: true });
    const cannot = ['ENOTSUP', 'EOPNOTSUPP', 'EXDEV', 'EINVAL', 'ENOSYS', 'ENOTTY'];
    if (cannot.includes(errnoOf(e) ?? '')) return false;
    throw e;
  }
}

/** What a copy reports and obeys. */
export type CopyWork = {
  readonly signal?: AbortSignal;
  readonly copied?: (doneBytes: number) => void;
};

/**
 * Copies `sizeBytes` from one open file to another that is empty, keeping holes as holes and making
 * holes of zeros. Rejects with the signal's reason when aborted.
 */
export async function copySparse(
  from: number,
  to: number,
  sizeBytes: number,
  work: CopyWork = {},
): Promise<void> {
  ftruncateSync(to, sizeBytes);
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  const findsHoles = fstatSync(from).isFile();
  for (let at = 0; at < sizeBytes;) {
    const data = findsHoles ? seekData(from, at) : at;
    if (data < 0 || data >= sizeBytes) break;
    const end = findsHoles ? Math.min(seekHole(from, data), sizeBytes) : sizeBytes;
    for (at = data; at < end;) {
      work.signal?.throwIfAborted();
      const { bytesRead } = await readAt(from, buffer, 0, Math.min(CHUNK_BYTES, end - at), at);
      if (bytesRead === 0) {
        throw new EnvironmentError('short-read', {
          what: `the source ended at byte ${at} while it was copied`,
          why: 'something has made it shorter',
        });
      }
      await writeData(to, buffer.subarray(0, bytesRead), at);
      at += bytesRead;
      work.copied?.(at);
    }
  }
  work.copied?.(sizeBytes);
}

async function writeData(to: number, bytes: Buffer, position: number): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    const zero = isZero(bytes, at);
    let end = at + HOLE_BYTES;
    while (end < bytes.length && isZero(bytes, end) === zero) end += HOLE_BYTES;
    end = Math.min(end, bytes.length);
    if (!zero) await writeAll(to, bytes.subarray(at, end), position + at);
    at = end;
  }
}

async function writeAll(to: number, bytes: Buffer, position: number): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    const { bytesWritten } = await writeAt(to, bytes, at, bytes.length - at, position + at);
    at += bytesWritten;
  }
}

function isZero(bytes: Buffer, at: number): boolean {
  const end = Math.min(at + HOLE_BYTES, bytes.length);
  return bytes.compare(ZEROS, 0, end - at, at, end) === 0;
}
