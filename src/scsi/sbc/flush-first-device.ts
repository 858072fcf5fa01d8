import { BlockError, FilterDevice } from '#block/mod.ts';
import type { BlockDevice, BlockDone } from '#block/mod.ts';
import { GateRefusal } from '../gate-device.ts';

/**
 * A READ with FUA: newer data in a cache goes to the medium before it is read (SBC-3 §4.15). One
 * flush before the first byte of the command.
 */
export class FlushFirstDevice extends FilterDevice {
  readonly #flush: () => Promise<void>;
  #flushed: Promise<void> | null = null;

  constructor(inner: BlockDevice, flush: () => Promise<void>) {
    super(inner);
    this.#flush = flush;
  }

  override tryRead(): boolean {
    return false;
  }

  override read(
    offset: number,
    into: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void {
    this.#flushed ??= this.#flush();
    this.#flushed.then(
      () => {
        this.inner.read(offset, into, at, lengthBytes, done);
      },
      (e: unknown) => {
        const refused = e instanceof GateRefusal;
        done(refused ? e : new BlockError('failed', 'the flush before a read failed', offset));
      },
    );
  }
}
