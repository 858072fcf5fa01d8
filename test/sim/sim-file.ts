import { BlockError } from '#block/mod.ts';
import type { BlockDone } from '#block/mod.ts';
import type { ImageFile } from '#block/qcow2/mod.ts';
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

/** A file's bytes and length, cheap to make longer. */
class Content {
  bytes: Buffer;
  length: number;

  constructor(bytes: Buffer) {
    this.bytes = Buffer.from(bytes);
    this.length = bytes.length;
  }

  /** Applies a part of a change. */
  apply(change: Change, from: number, to: number): void {
    if (change.cutTo !== null) {
      this.#reach(change.cutTo);
      this.bytes.fill(0, change.cutTo, this.length);
      this.length = change.cutTo;
      return;
    }
    const [start, end] = [change.at + from, change.at + to];
    if (change.bytes === null) {
      // A hole is not punched beyond the end.
      this.bytes.fill(0, Math.min(start, this.length), Math.min(end, this.length));
      return;
    }
    this.#reach(end);
    change.bytes.copy(this.bytes, start, from, to);
    this.length = Math.max(this.length, end);
  }

  become(bytes: Buffer): void {
    this.bytes = bytes;
    this.length = bytes.length;
  }

  #reach(end: number): void {
    if (end <= this.bytes.length) return;
    const larger = Buffer.alloc(Math.max(end, 2 * this.bytes.length));
    this.bytes.copy(larger, 0, 0, this.length);
    this.bytes = larger;
  }

  get(): Buffer {
    return Buffer.from(this.bytes.subarray(0, this.length));
  }
}

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
  readonly #cache: Content;
  readonly #medium: Content;
  #changes: Change[] = [];
  readonly #underWay: (() => void)[] = [];
  #closed = false;
  #lost = false;

  constructor(content: Buffer, random: Random, boot: number, faults: FileFaults = {}) {
    this.bootId = new Uint8Array(16).fill(boot);
    this.#cache = new Content(content);
    this.#medium = new Content(content);
    this.#random = random;
    this.faults = faults;
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
    const next = new SimFile(this.#medium.get(), this.#random, this.bootId[0] ?? 0, this.faults);
    next.#cache.become(this.#cache.get());
    next.#changes = this.#changes.filter((c) => c.answered);
    for (const change of this.#changes) {
      if (change.answered) continue;
      // A write(2) is cut between pages: some of its first sectors are there.
      const parts = sectorsOf(change);
      const there = parts[this.#random.below(parts.length + 1) - 1];
      if (there === undefined) continue;
      const part: Change = { ...change, lengthBytes: there[1], answered: true };
      next.#cache.apply(part, 0, part.lengthBytes);
      next.#changes.push(part);
    }
    return next;
  }

  /** The power goes: what is on the medium. */
  powerCut(): Buffer {
    this.#closed = true;
    const random = this.#random;
    const share = random.pick([0, 0.1, 0.5, 0.9, 1]);
    const byChange = random.chance(0.3);
    const inOrder = random.chance(0.5);
    const longest = Math.max(this.#cache.length, this.#medium.length);
    const left = [...this.#changes];
    while (left.length > 0) {
      const change = inOrder ? left.shift()! : random.take(left);
      const whole = random.chance(share);
      for (const [from, to] of sectorsOf(change)) {
        if (byChange ? whole : random.chance(share)) this.#medium.apply(change, from, to);
      }
    }
    const after = this.#medium.get();
    // The length is metadata: it may be there before the data is.
    const length = random.chance(0.5) ? after.length : Math.max(after.length, longest);
    return Buffer.concat([after, Buffer.alloc(length - after.length)]);
  }

  tryRead(positionBytes: number, into: Uint8Array, at: number, lengthBytes: number): boolean {
    if (this.#random.chance(0.3)) return false;
    this.readSync(positionBytes, into, at, lengthBytes);
    return true;
  }

  readSync(positionBytes: number, into: Uint8Array, at: number, lengthBytes: number): void {
    const { bytes, length } = this.#cache;
    const end = Math.min(positionBytes + lengthBytes, length);
    into.fill(0, at, at + lengthBytes);
    if (end > positionBytes) into.set(bytes.subarray(positionBytes, end), at);
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
    const covered = new Set(this.#changes.filter((c) => c.answered));
    this.#later(() => {
      if (this.faults.syncLies === true) return done(null);
      const fails = this.#random.chance(this.faults.syncFails ?? 0);
      this.#lost ||= fails;
      const due = this.#changes.filter((c) => covered.has(c));
      if (!fails) for (const change of due) this.#medium.apply(change, 0, change.lengthBytes);
      this.#changes = this.#changes.filter((c) => !covered.has(c));
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
  content(): Buffer {
    return this.#cache.get();
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
    this.#changes.push(change);
    return () => {
      change.answered = true;
      this.#changes = this.#changes.filter((c) => c !== change);
      this.#changes.push(change);
      this.#cache.apply(change, 0, lengthBytes);
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
