import { BlockError } from '#block/mod.ts';
import type { BlockDone } from '#block/mod.ts';
import type { ImageFile } from '#block/qcow2/mod.ts';
import type { Content } from './content.ts';
import type { Random } from './random.ts';

const SECTOR_BYTES = 512;

/** What changes the file, not yet known to be on the medium. `bytes` null: zeros. */
type Change = {
  readonly at: number;
  readonly lengthBytes: number;
  readonly bytes: Buffer | null;
  /** The file ends here from now on (and `lengthBytes` is 0). */
  readonly cutTo: number | null;
  answered: boolean;
};

/** How a `SimFile` misbehaves: the chance of each. */
export type FileFaults = {
  /** A sync fails, and loses what it should have written. */
  readonly syncFails?: number;
  /** A sync succeeds and does nothing: for the proof that the simulation can fail. */
  readonly syncLies?: boolean;
  /** A write that makes the file longer finds no space. */
  readonly noSpace?: number;
};

/**
 * The file below an image, whose process can die and whose power can be cut. Calls are answered
 * when `step` chooses them, in any order. After a process death the file has what was written;
 * after a power cut all that a sync covered, and of the rest any subset of sectors of 512 bytes,
 * from any of the writes to them, and any length between.
 */
export class SimFile implements ImageFile {
  readonly bootId: Uint8Array;
  /** Replaceable: a disk can fill up and be emptied. */
  faults: FileFaults;
  readonly #random: Random;
  #cache: Content;
  readonly #medium: Content;
  /** In the order in which they happened, those under way among them. */
  readonly #changes = new Set<Change>();
  readonly #underWay: (() => void)[] = [];
  #closed = false;
  #lost = false;

  constructor(content: Content, random: Random, boot: number, faults: FileFaults = {}) {
    this.bootId = new Uint8Array(16).fill(boot);
    this.#cache = content.copy();
    this.#medium = content.copy();
    this.#random = random;
    this.faults = faults;
  }

  /** Counts from the first opening: another after each power cut. */
  get boot(): number {
    return this.bootId[0] ?? 0;
  }

  get sizeBytes(): number {
    return this.#cache.length;
  }

  /**
   * A sync failed: what it should have written counts as clean and is not on the medium. Nobody can
   * promise anything for it, in this process or the next one, until the cache is dropped.
   */
  get lost(): boolean {
    return this.#lost;
  }

  get underWay(): number {
    return this.#underWay.length;
  }

  /** Lets one operation happen, any of those under way. */
  step(): void {
    this.#random.take(this.#underWay)();
  }

