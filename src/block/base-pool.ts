import { HotBlocks } from './cache/hot-blocks.ts';
import type { BlockDevice, BlockDone } from './device.ts';
import { BlockError } from './device.ts';
import { FilterDevice } from './filter/base.ts';
import { lendFrom } from './lend.ts';

type Base = {
  /** Settles once; a base that failed to open has left the table before anybody sees why. */
  readonly opening: Promise<BlockDevice>;
  holders: number;
};

/**
 * The bases that are open in this thread: one device for each, however many disks stand on it. It
 * is closed when the last of them lets go.
 */
export class BasePool {
  readonly #bases = new Map<string, Base>();
  readonly #cacheBytesMax: number | undefined;
  #hotBlocks: HotBlocks | undefined;

  /** `cacheBytesMax`: for all cached bases of this thread together. */
  constructor(options: { readonly cacheBytesMax?: number } = {}) {
    this.#cacheBytesMax = options.cacheBytesMax;
  }

  /** The memory for what is read most of the bases that are cached. */
  get hotBlocks(): HotBlocks {
    this.#hotBlocks ??= new HotBlocks(this.#cacheBytesMax);
    return this.#hotBlocks;
  }

  /** Bases that are open or being opened. */
  get size(): number {
    return this.#bases.size;
  }

  /**
   * The device named `key`, opened by `open` unless it is open already; whatever `open` throws goes
   * to all who wait for it. Closing the result lets go of it. Writing to it is refused by nobody
   * here: `open` must open read-only.
   */
  async acquire(key: string, open: () => Promise<BlockDevice>): Promise<BlockDevice> {
    const known = this.#bases.get(key);
    const base = known ?? { opening: open(), holders: 0 };
    if (known === undefined) this.#bases.set(key, base);
    base.holders += 1;
    try {
      const device = await base.opening;
      return new HeldBase(device, (done) => {
        this.#release(key, base, device, done);
      });
    } catch (e) {
      if (this.#bases.get(key) === base) this.#bases.delete(key);
      throw e;
    }
  }

  #release(key: string, base: Base, device: BlockDevice, done: BlockDone): void {
    base.holders -= 1;
    if (base.holders > 0) {
      queueMicrotask(() => {
        done(null);
      });
      return;
    }
    this.#bases.delete(key);
    device.close(done);
  }
}

/** One holder's hand on a base: closing it waits for its own reads and leaves the base open. */
class HeldBase extends FilterDevice {
  readonly #letGo: (done: BlockDone) => void;
  #closed: BlockError | null = null;
  #underWay = 0;
  #closeWaiters: BlockDone[] = [];
  #released = false;

  constructor(inner: BlockDevice, letGo: (done: BlockDone) => void) {
    super(inner);
    this.#letGo = letGo;
  }

  override tryRead(offset: number, into: Uint8Array, at: number, lengthBytes: number): boolean {
    if (this.#closed !== null) throw this.#closed;
    return this.inner.tryRead(offset, into, at, lengthBytes);
  }

  /** `LendingDevice.lend`. */
  lend(offsetBytes: number, lengthBytes: number): number {
    return this.#closed === null ? lendFrom(this.inner, offsetBytes, lengthBytes) : 0;
  }

  override read(
    offset: number,
    into: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void {
    this.#run(done, (left) => {
      this.inner.read(offset, into, at, lengthBytes, left);
    });
  }

  override tryWrite(offset: number, from: Uint8Array, at: number, lengthBytes: number): boolean {
    if (this.#closed !== null) throw this.#closed;
    return this.inner.tryWrite(offset, from, at, lengthBytes);
  }

  override write(
    offset: number,
    from: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void {
    this.#run(done, (left) => {
      this.inner.write(offset, from, at, lengthBytes, left);
    });
  }

  override flush(done: BlockDone): void {
    this.#run(done, (left) => {
      this.inner.flush(left);
    });
  }

  override close(done: BlockDone): void {
    if (this.#released) {
      queueMicrotask(() => {
        done(null);
      });
      return;
    }
    this.#closed ??= new BlockError('gone', 'the base is closed', 0);
    this.#closeWaiters.push(done);
    if (this.#closeWaiters.length === 1 && this.#underWay === 0) this.#release();
  }

  #run(done: BlockDone, start: (left: BlockDone) => void): void {
    const closed = this.#closed;
    if (closed !== null) {
      queueMicrotask(() => {
        done(closed);
      });
      return;
    }
    this.#underWay += 1;
    start((error) => {
      this.#underWay -= 1;
      done(error);
      if (this.#underWay === 0 && this.#closeWaiters.length > 0) this.#release();
    });
  }

  #release(): void {
    this.#letGo((error) => {
      this.#released = true;
      for (const waiter of this.#closeWaiters.splice(0)) waiter(error);
    });
  }
}
