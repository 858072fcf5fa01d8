import { DecodeError } from '#base/mod.ts';

/** The sector of every table in this folder. 4 KiB-sector disks are described, never written. */
export const SECTOR_BYTES = 512;

/**
 * The bytes of a disk, as the codecs of this folder see them: small reads and writes at byte
 * offsets. An implementation throws its own error for an I/O failure.
 */
export interface SectorIo {
  readonly sizeBytes: number;
  /** Exactly `lengthBytes` bytes, the caller's own to keep; callers stay inside `sizeBytes`. */
  read(offsetBytes: number, lengthBytes: number): Uint8Array;
  write(offsetBytes: number, bytes: Uint8Array): void;
}

/** Reads whole sectors; throws DecodeError `beyond-end` when the disk is shorter than that. */
export function readSectors(io: SectorIo, lba: number, count: number): Uint8Array {
  const offset = lba * SECTOR_BYTES;
  const length = count * SECTOR_BYTES;
  if (!Number.isSafeInteger(offset) || lba < 0 || offset + length > io.sizeBytes) {
    throw new DecodeError('beyond-end', `sector ${lba} lies beyond the end of the disk`, offset);
  }
  return io.read(offset, length);
}

/** The part of a disk from `offsetBytes` on, as a disk of its own (a partition). */
export function sliceIo(io: SectorIo, offsetBytes: number, lengthBytes: number): SectorIo {
  const sizeBytes = Math.max(0, Math.min(lengthBytes, io.sizeBytes - offsetBytes));
  return {
    sizeBytes,
    read: (at, length) => io.read(offsetBytes + at, length),
    write: (at, bytes) => {
      io.write(offsetBytes + at, bytes);
    },
  };
}

/** A sparse disk in memory: what was never written reads as zeros. */
export class MemorySectorIo implements SectorIo {
  readonly sizeBytes: number;
  readonly #sectors = new Map<number, Uint8Array>();

  constructor(sizeBytes: number) {
    this.sizeBytes = sizeBytes;
  }

  /** A disk that begins with `bytes` and is padded with zeros to `sizeBytes`. */
  static from(bytes: Uint8Array, sizeBytes = bytes.length): MemorySectorIo {
    const io = new MemorySectorIo(sizeBytes);
    io.write(0, bytes.subarray(0, sizeBytes));
    return io;
  }

  read(offsetBytes: number, lengthBytes: number): Uint8Array {
    this.#check(offsetBytes, lengthBytes);
    const out = new Uint8Array(lengthBytes);
    this.#walk(offsetBytes, lengthBytes, (sector, from, length, at) => {
      const data = this.#sectors.get(sector);
      if (data !== undefined) out.set(data.subarray(from, from + length), at);
    });
    return out;
  }

  write(offsetBytes: number, bytes: Uint8Array): void {
    this.#check(offsetBytes, bytes.length);
    this.#walk(offsetBytes, bytes.length, (sector, from, length, at) => {
      const data = this.#sectors.get(sector) ?? new Uint8Array(SECTOR_BYTES);
      data.set(bytes.subarray(at, at + length), from);
      this.#sectors.set(sector, data);
    });
  }

  #check(offsetBytes: number, lengthBytes: number): void {
    if (offsetBytes < 0 || offsetBytes + lengthBytes > this.sizeBytes) {
      throw new DecodeError('beyond-end', `${lengthBytes} bytes do not fit`, offsetBytes);
    }
  }

  #walk(
    offsetBytes: number,
    lengthBytes: number,
    visit: (sector: number, from: number, length: number, at: number) => void,
  ): void {
    for (let at = 0; at < lengthBytes;) {
      const from = (offsetBytes + at) % SECTOR_BYTES;
      const length = Math.min(SECTOR_BYTES - from, lengthBytes - at);
      visit(Math.floor((offsetBytes + at) / SECTOR_BYTES), from, length, at);
      at += length;
    }
  }
}
