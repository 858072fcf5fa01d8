import type { BlockDone } from '../device.ts';
import { FilterDevice } from './base.ts';

/** Counts calls and bytes that reach a device. Plain numbers: this sits on the hot path. */
export class CounterDevice extends FilterDevice {
  /** Reads answered at once, and reads that had to wait. */
  residentReads = 0;
  waitingReads = 0;
  /** Writes taken at once, and writes that had to wait. */
  residentWrites = 0;
  waitingWrites = 0;
  readBytes = 0;
  writtenBytes = 0;
  flushes = 0;
  discards = 0;
  zeroes = 0;

  override tryRead(offset: number, into: Uint8Array, at: number, lengthBytes: number): boolean {
    if (!this.inner.tryRead(offset, into, at, lengthBytes)) return false;
    this.residentReads += 1;
    this.readBytes += lengthBytes;
    return true;
  }

  override read(
    offset: number,
    into: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void {
    this.waitingReads += 1;
    this.readBytes += lengthBytes;
    this.inner.read(offset, into, at, lengthBytes, done);
  }

  override tryWrite(offset: number, from: Uint8Array, at: number, lengthBytes: number): boolean {
    if (!this.inner.tryWrite(offset, from, at, lengthBytes)) return false;
    this.residentWrites += 1;
    this.writtenBytes += lengthBytes;
    return true;
  }

  override write(
    offset: number,
    from: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void {
    this.waitingWrites += 1;
    this.writtenBytes += lengthBytes;
    this.inner.write(offset, from, at, lengthBytes, done);
  }

  override flush(done: BlockDone): void {
    this.flushes += 1;
    this.inner.flush(done);
  }

  override discard(offset: number, lengthBytes: number, done: BlockDone): void {
    this.discards += 1;
    this.inner.discard(offset, lengthBytes, done);
  }

  override writeZeroes(offset: number, lengthBytes: number, done: BlockDone): void {
    this.zeroes += 1;
    this.inner.writeZeroes(offset, lengthBytes, done);
  }
}
