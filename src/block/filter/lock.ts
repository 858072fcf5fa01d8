import type { BlockDevice, BlockDone } from '../device.ts';
import { lendForWritingFrom } from '../lend.ts';
import { FilterDevice } from './base.ts';

type Range = { readonly startBytes: number; readonly endBytes: number };
type Waiting = Range & { readonly start: () => void };

/** Holds its range until called; calling it twice does nothing. */
export type Release = () => void;

/**
 * Lets one caller read, decide and write a range while no other write to it can come between
 * (COMPARE AND WRITE, ORWRITE; hostile case 31). Reads and writes elsewhere are not held up;
 * without a lock a `tryWrite` costs one comparison.
 *
 * Ranges in `#busy` are writes under way on other threads and locks held. A write or lock that
 * overlaps one of them, or one that waits already, waits its turn: first come, first served.
 */
export class RangeLockDevice extends FilterDevice {
  readonly #busy = new Set<Range>();
  readonly #waiting: Waiting[] = [];
  #locks = 0;

  /**
   * Gives the range to the caller alone. `granted` gets the device to use meanwhile (this one would
   * wait for itself) and must call `release` when done. May call back before it returns.
   */
  exclusive(
    startBytes: number,
    lengthBytes: number,
    granted: (device: BlockDevice, release: Release) => void,
  ): void {
    this.#locks += 1;
    this.#enter(startBytes, lengthBytes, (leave) => {
      let held = true;
      granted(this.inner, () => {
        if (!held) return;
        held = false;
        this.#locks -= 1;
        leave();
      });
    });
  }

  /** Calls `quiet` when every write and lock that there is now, or that waits, has ended. */
  settled(quiet: () => void): void {
    this.exclusive(0, this.sizeBytes, (_device, release) => {
      release();
      quiet();
    });
  }

  override tryWrite(offset: number, from: Uint8Array, at: number, lengthBytes: number): boolean {
    if (this.#locks !== 0 && this.#mustWait(offset, offset + lengthBytes)) return false;
    return this.inner.tryWrite(offset, from, at, lengthBytes);
  }

  /** `LendingDevice.lendForWriting`; what is lent is written at once, so it holds no range. */
  lendForWriting(offset: number, lengthBytes: number): number {
    return this.#locks === 0 ? lendForWritingFrom(this.inner, offset, lengthBytes) : 0;
  }

  override write(
    offset: number,
    from: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void {
    this.#enter(offset, lengthBytes, (leave) => {
      this.inner.write(offset, from, at, lengthBytes, leaving(leave, done));
    });
  }

  override discard(offset: number, lengthBytes: number, done: BlockDone): void {
    this.#enter(offset, lengthBytes, (leave) => {
      this.inner.discard(offset, lengthBytes, leaving(leave, done));
    });
  }

  override writeZeroes(offset: number, lengthBytes: number, done: BlockDone): void {
    this.#enter(offset, lengthBytes, (leave) => {
      this.inner.writeZeroes(offset, lengthBytes, leaving(leave, done));
    });
  }

  #enter(startBytes: number, lengthBytes: number, run: (leave: () => void) => void): void {
    const range: Range = { startBytes, endBytes: startBytes + lengthBytes };
    const start = (): void => {
      this.#busy.add(range);
      run(() => {
        this.#busy.delete(range);
        if (this.#waiting.length !== 0) this.#wake();
      });
    };
    if (this.#locks !== 0 && this.#mustWait(range.startBytes, range.endBytes)) {
      this.#waiting.push({ ...range, start });
    } else {
      start();
    }
  }

  #mustWait(startBytes: number, endBytes: number): boolean {
    for (const r of this.#busy) {
      if (r.startBytes < endBytes && startBytes < r.endBytes) return true;
    }
    return this.#waiting.some((w) => w.startBytes < endBytes && startBytes < w.endBytes);
  }

  #wake(): void {
    const queue = this.#waiting.splice(0);
    for (const w of queue) {
      if (this.#mustWait(w.startBytes, w.endBytes)) this.#waiting.push(w);
      else w.start();
    }
  }
}

function leaving(leave: () => void, done: BlockDone): BlockDone {
  return (error) => {
    done(error);
    leave();
  };
}
