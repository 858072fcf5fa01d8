import { BlockError } from '../device.ts';
import type { BlockDevice, BlockDone, BlockErrorKind } from '../device.ts';
import { FilterDevice } from './base.ts';

/** The kinds of call a fault can strike. */
export type BlockOperation = 'read' | 'write' | 'flush' | 'discard' | 'zero';

/**
 * Decides the fate of one call: an error kind, or null to let it through. A flush has offset and
 * length 0.
 */
export type Fault = (
  operation: BlockOperation,
  offsetBytes: number,
  lengthBytes: number,
) => BlockErrorKind | null;

/**
 * Makes chosen calls fail before they reach the device: bad sectors, a full disk, a lost backend.
 */
export class ErrorDevice extends FilterDevice {
  /** Replaceable while in use, so a test can break and mend the disk. */
  fault: Fault;

  constructor(inner: BlockDevice, fault: Fault) {
    super(inner);
    this.fault = fault;
  }

  override tryRead(offset: number, into: Uint8Array, at: number, lengthBytes: number): boolean {
    const error = this.#strike('read', offset, lengthBytes);
    if (error !== null) throw error;
    return this.inner.tryRead(offset, into, at, lengthBytes);
  }

  override read(
    offset: number,
    into: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void {
    if (this.#answered('read', offset, lengthBytes, done)) return;
    this.inner.read(offset, into, at, lengthBytes, done);
  }

  override tryWrite(offset: number, from: Uint8Array, at: number, lengthBytes: number): boolean {
    const error = this.#strike('write', offset, lengthBytes);
    if (error !== null) throw error;
    return this.inner.tryWrite(offset, from, at, lengthBytes);
  }

  override write(
    offset: number,
    from: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void {
    if (this.#answered('write', offset, lengthBytes, done)) return;
    this.inner.write(offset, from, at, lengthBytes, done);
  }

  override flush(done: BlockDone): void {
    if (this.#answered('flush', 0, 0, done)) return;
    this.inner.flush(done);
  }

  override discard(offset: number, lengthBytes: number, done: BlockDone): void {
    if (this.#answered('discard', offset, lengthBytes, done)) return;
    this.inner.discard(offset, lengthBytes, done);
  }

  override writeZeroes(offset: number, lengthBytes: number, done: BlockDone): void {
    if (this.#answered('zero', offset, lengthBytes, done)) return;
    this.inner.writeZeroes(offset, lengthBytes, done);
  }

  #strike(operation: BlockOperation, offset: number, lengthBytes: number): BlockError | null {
    const kind = this.fault(operation, offset, lengthBytes);
    if (kind === null) return null;
    return new BlockError(kind, `injected ${kind} error on ${operation}`, offset);
  }

  #answered(operation: BlockOperation, offset: number, bytes: number, done: BlockDone): boolean {
    const error = this.#strike(operation, offset, bytes);
    if (error === null) return false;
    queueMicrotask(() => {
      done(error);
    });
    return true;
  }
}
