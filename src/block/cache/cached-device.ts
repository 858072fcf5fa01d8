import { invariant } from '#base/mod.ts';
import { BlockError } from '../device.ts';
import type { BlockDevice, BlockDone } from '../device.ts';
import { FilterDevice } from '../filter/base.ts';
import { BlockTable } from './block-table.ts';
import { CACHE_BLOCK_BYTES } from './hot-blocks.ts';
import type { HotBlocks } from './hot-blocks.ts';

/** Longer reads go past the cache: they are streams, and copy faster where they come from. */
const LONGEST_BYTES = 256 * 1024;

type Reader = {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly into: Uint8Array;
  readonly at: number;
  readonly done: BlockDone;
  /** Fills it still waits for. */
  left: number;
  failed: boolean;
};

/** One read of the disk below, for all who want something of it. */
type Fill = { readonly startBytes: number; readonly bytes: Buffer; readonly readers: Reader[] };

/**
 * A disk that nobody writes to, with what is read most in memory. What is kept is read at once and
 * without allocation; what is not is read once, however many ask for it meanwhile.
 *
 * Only for a disk that cannot change: nothing here ever asks whether the kept bytes are still true.
 */
export class CachedDevice extends FilterDevice {
  readonly #cache: HotBlocks;
  readonly #table = new BlockTable();
  readonly #fills = new Map<number, Fill>();
  #closed: BlockError | null = null;

  /** Throws `InternalError` for a disk that can be written. */
  constructor(inner: BlockDevice, cache: HotBlocks) {
    super(inner);
    invariant(inner.readOnly, 'only what cannot change is cached');
    this.#cache = cache;
  }

  override tryRead(offset: number, into: Uint8Array, at: number, lengthBytes: number): boolean {
    if (this.#closed !== null) throw this.#closed;
    if (lengthBytes > LONGEST_BYTES) return this.inner.tryRead(offset, into, at, lengthBytes);
    const end = offset + lengthBytes;
    let block = Math.floor(offset / CACHE_BLOCK_BYTES);
    for (let position = offset; position < end; block++) {
      const next = Math.min((block + 1) * CACHE_BLOCK_BYTES, end);
      const frame = this.#table.get(block);
      if (frame < 0) return this.#tryBelow(offset, into, at, lengthBytes);
      this.#take(frame, position, into, at + position - offset, next - position);
      position = next;
    }
    return true;
  }

  override read(
    offset: number,
    into: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void {
    const closed = this.#closed;
    if (closed !== null) {
      queueMicrotask(() => {
        done(closed);
      });
      return;
    }
    if (lengthBytes > LONGEST_BYTES) {
      this.inner.read(offset, into, at, lengthBytes, done);
      return;
    }
    const reader = { offsetBytes: offset, lengthBytes, into, at, done, left: 0, failed: false };
    this.#gather(reader);
    if (reader.left === 0) {
      queueMicrotask(() => {
        done(null);
      });
    }
  }

  override rescan(done: BlockDone): void {
    const before = this.inner.sizeBytes;
    this.inner.rescan((error) => {
      // The last block may have been a short one, and is no longer; nor is one on its way.
      if (this.inner.sizeBytes !== before) {
        this.#cache.forget(this.#table);
        this.#fills.clear();
      }
      done(error);
    });
  }

  override close(done: BlockDone): void {
    if (this.#closed === null) {
      this.#closed = new BlockError('gone', 'the disk is closed', 0);
      this.#cache.forget(this.#table);
    }
    this.inner.close(done);
  }

  /** What the disk below has at hand costs no waiting; what of it is whole blocks is kept. */
  #tryBelow(offset: number, into: Uint8Array, at: number, lengthBytes: number): boolean {
    if (!this.inner.tryRead(offset, into, at, lengthBytes)) return false;
    const end = offset + lengthBytes;
    let block = Math.ceil(offset / CACHE_BLOCK_BYTES);
    for (; (block + 1) * CACHE_BLOCK_BYTES <= end; block++) {
      const position = block * CACHE_BLOCK_BYTES;
      this.#cache.keep(this.#table, block, into, at + position - offset, CACHE_BLOCK_BYTES);
    }
    return true;
  }

  /** Copies what is kept, joins the fills that are under way, and starts those that are missing. */
  #gather(reader: Reader): void {
    const { offsetBytes, lengthBytes, into, at } = reader;
    const end = offsetBytes + lengthBytes;
    const last = Math.ceil(end / CACHE_BLOCK_BYTES);
    let missingFrom = -1;
    let joined: Fill | undefined;
    for (let block = Math.floor(offsetBytes / CACHE_BLOCK_BYTES); block <= last; block++) {
      const frame = block === last ? 0 : this.#table.get(block);
      const fill = block === last ? undefined : this.#fills.get(block);
      const missing = block < last && frame < 0 && fill === undefined;
      if (missing && missingFrom < 0) missingFrom = block;
      if (!missing && missingFrom >= 0) {
        this.#fill(missingFrom, block, reader);
        missingFrom = -1;
      }
      if (block === last) return;
      if (frame >= 0) {
        const from = Math.max(offsetBytes, block * CACHE_BLOCK_BYTES);
        const to = Math.min(end, (block + 1) * CACHE_BLOCK_BYTES);
        this.#take(frame, from, into, at + from - offsetBytes, to - from);
      } else if (fill !== undefined && fill !== joined) {
        joined = fill;
        fill.readers.push(reader);
        reader.left += 1;
      }
    }
  }

