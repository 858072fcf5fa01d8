import { BlockError } from '../device.ts';
import type { BlockDone } from '../device.ts';
import { lendFrom } from '../lend.ts';
import { FilterDevice } from './base.ts';

/** Shows a device without letting anything change it; the error kind is `read-only`. */
export class ReadOnlyDevice extends FilterDevice {
  override get readOnly(): boolean {
    return true;
  }

  override get canDiscard(): boolean {
    return false;
  }

  /** `LendingDevice.lend`. */
  lend(offsetBytes: number, lengthBytes: number): number {
    return lendFrom(this.inner, offsetBytes, lengthBytes);
  }

  override tryWrite(offsetBytes: number): boolean {
    throw refusal(offsetBytes);
  }

  override write(
    offsetBytes: number,
    _from: Uint8Array,
    _at: number,
    _lengthBytes: number,
    done: BlockDone,
  ): void {
    refuse(offsetBytes, done);
  }

  override discard(offsetBytes: number, _lengthBytes: number, done: BlockDone): void {
    refuse(offsetBytes, done);
  }

  override writeZeroes(offsetBytes: number, _lengthBytes: number, done: BlockDone): void {
    refuse(offsetBytes, done);
  }
}

function refusal(offsetBytes: number): BlockError {
  return new BlockError('read-only', 'the disk is read-only', offsetBytes);
}

function refuse(offsetBytes: number, done: BlockDone): void {
  queueMicrotask(() => {
    done(refusal(offsetBytes));
  });
}
