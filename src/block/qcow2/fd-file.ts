import {
  close as closeFd,
  fdatasync,
  readFileSync,
  readSync,
  read as readFd,
  write as writeFd,
  writeSync,
} from 'node:fs';
import { preadNowait, punchHoleAsync, unlockImage } from '#os/mod.ts';
import { BlockError } from '../device.ts';
import type { BlockDone } from '../device.ts';
import { blockErrorOf } from '../raw-error.ts';
import { RawWindows } from '../raw-windows.ts';
import type { ImageFile } from './image-file.ts';

const PAGE_BYTES = 4096;

/** What an `FdFile` is made of; `residency` as in raw-open.ts. */
export type OpenFile = {
  readonly fd: number;
  readonly sizeBytes: number;
  readonly residency: 'ask' | 'always' | 'never';
  readonly locked: boolean;
  /** Its pages may be written by address; see `FileSystemKind`. */
  readonly writesByAddress: boolean;
};

/** A file grows while its windows stay: so much of it is mapped, or four times what it is. */
const MAPPED_BYTES_MIN = 16 * 1024 * 1024 * 1024;

/** Windows on what the file is and will be; what is not there yet is not resident. */
function windowsOf(file: OpenFile, fileBytes: () => number): RawWindows {
  if (!file.writesByAddress) return new RawWindows(file.fd, file.sizeBytes);
  const mappedBytes = Math.max(MAPPED_BYTES_MIN, 4 * file.sizeBytes);
  return new RawWindows(file.fd, mappedBytes, { writable: true, fileBytes });
}

/** An `ImageFile` over a file descriptor that it owns. */
export class FdFile implements ImageFile {
  readonly bootId: Uint8Array;
  readonly #fd: number;
  readonly #residency: OpenFile['residency'];
  readonly #locked: boolean;
  readonly #probe = new Uint8Array(1);
  readonly #windows: RawWindows | null;
  readonly #writesByAddress: boolean;
  #sizeBytes: number;
  #closed = false;

  constructor(file: OpenFile) {
    this.#fd = file.fd;
    this.#sizeBytes = file.sizeBytes;
    this.#residency = file.residency;
    this.#locked = file.locked;
    this.#writesByAddress = file.writesByAddress;
    const lends = file.residency !== 'never';
    this.#windows = lends ? windowsOf(file, () => this.#sizeBytes) : null;
    this.bootId = readBootId();
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  tryRead(position: number, into: Uint8Array, at: number, length: number): boolean {
    const present = this.#present(position, into, at, length);
    if (present === 0) return true;
    if (this.#residency === 'ask') {
      return preadNowait(this.#fd, into, at, present, position) === present;
    }
    if (this.#residency === 'never') return false;
    try {
      return readSync(this.#fd, into, at, present, position) === present;
    } catch (e) {
      throw blockErrorOf(e, 'read', position);
    }
  }

  readSync(position: number, into: Uint8Array, at: number, length: number): void {
    const present = this.#present(position, into, at, length);
    for (let finished = 0; finished < present;) {
      const from = position + finished;
      let count = 0;
      try {
        count = readSync(this.#fd, into, at + finished, present - finished, from);
      } catch (e) {
        throw blockErrorOf(e, 'read', from);
      }
      if (count === 0) throw new BlockError('io', 'the file was cut short', from);
      finished += count;
    }
  }

  read(position: number, into: Uint8Array, at: number, length: number, done: BlockDone): void {
    const present = this.#present(position, into, at, length);
    if (present === 0) {
      queueMicrotask(() => {
        done(null);
      });
      return;
    }
    let finished = 0;
    const step = (): void => {
      const from = position + finished;
      readFd(this.#fd, into, at + finished, present - finished, from, (e, count) => {
        if (e !== null) return done(blockErrorOf(e, 'read', from));
        if (count === 0) return done(new BlockError('io', 'the file was cut short', from));
        finished += count;
        return finished < present ? step() : done(null);
      });
    };
    step();
  }

  tryWrite(position: number, from: Uint8Array, at: number, length: number): boolean {
    if (!this.#resident(position) || !this.#resident(position + length)) return false;
    this.writeSync(position, from, at, length);
    return true;
  }

  writeSync(position: number, from: Uint8Array, at: number, length: number): void {
    let finished = 0;
    try {
      while (finished < length) {
        const left = length - finished;
        finished += writeSync(this.#fd, from, at + finished, left, position + finished);
      }
    } catch (e) {
      throw blockErrorOf(e, 'write', position + finished);
    } finally {
      this.#sizeBytes = Math.max(this.#sizeBytes, position + finished);
    }
  }

  write(position: number, from: Uint8Array, at: number, length: number, done: BlockDone): void {
    writeFd(this.#fd, from, at, length, position, (e, count) => {
      if (e !== null) return done(blockErrorOf(e, 'write', position));
      this.#sizeBytes = Math.max(this.#sizeBytes, position + count);
      if (count === length) return done(null);
      return this.write(position + count, from, at + count, length - count, done);
    });
  }

  sync(done: BlockDone): void {
    fdatasync(this.#fd, (e) => {
      done(e === null ? null : blockErrorOf(e, 'flush', 0));
    });
  }

  punch(position: number, length: number, done: BlockDone): void {
    this.#windows?.forget(position, length);
    punchHoleAsync(this.#fd, position, length, () => {
      // Space that cannot be given back is only space.
      done(null);
    });
  }

  lend(position: number, length: number): number {
    return this.#windows === null || this.#closed ? 0 : this.#windows.lend(position, length);
  }

  lendForWriting(position: number, length: number): number {
    return this.#writesByAddress ? this.lend(position, length) : 0;
  }

  close(done: BlockDone): void {
    if (this.#closed) {
      queueMicrotask(() => {
        done(null);
      });
      return;
    }
    this.#closed = true;
    this.#windows?.close();
    if (this.#locked) unlockImage(this.#fd);
    closeFd(this.#fd, () => {
      done(null);
    });
  }

  /** How much of the range is inside the file; the rest of `into` becomes zeros. */
  #present(position: number, into: Uint8Array, at: number, length: number): number {
    const left = this.#sizeBytes - position;
    if (left >= length) return length;
    const present = Math.max(0, left);
    into.fill(0, at + present, at + length);
    return present;
  }

  /** Whether the page that a write cuts at `edge` is in memory, or new. */
  #resident(edge: number): boolean {
    const within = edge % PAGE_BYTES;
    if (within === 0 || this.#residency === 'always') return true;
    const page = edge - within;
    if (page >= this.#sizeBytes) return true;
    return this.#residency === 'ask' && preadNowait(this.#fd, this.#probe, 0, 1, page) === 1;
  }
}

/** Where the kernel does not tell, nothing that was not synced is believed after a restart. */
function readBootId(): Uint8Array {
  try {
    const text = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1');
    const id = Buffer.from(text.replaceAll('-', '').trim(), 'hex');
    if (id.length === 16) return id;
  } catch {
    // no such file: not Linux
  }
  return crypto.getRandomValues(new Uint8Array(16));
}
