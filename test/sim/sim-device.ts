import { invariant } from '#base/mod.ts';
import { BlockError } from '#block/mod.ts';
import type { BlockDevice, BlockDone, BlockExtent } from '#block/mod.ts';
import type { Random } from './random.ts';
import { BLOCK_BYTES } from './stamp.ts';

/** Something that changes the medium, not yet known to be on it. `bytes` null: zeros. */
type Change = {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly bytes: Buffer | null;
  /** Has been answered; a flush covers what was answered before it began. */
  answered: boolean;
};

/** What becomes of one change in a power cut. */
type Fate = (change: Change, index: number, sector: number) => boolean;

/** How a `SimDevice` misbehaves. */
export type SimFaults = {
  /** Chance that a flush fails, and loses what it should have written, as a kernel does. */
  readonly flushFails?: number;
};

/**
 * A disk with a volatile cache, whose power can be cut. Every call is answered when `step` chooses
 * it, in any order. `powerCut` gives the medium afterwards: all that a successful flush covered,
 * and of the rest any subset of sectors of 512 bytes, from any of the writes to them.
 *
 * A flush that fails loses what it should have written: Linux counts the pages as clean, and a
 * second fdatasync would have nothing to do (hostile case 38). So from then on every call fails, as
 * `BlockDevice` demands.
 */
export class SimDevice implements BlockDevice {
  readonly sizeBytes: number;
  readonly blockBytes = BLOCK_BYTES;
  readonly physicalBlockBytes = 4096;
  readonly readOnly = false;
  readonly canDiscard = true;
  readonly #random: Random;
  readonly #faults: SimFaults;
  /** What reads see. */
  readonly #cache: Buffer;
  /** What is on the medium for sure. */
  readonly #medium: Buffer;
  #changes: Change[] = [];
  readonly #underWay: (() => void)[] = [];
  #failure: BlockError | null = null;

  constructor(content: Buffer, random: Random, faults: SimFaults = {}) {
    this.sizeBytes = content.length;
    this.#cache = Buffer.from(content);
    this.#medium = Buffer.from(content);
    this.#random = random;
    this.#faults = faults;
  }

  /** Operations that wait for their turn. */
  get underWay(): number {
    return this.#underWay.length;
  }

  /** Lets one operation happen, any of those under way. */
  step(): void {
    this.#random.take(this.#underWay)();
  }

