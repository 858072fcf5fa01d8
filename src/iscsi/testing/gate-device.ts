import { MemoryDevice } from '#block/mod.ts';
import type { BlockDone, BlockError } from '#block/mod.ts';

type Waiting = {
  readonly kind: 'read' | 'write' | 'flush';
  readonly run: (error: BlockError | null) => void;
};

/**
 * A memory disk that is never resident and answers only when it is told to: `waiting` holds the
 * operations in the order in which they came.
 */
export class GateDevice extends MemoryDevice {
  readonly waiting: Waiting[] = [];
  /** While true, operations are answered at the end of the tick instead of waiting. */
  gateOpen = false;

  override tryRead(_offset: number, _into: Uint8Array, _at: number, _bytes: number): boolean {
    return false;
  }

  override tryWrite(_offset: number, _from: Uint8Array, _at: number, _bytes: number): boolean {
    return false;
  }

  override read(
    offsetBytes: number,
    into: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void {
    this.#enqueue('read', done, () => super.tryRead(offsetBytes, into, at, lengthBytes));
  }

  override write(
    offsetBytes: number,
    from: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void {
    this.#enqueue('write', done, () => super.tryWrite(offsetBytes, from, at, lengthBytes));
  }

  override flush(done: BlockDone): void {
    this.#enqueue('flush', done, () => {});
  }

  /** Answers what waits, oldest first, up to `count` operations; resolves after their callbacks. */
  async release(count = Infinity, error: BlockError | null = null): Promise<void> {
    for (let n = 0; n < count; n++) {
      const next = this.waiting.shift();
      if (next === undefined) break;
      next.run(error);
    }
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }

  /** What is on the disk. */
  content(offsetBytes: number, lengthBytes: number): Uint8Array {
    const into = new Uint8Array(lengthBytes);
    super.tryRead(offsetBytes, into, 0, lengthBytes);
    return into;
  }

  #enqueue(kind: Waiting['kind'], done: BlockDone, act: () => unknown): void {
    const run = (error: BlockError | null): void => {
      if (error === null) act();
      done(error);
    };
    if (this.gateOpen) setImmediate(run, null);
    else this.waiting.push({ kind, run });
  }
}
