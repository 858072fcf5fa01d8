import { invariant } from '#base/mod.ts';
import { BlockError } from './device.ts';
import type { BlockDevice, BlockDone, BlockExtent } from './device.ts';

/** One piece of a `MemoryDevice`: small enough that a sparse test disk costs little. */
const CHUNK_BYTES = 64 * 1024;

/** What a `MemoryDevice` looks like. */
export type MemoryDeviceOptions = {
  readonly sizeBytes: number;
  readonly blockBytes?: number;
  readonly physicalBlockBytes?: number;
  readonly readOnly?: boolean;
};

/**
 * A sparse disk in memory: the reference implementation of `BlockDevice` and the disk of most
 * tests. A chunk that was never written, or was discarded, is a hole and takes no memory.
 */
export class MemoryDevice implements BlockDevice {
  readonly blockBytes: number;
  readonly physicalBlockBytes: number;
  readonly readOnly: boolean;
  readonly canDiscard: boolean;
  #sizeBytes: number;
  readonly #chunks: (Buffer | undefined)[];
  #closed = false;

  /** Throws `InternalError` when the size is not a whole number of blocks. */
  constructor(options: MemoryDeviceOptions) {
    this.#sizeBytes = options.sizeBytes;
    this.blockBytes = options.blockBytes ?? 512;
    this.physicalBlockBytes = options.physicalBlockBytes ?? Math.max(4096, this.blockBytes);
    this.readOnly = options.readOnly ?? false;
    this.canDiscard = !this.readOnly;
    invariant(this.sizeBytes > 0 && this.sizeBytes % this.blockBytes === 0, 'whole blocks');
    this.#chunks = Array.from({ length: Math.ceil(this.sizeBytes / CHUNK_BYTES) });
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** Puts bytes on the disk without the rules of `write` (a read-only disk's content). */
  load(bytes: Uint8Array, offsetBytes = 0): void {
    this.#copyIn(offsetBytes, bytes, 0, bytes.length);
  }

  tryRead(offsetBytes: number, into: Uint8Array, at: number, lengthBytes: number): boolean {
    this.#check(offsetBytes, lengthBytes);
    for (let done = 0; done < lengthBytes;) {
      const position = offsetBytes + done;
      const within = position % CHUNK_BYTES;
      const length = Math.min(CHUNK_BYTES - within, lengthBytes - done);
      const chunk = this.#chunks[(position - within) / CHUNK_BYTES];
      if (chunk === undefined) into.fill(0, at + done, at + done + length);
      else chunk.copy(into, at + done, within, within + length);
      done += length;
    }
    return true;
  }

  read(
    offsetBytes: number,
    into: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void {
    settle(done, () => this.tryRead(offsetBytes, into, at, lengthBytes));
  }

  tryWrite(offsetBytes: number, from: Uint8Array, at: number, lengthBytes: number): boolean {
    this.#check(offsetBytes, lengthBytes);
    this.#writable(offsetBytes);
    this.#copyIn(offsetBytes, from, at, lengthBytes);
    return true;
  }

  write(
    offsetBytes: number,
    from: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void {
    settle(done, () => this.tryWrite(offsetBytes, from, at, lengthBytes));
  }

  flush(done: BlockDone): void {
    settle(done, () => {
      this.#check(0, 0);
    });
  }

  discard(offsetBytes: number, lengthBytes: number, done: BlockDone): void {
    settle(done, () => {
      this.#check(offsetBytes, lengthBytes);
      this.#writable(offsetBytes);
      for (let at = 0; at < lengthBytes;) {
        const within = (offsetBytes + at) % CHUNK_BYTES;
        const length = Math.min(CHUNK_BYTES - within, lengthBytes - at);
        const index = (offsetBytes + at - within) / CHUNK_BYTES;
        if (length === CHUNK_BYTES) this.#chunks[index] = undefined;
        else this.#chunks[index]?.fill(0, within, within + length);
        at += length;
      }
    });
  }

  writeZeroes(offsetBytes: number, lengthBytes: number, done: BlockDone): void {
    this.discard(offsetBytes, lengthBytes, done);
  }

  rescan(done: BlockDone): void {
    queueMicrotask(() => {
      done(null);
    });
  }

  grow(sizeBytes: number, done: BlockDone): void {
    invariant(sizeBytes >= this.#sizeBytes && sizeBytes % this.blockBytes === 0, 'a larger size');
    this.#sizeBytes = sizeBytes;
    this.rescan(done);
  }

  extentAt(offsetBytes: number, lengthBytes: number): BlockExtent {
    this.#check(offsetBytes, lengthBytes);
    const first = Math.floor(offsetBytes / CHUNK_BYTES);
    const hole = this.#chunks[first] === undefined;
    let end = first + 1;
    while (end * CHUNK_BYTES < offsetBytes + lengthBytes) {
      if ((this.#chunks[end] === undefined) !== hole) break;
      end += 1;
    }
    const length = Math.min(end * CHUNK_BYTES - offsetBytes, lengthBytes);
    return { lengthBytes: length, state: hole ? 'hole' : 'data' };
  }

  close(done: BlockDone): void {
    this.#closed = true;
    settle(done, () => true);
  }

  #copyIn(offsetBytes: number, from: Uint8Array, at: number, lengthBytes: number): void {
    for (let done = 0; done < lengthBytes;) {
      const position = offsetBytes + done;
      const within = position % CHUNK_BYTES;
      const length = Math.min(CHUNK_BYTES - within, lengthBytes - done);
      const index = (position - within) / CHUNK_BYTES;
      const chunk = (this.#chunks[index] ??= Buffer.alloc(CHUNK_BYTES));
      if (done === 0 && length === from.length) chunk.set(from, within);
      else chunk.set(from.subarray(at + done, at + done + length), within);
      done += length;
    }
  }

  #check(offsetBytes: number, lengthBytes: number): void {
    if (this.#closed) throw new BlockError('gone', 'the device is closed', offsetBytes);
    invariant(offsetBytes >= 0 && offsetBytes + lengthBytes <= this.sizeBytes, 'within the disk');
    invariant(offsetBytes % this.blockBytes === 0, 'offset in whole blocks');
    invariant(lengthBytes % this.blockBytes === 0, 'length in whole blocks');
  }

  #writable(offsetBytes: number): void {
    if (this.readOnly) throw new BlockError('read-only', 'the disk is read-only', offsetBytes);
  }
}

/** Runs a step that cannot wait, and answers after the caller has returned. */
function settle(done: BlockDone, step: () => unknown): void {
  let error: BlockError | null = null;
  try {
    step();
  } catch (e) {
    if (!(e instanceof BlockError)) throw e;
    error = e;
  }
  queueMicrotask(() => {
    done(error);
  });
}
