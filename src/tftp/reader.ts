import { read as readFile } from 'node:fs';
import { promisify } from 'node:util';
import { preadNowait, supportsNowait } from '#os/mod.ts';

const readAsync = promisify(readFile);

/** What a stream of blocks reads from. */
export interface FileReader {
  readonly sizeBytes: number;
  /**
   * Reads `lengthBytes` at `positionBytes` into `into[at…]` when that needs no disk: the bytes
   * read, or -1 for "not now, call `read`".
   */
  readNow(into: Uint8Array, at: number, lengthBytes: number, positionBytes: number): number;
  /** The same, waiting for the disk in the thread pool. Fewer bytes only at the end of the file. */
  read(into: Uint8Array, at: number, lengthBytes: number, positionBytes: number): Promise<number>;
}

/** Reads an open file; the descriptor stays its owner's. */
export function descriptorReader(fd: number, sizeBytes: number): FileReader {
  const nowait = supportsNowait(fd);
  return {
    sizeBytes,
    readNow(into, at, lengthBytes, positionBytes) {
      // A part that is resident, or any errno: the thread pool reads the rest, or meets the error.
      const got = nowait ? preadNowait(fd, into, at, lengthBytes, positionBytes) : -1;
      return got === lengthBytes ? got : -1;
    },
    async read(into, at, lengthBytes, positionBytes) {
      let got = 0;
      while (got < lengthBytes) {
        const part = await readAsync(fd, into, at + got, lengthBytes - got, positionBytes + got);
        if (part.bytesRead === 0) break;
        got += part.bytesRead;
      }
      return got;
    },
  };
}

/** Reads bytes in memory. */
export function memoryReader(content: Uint8Array): FileReader {
  const readNow = (into: Uint8Array, at: number, length: number, position: number): number => {
    const part = content.subarray(position, position + length);
    into.set(part, at);
    return part.length;
  };
  return {
    sizeBytes: content.length,
    readNow,
    read: (into, at, length, position) => Promise.resolve(readNow(into, at, length, position)),
  };
}
