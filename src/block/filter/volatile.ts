import type { BlockDevice, BlockDone } from '../device.ts';
import { BlockError } from '../device.ts';
import { lendFrom } from '../lend.ts';
import { FilterDevice } from './base.ts';

/**
 * A disk whose owner wants nothing of it kept (durability contract 9: a machine that is reset at
 * each start). A flush is answered at once and does nothing; what was written still survives the
 * death of this process, because it is in the page cache.
 */
export class VolatileDevice extends FilterDevice implements BlockDevice {
  /** Where the disk below can. */
  readonly grow?: (sizeBytes: number, done: BlockDone) => void;
  #closed = false;

  constructor(inner: BlockDevice) {
    super(inner);
    if (inner.grow === undefined) return;
    this.grow = (sizeBytes, done) => {
      inner.grow?.(sizeBytes, done);
    };
  }

  /** `LendingDevice.lend`. */
  lend(offsetBytes: number, lengthBytes: number): number {
    return this.#closed ? 0 : lendFrom(this.inner, offsetBytes, lengthBytes);
  }

  override flush(done: BlockDone): void {
    const error = this.#closed ? new BlockError('gone', 'the disk is closed', 0) : null;
    queueMicrotask(() => {
      done(error);
    });
  }

  override close(done: BlockDone): void {
    this.#closed = true;
    this.inner.close(done);
  }
}