  /** The power goes: what is on the medium. The device is of no use afterwards. */
  powerCut(): Buffer {
    this.#underWay.length = 0;
    const after = Buffer.from(this.#medium);
    // In a cache of sectors only the last write to one is left, but writes are reordered: so the
    // winner of a sector is any of the writes that reached it.
    const fate = this.#fate();
    const order = this.#random.chance(0.5) ? this.#changes : this.#shuffled();
    for (const [index, change] of order.entries()) {
      const first = change.offsetBytes / BLOCK_BYTES;
      for (let sector = 0; sector < change.lengthBytes / BLOCK_BYTES; sector++) {
        if (!fate(change, index, first + sector)) continue;
        apply(after, change, sector * BLOCK_BYTES, BLOCK_BYTES);
      }
    }
    return after;
  }

  tryRead(offsetBytes: number, into: Uint8Array, at: number, lengthBytes: number): boolean {
    if (this.#failure !== null) throw this.#failure;
    if (this.#random.chance(0.5)) return false;
    this.#copy(offsetBytes, into, at, lengthBytes);
    return true;
  }

  read(
    offsetBytes: number,
    into: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void {
    this.#underWay.push(() => {
      this.#copy(offsetBytes, into, at, lengthBytes);
      done(this.#failure);
    });
  }

  tryWrite(offsetBytes: number, from: Uint8Array, at: number, lengthBytes: number): boolean {
    if (this.#failure !== null) throw this.#failure;
    if (this.#random.chance(0.5)) return false;
    this.#change(offsetBytes, lengthBytes, Buffer.from(from.subarray(at, at + lengthBytes)))();
    return true;
  }

  write(
    offsetBytes: number,
    from: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void {
    const bytes = Buffer.from(from.subarray(at, at + lengthBytes));
    this.#later(offsetBytes, lengthBytes, bytes, done);
  }

  discard(offsetBytes: number, lengthBytes: number, done: BlockDone): void {
    this.#later(offsetBytes, lengthBytes, null, done);
  }

  writeZeroes(offsetBytes: number, lengthBytes: number, done: BlockDone): void {
    this.#later(offsetBytes, lengthBytes, null, done);
  }

  flush(done: BlockDone): void {
    const covered = new Set(this.#changes.filter((c) => c.answered));
    this.#underWay.push(() => {
      if (this.#failure !== null) return done(this.#failure);
      const fails = this.#random.chance(this.#faults.flushFails ?? 0);
      // Another flush may have been done with some of them meanwhile.
      const due = this.#changes.filter((c) => covered.has(c));
      if (!fails) for (const change of due) apply(this.#medium, change, 0, change.lengthBytes);
      this.#changes = this.#changes.filter((c) => !covered.has(c));
      if (!fails) return done(null);
      this.#failure = new BlockError('failed', 'an earlier flush failed', 0);
      return done(new BlockError('io', 'injected: the flush failed', 0));
    });
  }

  rescan(done: BlockDone): void {
    this.#underWay.push(() => {
      done(null);
    });
  }

  extentAt(_offsetBytes: number, lengthBytes: number): BlockExtent {
    return { lengthBytes, state: 'data' };
  }

  close(done: BlockDone): void {
    this.flush(done);
  }

  /** What readers see now. */
  content(): Buffer {
    return Buffer.from(this.#cache);
  }

  #copy(offsetBytes: number, into: Uint8Array, at: number, lengthBytes: number): void {
    into.set(this.#cache.subarray(offsetBytes, offsetBytes + lengthBytes), at);
  }

  #later(offsetBytes: number, lengthBytes: number, bytes: Buffer | null, done: BlockDone): void {
    const happen = this.#change(offsetBytes, lengthBytes, bytes);
    this.#underWay.push(() => {
      happen();
      done(this.#failure);
    });
  }

  /** From the call on it may reach the medium; when it happens, readers see it. */
  #change(offsetBytes: number, lengthBytes: number, bytes: Buffer | null): () => void {
    invariant(offsetBytes % BLOCK_BYTES === 0 && lengthBytes % BLOCK_BYTES === 0, 'whole blocks');
    invariant(offsetBytes + lengthBytes <= this.sizeBytes, 'within the disk');
    const change: Change = { offsetBytes, lengthBytes, bytes, answered: false };
    this.#changes.push(change);
    return () => {
      change.answered = true;
      // Writes under way at the same time happen in the order in which they are answered.
      this.#changes = this.#changes.filter((c) => c !== change);
      this.#changes.push(change);
      apply(this.#cache, change, 0, lengthBytes);
    };
  }

  #fate(): Fate {
    const random = this.#random;
    const share = random.pick([0.1, 0.5, 0.9]);
    const cut = random.below(this.#changes.length + 1);
    const whole = new Map<Change, boolean>();
    return random.pick<Fate>([
      () => false,
      () => true,
      () => random.chance(share),
      (_, index) => index < cut,
      (change) => {
        const kept = whole.get(change) ?? random.chance(share);
        whole.set(change, kept);
        return kept;
      },
    ]);
  }

  #shuffled(): Change[] {
    const left = [...this.#changes];
    return this.#changes.map(() => this.#random.take(left));
  }
}

function apply(medium: Buffer, change: Change, from: number, length: number): void {
  const at = change.offsetBytes + from;
  if (change.bytes === null) medium.fill(0, at, at + length);
  else change.bytes.copy(medium, at, from, from + length);
}
