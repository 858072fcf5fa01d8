import {
  close as closeFile,
  fdatasync,
  fstat,
  ftruncate,
  read as readFile,
  readSync,
  writeSync,
} from 'node:fs';
import { invariant } from '#base/mod.ts';
import {
  blockDeviceGeometry,
  preadNowait,
  punchHoleAsync,
  seekData,
  seekHole,
  unlockImage,
  zeroRangeAsync,
} from '#os/mod.ts';
import { BlockError } from './device.ts';
import type { BlockDevice, BlockDone, BlockExtent } from './device.ts';
import type { LendingDevice } from './lend.ts';
import { blockErrorOf } from './raw-error.ts';
import type { RawFile } from './raw-open.ts';
import { writeAll, writeZeros } from './raw-write.ts';
import { RawWindows } from './raw-windows.ts';

/** From here on the copy costs more than a trip to the thread pool, which copies in parallel. */
const TRY_READ_BYTES_MAX = 256 * 1024;
/**
 * A disk that missed so often in a row is cold: asking costs as much as going to the thread pool,
 * and the kernel begins the read-ahead on our thread. Then every so manyth read is tried still.
 */
const COLD_AFTER_MISSES = 8;
const COLD_TRY_EVERY = 8;
/** Below a page the kernel may have to read the rest of it from the disk before it can write. */
const PAGE_BYTES = 4096;

/**
 * A raw image: a regular file or a block device. `tryRead` copies from the page cache; what is not
 * resident is read in the thread pool. `tryWrite` copies to the page cache. Both allocate nothing.
 *
 * `flush` is fdatasync. Flushes asked for while one runs share the next one (group commit). A flush
 * that fails makes the device fail for good: the kernel marks the lost pages clean, so a second
 * fdatasync would report success for data that is gone (hostile case 38).
 */
export class RawDevice implements BlockDevice, LendingDevice {
  readonly blockBytes: number;
  readonly physicalBlockBytes: number;
  readonly readOnly: boolean;
  readonly canDiscard: boolean;
  /** Absent for a device, whose space belongs to its own manager. */
  readonly grow?: (sizeBytes: number, done: BlockDone) => void;
  #sizeBytes: number;
  readonly #fd: number;
  readonly #residency: RawFile['residency'];
  readonly #locked: boolean;
  /** Only where the kernel tells what is resident. */
  readonly #lends: boolean;
  /** Its pages may be written by address. */
  readonly #lendsForWriting: boolean;
  #windows: RawWindows | null;
  readonly #probe = new Uint8Array(PAGE_BYTES);
  #failure: BlockError | null = null;
  #misses = 0;
  #underWay = 0;
  #flushRuns = false;
  #flushWaiters: BlockDone[] = [];
  #closing: (() => void) | null = null;
  #closeWaiters: BlockDone[] = [];
  #closed = false;

