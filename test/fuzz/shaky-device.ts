import assert from 'node:assert/strict';
import { BlockError, FilterDevice } from '#block/mod.ts';
import type { BlockDevice, BlockDone } from '#block/mod.ts';
import type { Dice } from './dice.ts';

/**
 * A disk of moods: now resident, now cold, now and then broken; answers turns later. With
 * `coldOnly` it is none of that but slow. It fails the test when it is asked for anything beyond
 * its bounds.
 */
export class ShakyDevice extends FilterDevice {
  readonly #dice: Dice;
  readonly #coldOnly: boolean;
  /** Calls that were not answered. */
  underWay = 0;

  constructor(inner: BlockDevice, dice: Dice, coldOnly = false) {
    super(inner);
    this.#coldOnly = coldOnly;
    this.#dice = dice;
  }

  override tryRead(offset: number, into: Uint8Array, at: number, lengthBytes: number): boolean {
    this.#within(offset, lengthBytes);
    assert.ok(at >= 0 && at + lengthBytes <= into.length, 'room for what is read');
    if (this.#coldOnly || this.#dice.once(4)) return false;
    this.#mood(offset);
    return this.inner.tryRead(offset, into, at, lengthBytes);
  }

  override read(
    offset: number,
    into: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void {
    this.#within(offset, lengthBytes);
    this.#later(offset, done, (then) => {
      this.inner.read(offset, into, at, lengthBytes, then);
    });
  }

  override tryWrite(offset: number, from: Uint8Array, at: number, lengthBytes: number): boolean {
    this.#within(offset, lengthBytes);
    if (this.#coldOnly || this.#dice.once(4)) return false;
    this.#mood(offset);
    return this.inner.tryWrite(offset, from, at, lengthBytes);
  }

  override write(
    offset: number,
    from: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void {
    this.#within(offset, lengthBytes);
    this.#later(offset, done, (then) => {
      this.inner.write(offset, from, at, lengthBytes, then);
    });
  }

  override discard(offset: number, lengthBytes: number, done: BlockDone): void {
    this.#within(offset, lengthBytes);
    super.discard(offset, lengthBytes, done);
  }

  #within(offset: number, lengthBytes: number): void {
    const end = offset + lengthBytes;
    assert.ok(offset >= 0 && lengthBytes >= 0 && end <= this.sizeBytes, `${offset}+${lengthBytes}`);
    assert.ok(offset % this.blockBytes === 0 && lengthBytes % this.blockBytes === 0);
  }

  #mood(offset: number): void {
    if (this.#dice.once(200)) throw new BlockError('io', 'a bad moment', offset);
  }

  #later(offset: number, done: BlockDone, act: (then: BlockDone) => void): void {
    this.underWay += 1;
    const then: BlockDone = (error) => {
      this.underWay -= 1;
      done(error);
    };
    const broken = !this.#coldOnly && this.#dice.once(100);
    const run = (): void => {
      if (broken) then(new BlockError('io', 'a bad moment', offset));
      else act(then);
    };
    if (!this.#coldOnly && this.#dice.once(2)) queueMicrotask(run);
    else setImmediate(run);
  }
}