  #take(frame: number, position: number, into: Uint8Array, at: number, length: number): void {
    const within = position % CACHE_BLOCK_BYTES;
    // A reader that goes through a block in pieces of 512 bytes has read it once, not eight times.
    if (within === 0) this.#cache.touch(frame);
    this.#cache.copyOut(frame, within, into, at, length);
  }

  #fill(firstBlock: number, endBlock: number, reader: Reader): void {
    const startBytes = firstBlock * CACHE_BLOCK_BYTES;
    const endBytes = Math.min(endBlock * CACHE_BLOCK_BYTES, this.inner.sizeBytes);
    const bytes = Buffer.allocUnsafeSlow(endBytes - startBytes);
    const fill: Fill = { startBytes, bytes, readers: [reader] };
    reader.left += 1;
    for (let block = firstBlock; block < endBlock; block++) this.#fills.set(block, fill);
    this.inner.read(startBytes, bytes, 0, bytes.length, (error) => {
      for (let block = firstBlock; block < endBlock; block++) {
        if (this.#fills.get(block) !== fill) continue;
        this.#fills.delete(block);
        const at = block * CACHE_BLOCK_BYTES - startBytes;
        const length = Math.min(CACHE_BLOCK_BYTES, bytes.length - at);
        if (error !== null || this.#closed !== null) continue;
        this.#cache.keep(this.#table, block, bytes, at, length);
        if (fill.readers.length > 1) this.#cache.touch(this.#table.get(block));
      }
      for (const waiting of fill.readers) this.#filled(waiting, fill, error);
    });
  }

  #filled(reader: Reader, fill: Fill, error: BlockError | null): void {
    const { offsetBytes, lengthBytes, into, at, done } = reader;
    reader.left -= 1;
    if (error === null) {
      const from = Math.max(offsetBytes, fill.startBytes);
      const to = Math.min(offsetBytes + lengthBytes, fill.startBytes + fill.bytes.length);
      fill.bytes.copy(into, at + from - offsetBytes, from - fill.startBytes, to - fill.startBytes);
    } else {
      reader.failed = true;
    }
    if (reader.left > 0) return;
    // The bad sector may be one that only a neighbour asked for: this reader's own bytes decide.
    if (reader.failed) this.inner.read(offsetBytes, into, at, lengthBytes, done);
    else done(null);
  }
}