  /** Takes over the open file; `openRaw` makes it. */
  constructor(file: RawFile) {
    this.#sizeBytes = file.sizeBytes;
    this.blockBytes = file.blockBytes;
    this.physicalBlockBytes = file.physicalBlockBytes;
    this.readOnly = file.readOnly;
    this.canDiscard = file.canDiscard;
    this.#fd = file.fd;
    this.#residency = file.residency;
    this.#locked = file.locked;
    if (file.growable) this.grow = (sizeBytes, done) => this.#grow(sizeBytes, done);
    this.#lends = file.tellsResidency && file.residency !== 'never';
    this.#lendsForWriting = !file.readOnly && file.writesByAddress;
    this.#windows = this.#newWindows();
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  tryRead(offsetBytes: number, into: Uint8Array, at: number, lengthBytes: number): boolean {
    if (this.#failure !== null) throw this.#failure;
    if (lengthBytes >= TRY_READ_BYTES_MAX) return false;
    if (this.#residency === 'ask') return this.#tryResident(offsetBytes, into, at, lengthBytes);
    if (this.#residency === 'never') return false;
    try {
      return readSync(this.#fd, into, at, lengthBytes, offsetBytes) === lengthBytes;
    } catch (e) {
      throw blockErrorOf(e, 'read', offsetBytes);
    }
  }

  #tryResident(offsetBytes: number, into: Uint8Array, at: number, lengthBytes: number): boolean {
    this.#misses += 1;
    if (this.#misses > COLD_AFTER_MISSES && this.#misses % COLD_TRY_EVERY !== 0) return false;
    if (preadNowait(this.#fd, into, at, lengthBytes, offsetBytes) !== lengthBytes) return false;
    this.#misses = 0;
    return true;
  }

  lend(offsetBytes: number, lengthBytes: number): number {
    if (this.#failure !== null || this.#windows === null) return 0;
    return this.#windows.lend(offsetBytes, lengthBytes);
  }

  lendForWriting(offsetBytes: number, lengthBytes: number): number {
    return this.#lendsForWriting ? this.lend(offsetBytes, lengthBytes) : 0;
  }

  read(
    offsetBytes: number,
    into: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void {
    if (this.#refused(offsetBytes, lengthBytes, done)) return;
    this.#underWay += 1;
    let finished = 0;
    const step = (): void => {
      const from = offsetBytes + finished;
      readFile(this.#fd, into, at + finished, lengthBytes - finished, from, (e, count) => {
        if (e !== null) return this.#leave(done, blockErrorOf(e, 'read', from));
        // The file was cut short behind our back.
        if (count === 0) return this.#leave(done, new BlockError('io', 'end of file', from));
        finished += count;
        if (finished < lengthBytes) return step();
        return this.#leave(done, null);
      });
    };
    step();
  }

  tryWrite(offsetBytes: number, from: Uint8Array, at: number, lengthBytes: number): boolean {
    if (this.#failure !== null) throw this.#failure;
    if (this.readOnly) throw readOnlyError(offsetBytes);
    if (!this.#wholePages(offsetBytes, lengthBytes)) return false;
    let finished = 0;
    try {
      while (finished < lengthBytes) {
        const left = lengthBytes - finished;
        finished += writeSync(this.#fd, from, at + finished, left, offsetBytes + finished);
      }
    } catch (e) {
      throw blockErrorOf(e, 'write', offsetBytes + finished);
    }
    return true;
  }

  write(
    offsetBytes: number,
    from: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void {
    if (this.#refusedWrite(offsetBytes, lengthBytes, done)) return;
    this.#underWay += 1;
    writeAll(this.#fd, offsetBytes, from, at, lengthBytes, (error) => {
      this.#leave(done, error);
    });
  }

  flush(done: BlockDone): void {
    if (this.#refused(0, 0, done)) return;
    this.#underWay += 1;
    this.#flushWaiters.push(done);
    if (!this.#flushRuns) this.#runFlush();
  }

  discard(offsetBytes: number, lengthBytes: number, done: BlockDone): void {
    if (!this.canDiscard) {
      this.writeZeroes(offsetBytes, lengthBytes, done);
      return;
    }
    if (this.#refusedWrite(offsetBytes, lengthBytes, done)) return;
    this.#underWay += 1;
    this.#windows?.forget(offsetBytes, lengthBytes);
    punchHoleAsync(this.#fd, offsetBytes, lengthBytes, (e) => {
      if (e !== null && unsupported(e.code)) {
        this.#underWay -= 1;
        this.writeZeroes(offsetBytes, lengthBytes, done);
      } else {
        this.#leave(done, e === null ? null : blockErrorOf(e, 'write', offsetBytes));
      }
    });
  }

  writeZeroes(offsetBytes: number, lengthBytes: number, done: BlockDone): void {
    if (this.#refusedWrite(offsetBytes, lengthBytes, done)) return;
    this.#underWay += 1;
    this.#windows?.forget(offsetBytes, lengthBytes);
    zeroRangeAsync(this.#fd, offsetBytes, lengthBytes, (e) => {
      if (e === null) this.#leave(done, null);
      else if (unsupported(e.code))
        writeZeros(this.#fd, offsetBytes, lengthBytes, (error) => this.#leave(done, error));
      else this.#leave(done, blockErrorOf(e, 'write', offsetBytes));
    });
  }

  rescan(done: BlockDone): void {
    if (this.#refused(0, 0, done)) return;
    this.#underWay += 1;
    fstat(this.#fd, (e, stats) => {
      if (e !== null) return this.#leave(done, blockErrorOf(e, 'read', 0));
      // A part of a block at the end cannot be addressed: it is not there yet.
      const bytes = stats.isBlockDevice() ? blockDeviceGeometry(this.#fd).sizeBytes : stats.size;
      const sizeBytes = Math.max(this.#sizeBytes, bytes - (bytes % this.blockBytes));
      if (sizeBytes > this.#sizeBytes) {
        this.#sizeBytes = sizeBytes;
        this.#windows?.close();
        this.#windows = this.#newWindows();
      }
      return this.#leave(done, null);
    });
  }

  extentAt(offsetBytes: number, lengthBytes: number): BlockExtent {
    if (this.#failure !== null) throw this.#failure;
    const end = offsetBytes + lengthBytes;
    const data = this.#seek(seekData, offsetBytes);
    // Holes end where data begins; both in whole blocks, the hole rounded down.
    const dataStart = data - (data % this.blockBytes);
    if (dataStart > offsetBytes) {
      return { lengthBytes: Math.min(dataStart, end) - offsetBytes, state: 'hole' };
    }
    const hole = this.#seek(seekHole, offsetBytes);
    const holeStart = Math.ceil(hole / this.blockBytes) * this.blockBytes;
    return { lengthBytes: Math.min(holeStart, end) - offsetBytes, state: 'data' };
  }

  close(done: BlockDone): void {
    if (this.#closed) {
      queueMicrotask(() => {
        done(null);
      });
      return;
    }
    this.#closeWaiters.push(done);
    if (this.#closeWaiters.length > 1) return;
    const last: BlockDone = (error) => {
      this.#failure ??= new BlockError('gone', 'the image is closed', 0);
      this.#whenIdle(() => {
        if (this.#locked) unlockImage(this.#fd);
        this.#windows?.close();
        closeFile(this.#fd, () => {
          this.#closed = true;
          for (const waiter of this.#closeWaiters.splice(0)) waiter(error);
        });
      });
    };
    if (this.readOnly) last(null);
    else this.flush(last);
  }

  #newWindows(): RawWindows | null {
    if (!this.#lends) return null;
    return new RawWindows(this.#fd, this.#sizeBytes, { writable: this.#lendsForWriting });
  }

  #grow(sizeBytes: number, done: BlockDone): void {
    invariant(sizeBytes >= this.#sizeBytes && sizeBytes % this.blockBytes === 0, 'a larger size');
    if (this.#refusedWrite(0, 0, done)) return;
    this.#underWay += 1;
    const leave: BlockDone = (error) => {
      this.#leave(done, error);
    };
    const ended = (e: NodeJS.ErrnoException | null): void => {
      if (e !== null) return leave(blockErrorOf(e, 'write', this.#sizeBytes));
      return this.flush((error) => {
        if (error === null) this.rescan(leave);
        else leave(error);
      });
    };
    fstat(this.#fd, (e, stats) => {
      // It may have grown behind our back, and further: nothing is cut off.
      if (e === null && stats.size < sizeBytes) ftruncate(this.#fd, sizeBytes, ended);
      else ended(e);
    });
  }

  #whenIdle(then: () => void): void {
    if (this.#underWay === 0) then();
    else this.#closing = then;
  }

  /** Seeks; the end of the device when there is nothing more, or where the kernel cannot tell. */
  #seek(call: typeof seekData, offsetBytes: number): number {
    try {
      const found = call(this.#fd, offsetBytes);
      return found < 0 ? this.sizeBytes : found;
    } catch {
      // SEEK_DATA/SEEK_HOLE are hints: where they fail everything counts as data.
      return call === seekData ? offsetBytes : this.sizeBytes;
    }
  }

  /** True when no page at the edges has to be read from the disk before it can be written. */
  #wholePages(offsetBytes: number, lengthBytes: number): boolean {
    if (this.#residency === 'always') return true;
    const end = offsetBytes + lengthBytes;
    return this.#resident(offsetBytes) && this.#resident(end);
  }

  #resident(edgeBytes: number): boolean {
    const within = edgeBytes % PAGE_BYTES;
    if (within === 0) return true;
    if (this.#residency === 'never') return false;
    const page = edgeBytes - within;
    return preadNowait(this.#fd, this.#probe, 0, 1, page) === 1;
  }

  #runFlush(): void {
    const waiters = this.#flushWaiters;
    this.#flushWaiters = [];
    this.#flushRuns = true;
    fdatasync(this.#fd, (e) => {
      this.#flushRuns = false;
      if (e !== null) {
        this.#failure ??= new BlockError('failed', 'an earlier flush failed', 0, { cause: e });
      }
      const error = e === null ? this.#failure : blockErrorOf(e, 'flush', 0);
      if (this.#flushWaiters.length > 0) this.#runFlush();
      for (const waiter of waiters) this.#leave(waiter, error);
    });
  }

  /** Answers a call that was under way, and lets a waiting `close` go on. */
  #leave(done: BlockDone, error: BlockError | null): void {
    this.#underWay -= 1;
    done(error);
    if (this.#underWay === 0 && this.#closing !== null) {
      const close = this.#closing;
      this.#closing = null;
      close();
    }
  }

  #refused(offsetBytes: number, lengthBytes: number, done: BlockDone): boolean {
    invariant(offsetBytes >= 0 && offsetBytes + lengthBytes <= this.sizeBytes, 'within the disk');
    if (this.#failure === null) return false;
    const failure = this.#failure;
    queueMicrotask(() => {
      done(failure);
    });
    return true;
  }

  #refusedWrite(offsetBytes: number, lengthBytes: number, done: BlockDone): boolean {
    if (this.#refused(offsetBytes, lengthBytes, done)) return true;
    if (!this.readOnly) return false;
    queueMicrotask(() => {
      done(readOnlyError(offsetBytes));
    });
    return true;
  }
}

function readOnlyError(offsetBytes: number): BlockError {
  return new BlockError('read-only', 'the disk is read-only', offsetBytes);
}

/** Linux has one number for both names; which one the runtime shows is not fixed. */
function unsupported(code: string): boolean {
  return code === 'EOPNOTSUPP' || code === 'ENOTSUP';
}
