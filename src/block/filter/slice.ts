import { UserError } from '#base/mod.ts';
import { BlockError } from '../device.ts';
import type { BlockDevice, BlockDone, BlockExtent } from '../device.ts';
import { lendForWritingFrom, lendFrom } from '../lend.ts';
import { FilterDevice } from './base.ts';

/** A part of a device (a partition) as a device of its own. Errors carry the part's offsets. */
export class SliceDevice extends FilterDevice {
  readonly #startBytes: number;
  readonly #sizeBytes: number;

  /** Throws `UserError` when the part is not made of whole blocks within the device. */
  constructor(inner: BlockDevice, startBytes: number, sizeBytes: number) {
    super(inner);
    const blocks = startBytes % inner.blockBytes === 0 && sizeBytes % inner.blockBytes === 0;
    const inside = startBytes >= 0 && sizeBytes > 0 && startBytes + sizeBytes <= inner.sizeBytes;
    if (!blocks || !inside) {
      throw new UserError('invalid', 'slice-outside', {
        what: `A part of ${sizeBytes} bytes at byte ${startBytes} cannot be cut from the disk.`,
        why: `The disk has ${inner.sizeBytes} bytes in blocks of ${inner.blockBytes}.`,
        todo: 'Choose a start and a size in whole blocks inside the disk.',
      });
    }
    this.#startBytes = startBytes;
    this.#sizeBytes = sizeBytes;
  }

  override get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** `LendingDevice.lend`. */
  lend(offset: number, lengthBytes: number): number {
    return lendFrom(this.inner, this.#startBytes + offset, lengthBytes);
  }

  /** `LendingDevice.lendForWriting`. */
  lendForWriting(offset: number, lengthBytes: number): number {
    return lendForWritingFrom(this.inner, this.#startBytes + offset, lengthBytes);
  }

  override tryRead(offset: number, into: Uint8Array, at: number, lengthBytes: number): boolean {
    try {
      return this.inner.tryRead(this.#startBytes + offset, into, at, lengthBytes);
    } catch (e) {
      throw this.#moved(e);
    }
  }

  override read(
    offset: number,
    into: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void {
    this.inner.read(this.#startBytes + offset, into, at, lengthBytes, this.#answer(done));
  }

  override tryWrite(offset: number, from: Uint8Array, at: number, lengthBytes: number): boolean {
    try {
      return this.inner.tryWrite(this.#startBytes + offset, from, at, lengthBytes);
    } catch (e) {
      throw this.#moved(e);
    }
  }

  override write(
    offset: number,
    from: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void {
    this.inner.write(this.#startBytes + offset, from, at, lengthBytes, this.#answer(done));
  }

  override discard(offset: number, lengthBytes: number, done: BlockDone): void {
    this.inner.discard(this.#startBytes + offset, lengthBytes, this.#answer(done));
  }

  override writeZeroes(offset: number, lengthBytes: number, done: BlockDone): void {
    this.inner.writeZeroes(this.#startBytes + offset, lengthBytes, this.#answer(done));
  }

  override rescan(done: BlockDone): void {
    queueMicrotask(() => {
      done(null); // a part does not grow with the whole
    });
  }

  override extentAt(offset: number, lengthBytes: number): BlockExtent {
    return this.inner.extentAt(this.#startBytes + offset, lengthBytes);
  }

  #answer(done: BlockDone): BlockDone {
    return (error) => {
      done(error === null ? null : (this.#moved(error) as BlockError));
    };
  }

  #moved(e: unknown): unknown {
    if (!(e instanceof BlockError)) return e;
    const offset = Math.max(0, e.offsetBytes - this.#startBytes);
    return new BlockError(e.kind, e.message, offset, { cause: e });
  }
}
