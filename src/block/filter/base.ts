import type { BlockDevice, BlockDone, BlockExtent } from '../device.ts';

/** A device in front of another: passes everything on. Filters override what they change. */
export class FilterDevice implements BlockDevice {
  protected readonly inner: BlockDevice;

  constructor(inner: BlockDevice) {
    this.inner = inner;
  }

  get sizeBytes(): number {
    return this.inner.sizeBytes;
  }

  get blockBytes(): number {
    return this.inner.blockBytes;
  }

  get physicalBlockBytes(): number {
    return this.inner.physicalBlockBytes;
  }

  get readOnly(): boolean {
    return this.inner.readOnly;
  }

  get canDiscard(): boolean {
    return this.inner.canDiscard;
  }

  tryRead(offsetBytes: number, into: Uint8Array, at: number, lengthBytes: number): boolean {
    return this.inner.tryRead(offsetBytes, into, at, lengthBytes);
  }

  read(
    offsetBytes: number,
    into: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void {
    this.inner.read(offsetBytes, into, at, lengthBytes, done);
  }

  tryWrite(offsetBytes: number, from: Uint8Array, at: number, lengthBytes: number): boolean {
    return this.inner.tryWrite(offsetBytes, from, at, lengthBytes);
  }

  write(
    offsetBytes: number,
    from: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void {
    this.inner.write(offsetBytes, from, at, lengthBytes, done);
  }

  flush(done: BlockDone): void {
    this.inner.flush(done);
  }

  discard(offsetBytes: number, lengthBytes: number, done: BlockDone): void {
    this.inner.discard(offsetBytes, lengthBytes, done);
  }

  writeZeroes(offsetBytes: number, lengthBytes: number, done: BlockDone): void {
    this.inner.writeZeroes(offsetBytes, lengthBytes, done);
  }

  rescan(done: BlockDone): void {
    this.inner.rescan(done);
  }

  extentAt(offsetBytes: number, lengthBytes: number): BlockExtent {
    return this.inner.extentAt(offsetBytes, lengthBytes);
  }

  close(done: BlockDone): void {
    this.inner.close(done);
  }
}
