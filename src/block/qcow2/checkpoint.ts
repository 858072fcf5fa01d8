import { setImmediate } from 'node:timers/promises';
import { BlockError } from '../device.ts';
import type { BlockDone } from '../device.ts';
import type { Changes, Sealed } from './changes.ts';
import { blockErrorFrom } from './error.ts';
import { writeBytes } from './file-io.ts';
import type { Image } from './image.ts';

/** Table pieces written before others get their turn: some 100 µs. */
const PIECES_PER_TURN = 64;

/**
 * Flushes and checkpoints, which are the same (durability contract 5): sync, so that data and
 * refcounts are on stable media; write the tables that refer to them; sync. Those asked for while
 * one runs share the next one.
 */
export class Checkpointer {
  readonly #image: Image;
  readonly #changes: Changes;
  #waiters: BlockDone[] = [];
  #running = false;
  #wanted = false;
  /** Tables that could not be written for want of space: first of all these. */
  #left: Sealed | null = null;

  constructor(image: Image, changes: Changes) {
    this.#image = image;
    this.#changes = changes;
  }

  /** Answers when all that was written before is on stable media. */
  flush(done: BlockDone): void {
    this.#waiters.push(done);
    this.#run();
  }

  /** Makes a checkpoint soon, for nobody in particular. */
  soon(): void {
    if (this.#running) return;
    this.#wanted = true;
    this.#run();
  }

  #run(): void {
    if (this.#running) return;
    this.#running = true;
    void this.#loop();
  }

  async #loop(): Promise<void> {
    // Not within the call that asked.
    await Promise.resolve();
    while (this.#waiters.length > 0 || this.#wanted) {
      const waiters = this.#waiters;
      this.#waiters = [];
      this.#wanted = false;
      const error = await this.#once();
      for (const waiter of waiters) waiter(error);
    }
    this.#running = false;
  }

  async #once(): Promise<BlockError | null> {
    if (this.#image.failure !== null) return this.#image.failure;
    try {
      if (this.#left !== null) await this.#write(this.#left);
      const sealed = this.#image.readOnly ? null : this.#changes.seal();
      await this.#image.sync();
      if (sealed !== null) await this.#write(sealed);
      return null;
    } catch (e) {
      if (e instanceof BlockError) return e;
      // Our own mistake: what is on stable media now is not known.
      const error = blockErrorFrom(e, 0);
      this.#image.fail(error);
      return error;
    }
  }

  async #write(sealed: Sealed): Promise<void> {
    this.#left = sealed;
    const { file } = this.#image;
    let now = 0;
    for (const { position, bytes } of sealed.pieces) {
      try {
        // A page into the page cache costs less than a trip to the thread pool.
        if (!file.tryWrite(position, bytes, 0, bytes.length)) {
          await writeBytes(file, position, bytes);
        }
      } catch (e) {
        throw this.#judge(e);
      }
      now += 1;
      if (now % PIECES_PER_TURN === 0) await setImmediate();
    }
    await this.#image.sync();
    this.#left = null;
    this.#changes.settle(sealed.epoch);
  }

  /** Space can come back; a table that cannot be written for any other reason is the end. */
  #judge(e: unknown): BlockError {
    const error = e instanceof BlockError ? e : new BlockError('io', String(e), 0, { cause: e });
    if (error.kind !== 'no-space') this.#image.fail(error);
    return error;
  }
}