  /**
   * The process dies, and the next one opens the file: it has all that was written, and a part of
   * what was being written; but of what was not synced the power can still take any part.
   */
  death(): SimFile {
    this.#closed = true;
    const next = new SimFile(this.#medium, this.#random, this.boot, this.faults);
    next.#cache = this.#cache.copy();
    for (const change of this.#changes) if (change.answered) next.#changes.add(change);
    for (const change of this.#changes) {
      if (change.answered) continue;
      // A write(2) is cut between pages: some of its first sectors are there.
      const parts = sectorsOf(change);
      const there = parts[this.#random.below(parts.length + 1) - 1];
      if (there === undefined) continue;
      const part: Change = { ...change, lengthBytes: there[1], answered: true };
      apply(next.#cache, part, 0, part.lengthBytes);
      next.#changes.add(part);
    }
    return next;
  }

  /** The power goes, and comes back: the file as it is on the medium. */
  powerCut(): SimFile {
    this.#closed = true;
    const random = this.#random;
    const share = random.pick([0, 0.1, 0.5, 0.9, 1]);
    const byChange = random.chance(0.3);
    const inOrder = random.chance(0.5);
    const after = this.#medium.copy();
    const left = [...this.#changes];
    if (!inOrder) random.shuffle(left);
    for (const change of left) {
      const whole = random.chance(share);
      if (byChange && !whole) continue;
      for (const [from, to] of sectorsOf(change)) {
        if (byChange || random.chance(share)) apply(after, change, from, to);
      }
    }
    // The length is metadata: it may be there before the data is.
    if (random.chance(0.5)) after.resize(Math.max(after.length, this.#cache.length));
    return new SimFile(after, random, this.boot + 1, this.faults);
  }

  tryRead(positionBytes: number, into: Uint8Array, at: number, lengthBytes: number): boolean {
    if (this.#random.chance(0.3)) return false;
    this.readSync(positionBytes, into, at, lengthBytes);
    return true;
  }

  readSync(positionBytes: number, into: Uint8Array, at: number, lengthBytes: number): void {
    this.#cache.read(positionBytes, into, at, lengthBytes);
  }

  read(
    positionBytes: number,
    into: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void {
    this.#later(() => {
      this.readSync(positionBytes, into, at, lengthBytes);
      done(null);
    });
  }

  tryWrite(positionBytes: number, from: Uint8Array, at: number, lengthBytes: number): boolean {
    if (this.#random.chance(0.3)) return false;
    this.writeSync(positionBytes, from, at, lengthBytes);
    return true;
  }

  writeSync(positionBytes: number, from: Uint8Array, at: number, lengthBytes: number): void {
    const error = this.#full(positionBytes, lengthBytes);
    if (error !== null) throw error;
    this.#change(positionBytes, lengthBytes, Buffer.from(from.subarray(at, at + lengthBytes)))();
  }

  write(
    positionBytes: number,
    from: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void {
    const bytes = Buffer.from(from.subarray(at, at + lengthBytes));
    const error = this.#full(positionBytes, lengthBytes);
    const happen = error === null ? this.#change(positionBytes, lengthBytes, bytes) : () => {};
    this.#later(() => {
      happen();
      done(error);
    });
  }

  sync(done: BlockDone): void {
    const covered = [...this.#changes].filter((c) => c.answered);
    this.#later(() => {
      if (this.faults.syncLies === true) return done(null);
      const fails = this.#random.chance(this.faults.syncFails ?? 0);
      this.#lost ||= fails;
      for (const change of covered) {
        // Another sync may have been done with it meanwhile.
        if (!this.#changes.delete(change) || fails) continue;
        apply(this.#medium, change, 0, change.lengthBytes);
      }
      return done(fails ? new BlockError('io', 'injected: the sync failed', 0) : null);
    });
  }

  punch(positionBytes: number, lengthBytes: number, done: BlockDone): void {
    const happen = this.#change(positionBytes, lengthBytes, null);
    this.#later(() => {
      happen();
      done(null);
    });
  }

  /** For files that are cut: the log of atomic writes. */
  truncate(length: number, done: BlockDone): void {
    const happen = this.#change(0, 0, null, length);
    this.#later(() => {
      happen();
      done(null);
    });
  }

  close(done: BlockDone): void {
    this.#later(() => {
      done(null);
    });
  }

  /** What readers see. */
  get content(): Content {
    return this.#cache;
  }

  #later(run: () => void): void {
    // Of a dead process nothing happens any more.
    this.#underWay.push(() => {
      if (!this.#closed) run();
    });
  }

  #full(positionBytes: number, lengthBytes: number): BlockError | null {
    const longer = positionBytes + lengthBytes > this.#cache.length;
    if (!longer || !this.#random.chance(this.faults.noSpace ?? 0)) return null;
    return new BlockError('no-space', 'injected: no space', positionBytes);
  }

  /** From the call on it may reach the medium; when it happens, readers see it. */
  #change(
    at: number,
    lengthBytes: number,
    bytes: Buffer | null,
    cutTo: number | null = null,
  ): () => void {
    const change: Change = { at, lengthBytes, bytes, cutTo, answered: false };
    this.#changes.add(change);
    return () => {
      change.answered = true;
      this.#changes.delete(change);
      this.#changes.add(change);
      apply(this.#cache, change, 0, lengthBytes);
    };
  }
}

/** The parts of a change that reach the medium or not, as [from, to) within it. */
function sectorsOf(change: Change): readonly (readonly [number, number])[] {
  if (change.cutTo !== null) return [[0, 0]];
  const parts: [number, number][] = [];
  for (let from = 0; from < change.lengthBytes;) {
    const rest = SECTOR_BYTES - ((change.at + from) % SECTOR_BYTES);
    const to = Math.min(from + rest, change.lengthBytes);
    parts.push([from, to]);
    from = to;
  }
  return parts;
}

/** Applies a part of a change. */
function apply(content: Content, change: Change, from: number, to: number): void {
  if (change.cutTo !== null) content.resize(change.cutTo);
  else if (change.bytes === null) content.clear(change.at + from, to - from);
  else content.write(change.at + from, change.bytes.subarray(from, to));
}
