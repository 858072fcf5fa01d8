import { BlockError } from '#block/mod.ts';
import type { BlockDone, ImageFile } from '#block/mod.ts';

/** What a single case may read in all: time is bounded if work is. */
const READ_BYTES_MAX = 64 * 1024 * 1024;
/** The disk is full from here on, so a wild offset makes no file of many terabytes. */
const FILE_BYTES_MAX = 32 * 1024 * 1024;

/** A file in memory, for hostile images: counts what is done to it. */
export class MemoryFile implements ImageFile {
  readonly bootId: Uint8Array = new Uint8Array(16).fill(7);
  readBytes = 0;
  #bytes: Buffer;
  #length: number;

  constructor(content: Buffer) {
    this.#bytes = Buffer.from(content);
    this.#length = content.length;
  }

  get sizeBytes(): number {
    return this.#length;
  }

  get content(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  tryRead(position: number, into: Uint8Array, at: number, length: number): boolean {
    this.readBytes += length;
    if (this.readBytes > READ_BYTES_MAX) throw new Error('reads without end');
    const from = Math.min(position, this.#length);
    const to = Math.min(position + length, this.#length);
    into.set(this.#bytes.subarray(from, to), at);
    into.fill(0, at + to - from, at + length);
    return true;
  }

  readSync(position: number, into: Uint8Array, at: number, length: number): void {
    this.tryRead(position, into, at, length);
  }

  read(position: number, into: Uint8Array, at: number, length: number, done: BlockDone): void {
    this.tryRead(position, into, at, length);
    queueMicrotask(() => {
      done(null);
    });
  }

  tryWrite(position: number, from: Uint8Array, at: number, length: number): boolean {
    this.writeSync(position, from, at, length);
    return true;
  }

  writeSync(position: number, from: Uint8Array, at: number, length: number): void {
    const end = position + length;
    if (end > FILE_BYTES_MAX) throw new BlockError('no-space', 'the disk is full', position);
    if (end > this.#bytes.length) {
      const larger = Buffer.alloc(Math.max(end, 2 * this.#bytes.length));
      this.#bytes.copy(larger);
      this.#bytes = larger;
    }
    this.#bytes.set(from.subarray(at, at + length), position);
    this.#length = Math.max(this.#length, end);
  }

  write(position: number, from: Uint8Array, at: number, length: number, done: BlockDone): void {
    let error: BlockError | null = null;
    try {
      this.writeSync(position, from, at, length);
    } catch (e) {
      if (!(e instanceof BlockError)) throw e;
      error = e;
    }
    queueMicrotask(() => {
      done(error);
    });
  }

  sync(done: BlockDone): void {
    queueMicrotask(() => {
      done(null);
    });
  }

  punch(position: number, length: number, done: BlockDone): void {
    const end = Math.min(position + length, this.#length);
    if (position < end) this.#bytes.fill(0, position, end);
    this.sync(done);
  }

  close(done: BlockDone): void {
    this.sync(done);
  }
}
