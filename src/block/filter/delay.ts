import type { Clock } from '#base/mod.ts';
import type { BlockDevice, BlockDone } from '../device.ts';
import { FilterDevice } from './base.ts';

/** How slow, in milliseconds; what is left out is not delayed. */
export type Delays = {
  readonly readMs?: number;
  readonly writeMs?: number;
  readonly flushMs?: number;
};

/**
 * A slow disk: nothing is resident (`try` calls answer false), and every call waits on the clock
 * before it reaches the device.
 */
export class DelayDevice extends FilterDevice {
  readonly #clock: Clock;
  readonly #delays: Delays;
  /** Calls that have not reached the device yet, and closes that wait for them. */
  #held = 0;
  #closing: BlockDone[] = [];

  constructor(inner: BlockDevice, clock: Clock, delays: Delays) {
    super(inner);
    this.#clock = clock;
    this.#delays = delays;
  }

  override tryRead(offset: number, into: Uint8Array, at: number, lengthBytes: number): boolean {
    if (this.#delays.readMs !== undefined) return false;
    return this.inner.tryRead(offset, into, at, lengthBytes);
  }

  override read(
    offset: number,
    into: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void {
    this.#later(this.#delays.readMs, () => {
      this.inner.read(offset, into, at, lengthBytes, done);
    });
  }

  override tryWrite(offset: number, from: Uint8Array, at: number, lengthBytes: number): boolean {
    if (this.#delays.writeMs !== undefined) return false;
    return this.inner.tryWrite(offset, from, at, lengthBytes);
  }

  override write(
    offset: number,
    from: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void {
    this.#later(this.#delays.writeMs, () => {
      this.inner.write(offset, from, at, lengthBytes, done);
    });
  }

  override flush(done: BlockDone): void {
    this.#later(this.#delays.flushMs, () => {
      this.inner.flush(done);
    });
  }

  override discard(offset: number, lengthBytes: number, done: BlockDone): void {
    this.#later(this.#delays.writeMs, () => {
      this.inner.discard(offset, lengthBytes, done);
    });
  }

  override writeZeroes(offset: number, lengthBytes: number, done: BlockDone): void {
    this.#later(this.#delays.writeMs, () => {
      this.inner.writeZeroes(offset, lengthBytes, done);
    });
  }

  override close(done: BlockDone): void {
    if (this.#held === 0) this.inner.close(done);
    else this.#closing.push(done);
  }

  #later(delayMs: number | undefined, run: () => void): void {
    if (delayMs === undefined) {
      run();
      return;
    }
    this.#held += 1;
    this.#clock.after(delayMs, () => {
      this.#held -= 1;
      run();
      if (this.#held > 0) return;
      for (const waiting of this.#closing.splice(0)) this.inner.close(waiting);
    });
  }
}
