import { constants } from 'node:os';
import { bindCall, check, lastErrno, systemError } from './libc.ts';
import type { EnvironmentError } from '#base/mod.ts';

/**
 * Space inside files and block devices: fallocate(2) and lseek(2) with SEEK_DATA/SEEK_HOLE. The
 * plain forms run in the caller's thread; the `…Async` forms in libuv's thread pool.
 * All errors are EnvironmentError with the errno name as code: `ENOTSUP` (Node's name of
 * EOPNOTSUPP) where the file system cannot, `ENOSPC`, `EIO`.
 */
const KEEP_SIZE = 0x01;
const PUNCH_HOLE = 0x02;
const ZERO_RANGE = 0x10;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;

const fallocate = bindCall('int fallocate(int fd, int mode, int64_t offset, int64_t length)');
const lseek = bindCall('int64_t lseek(int fd, int64_t offset, int whence)');

/** Called once with null, or with what went wrong. */
export type SpaceDone = (error: EnvironmentError | null) => void;

/** Makes `lengthBytes` at `offsetBytes` read as zeros and gives the space back; keeps the size. */
export function punchHole(fd: number, offsetBytes: number, lengthBytes: number): void {
  check(fallocate()(fd, PUNCH_HOLE | KEEP_SIZE, offsetBytes, lengthBytes), 'cannot punch a hole');
}

/** `punchHole` in the thread pool. */
export function punchHoleAsync(fd: number, offset: number, length: number, done: SpaceDone): void {
  allocateAsync(fd, PUNCH_HOLE | KEEP_SIZE, offset, length, 'cannot punch a hole', done);
}

/**
 * Makes `lengthBytes` at `offsetBytes` read as zeros and keeps the space allocated; keeps the size.
 * ENOTSUP on tmpfs and others: then the caller writes zeros.
 */
export function zeroRange(fd: number, offsetBytes: number, lengthBytes: number): void {
  check(fallocate()(fd, ZERO_RANGE | KEEP_SIZE, offsetBytes, lengthBytes), 'cannot zero a range');
}

/** `zeroRange` in the thread pool. */
export function zeroRangeAsync(fd: number, offset: number, length: number, done: SpaceDone): void {
  allocateAsync(fd, ZERO_RANGE | KEEP_SIZE, offset, length, 'cannot zero a range', done);
}

function allocateAsync(
  fd: number,
  mode: number,
  offset: number,
  length: number,
  what: string,
  done: SpaceDone,
): void {
  fallocate().async(fd, mode, offset, length, (_error, result) => {
    // koffi carries errno over from the thread that made the call.
    done(result < 0 ? systemError(lastErrno(), what) : null);
  });
}

/**
 * The offset of the first data at or after `offsetBytes`, or -1 when only a hole follows. A file
 * system without holes says that all is data.
 */
export function seekData(fd: number, offsetBytes: number): number {
  return seek(fd, offsetBytes, SEEK_DATA, 'cannot look for data');
}

/**
 * The offset of the first hole at or after `offsetBytes` (the end counts as one); -1 past the end.
 */
export function seekHole(fd: number, offsetBytes: number): number {
  return seek(fd, offsetBytes, SEEK_HOLE, 'cannot look for a hole');
}

function seek(fd: number, offset: number, whence: number, what: string): number {
  const at = lseek()(fd, offset, whence);
  if (at >= 0) return at;
  const errno = lastErrno();
  if (errno === constants.errno.ENXIO) return -1;
  throw systemError(errno, what);
}
