import { write } from 'node:fs';
import type { BlockDone } from './device.ts';
import { blockErrorOf } from './raw-error.ts';

/** Zeros are written in pieces of this size where the file system cannot zero by itself. */
const ZERO_PIECE_BYTES = 1024 * 1024;

/** Writes all of the bytes in the thread pool, however little the kernel takes at a time. */
export function writeAll(
  fd: number,
  offsetBytes: number,
  from: Uint8Array,
  at: number,
  lengthBytes: number,
  done: BlockDone,
): void {
  write(fd, from, at, lengthBytes, offsetBytes, (e, count) => {
    if (e !== null) done(blockErrorOf(e, 'write', offsetBytes));
    else if (count === lengthBytes) done(null);
    else writeAll(fd, offsetBytes + count, from, at + count, lengthBytes - count, done);
  });
}

/** Writes zeros, for file systems that cannot zero a range. */
export function writeZeros(
  fd: number,
  offsetBytes: number,
  lengthBytes: number,
  done: BlockDone,
): void {
  const zeros = new Uint8Array(Math.min(ZERO_PIECE_BYTES, lengthBytes));
  const step = (finished: number): void => {
    if (finished >= lengthBytes) return done(null);
    const length = Math.min(zeros.length, lengthBytes - finished);
    return writeAll(fd, offsetBytes + finished, zeros, 0, length, (error) => {
      if (error !== null) done(error);
      else step(finished + length);
    });
  };
  step(0);
}
