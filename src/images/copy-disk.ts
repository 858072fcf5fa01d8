import type { BlockDevice } from '#block/mod.ts';
import { write } from 'node:fs';
import { promisify } from 'node:util';
import { answered } from '#block/mod.ts';
import type { CopyWork } from './copy.ts';

const writeAt = promisify(write);

/** One read: large enough that the disk streams, small enough that a cancel is prompt. */
const CHUNK_BYTES = 1024 * 1024;
/** One question about holes; a qcow2 chain answers it from its tables. */
const EXTENT_BYTES = 1024 * 1024 * 1024;
/** Zeros are left out in units of this. */
const HOLE_BYTES = 64 * 1024;
const ZEROS = Buffer.alloc(HOLE_BYTES);

/** Where the data of a copied disk goes; what is not written reads as zeros. */
export type DataSink = (offsetBytes: number, bytes: Uint8Array) => Promise<void>;

/**
 * Reads all of a disk that is not zeros, in order. Holes of the disk are not read. Rejects with the
 * signal's reason, a BlockError, or what `sink` rejects with.
 */
export async function copyDisk(
  device: BlockDevice,
  sink: DataSink,
  work: CopyWork = {},
): Promise<void> {
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  const { sizeBytes } = device;
  for (let at = 0; at < sizeBytes;) {
    const extent = device.extentAt(at, Math.min(EXTENT_BYTES, sizeBytes - at));
    const end = at + extent.lengthBytes;
    while (extent.state === 'data' && at < end) {
      work.signal?.throwIfAborted();
      const length = Math.min(CHUNK_BYTES, end - at);
      await answered((done) => {
        device.read(at, buffer, 0, length, done);
      });
      await sinkData(sink, at, buffer.subarray(0, length));
      at += length;
      work.copied?.(at);
    }
    at = end;
    work.signal?.throwIfAborted();
  }
  work.copied?.(sizeBytes);
}

/** A sink that writes to an empty file. */
export function fileSink(fd: number): DataSink {
  return async (offset, bytes) => {
    for (let at = 0; at < bytes.length;) {
      const { bytesWritten } = await writeAt(fd, bytes, at, bytes.length - at, offset + at);
      at += bytesWritten;
    }
  };
}

/** A sink that writes to a disk as large as the source. */
export function deviceSink(device: BlockDevice): DataSink {
  return (offset, bytes) =>
    answered((done) => {
      device.write(offset, bytes, 0, bytes.length, done);
    });
}

async function sinkData(sink: DataSink, offset: number, bytes: Buffer): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    const zero = isZero(bytes, at);
    let end = at + HOLE_BYTES;
    while (end < bytes.length && isZero(bytes, end) === zero) end += HOLE_BYTES;
    end = Math.min(end, bytes.length);
    if (!zero) await sink(offset + at, bytes.subarray(at, end));
    at = end;
  }
}

function isZero(bytes: Buffer, at: number): boolean {
  const end = Math.min(at + HOLE_BYTES, bytes.length);
  return bytes.compare(ZEROS, 0, end - at, at, end) === 0;
}
