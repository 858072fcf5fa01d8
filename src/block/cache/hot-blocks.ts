import { ABSENT } from './block-table.ts';
import type { BlockTable } from './block-table.ts';
import { Ring } from './ring.ts';

/** A page of most file systems, and what most guests read at least. */
export const CACHE_BLOCK_BYTES = 4096;
/**
 * Memory of one thread's cache: what a Debian reads until its login prompt (90–120 MB) stays, and
 * 200 overlays on one base still fit into 400 MB.
 */
export const CACHE_BYTES_DEFAULT = 128 * 1024 * 1024;

/** Memory is taken in steps of this, as it is needed. */
const SLAB_BYTES = 1024 * 1024;
const SLAB_FRAMES = SLAB_BYTES / CACHE_BLOCK_BYTES;
/** Part of the memory that a block passes through before it has been read twice. */
const PROBATION_PART = 0.1;
const REUSE_MAX = 3;

/**
 * The memory of all cached bases of one thread, in frames of 4 KiB. Which block stays is decided by
 * S3-FIFO (Yang et al., SOSP 2023): a new block goes through a short queue; if it is read again
 * meanwhile it moves to the main queue, else it leaves, and only its number is remembered for a
 * while (a ghost): if it then comes back, it goes to the main queue at once. So a machine that
 * streams a whole disk passes through a tenth of the memory, and what many machines read stays.
 *
 * A table (`BlockTable`) holds for each block: a frame (0…), a ghost (-2…), or nothing (-1).
 */
export class HotBlocks {
  readonly #frames: number;
  readonly #slabs: Buffer[] = [];
  readonly #tables: (BlockTable | undefined)[];
  readonly #blocks: Float64Array;
  readonly #reuse: Uint8Array;
  readonly #probation: Ring;
  readonly #main: Ring;
  readonly #probationFrames: number;
  readonly #free: number[] = [];
  #used = 0;
  readonly #ghostTables: (BlockTable | undefined)[];
  readonly #ghostBlocks: Float64Array;
  #nextGhost = 0;

  /** `bytesMax`: the frames' memory; the tables take about a hundredth of it besides. */
  constructor(bytesMax: number = CACHE_BYTES_DEFAULT) {
    const frames = Math.max(16, Math.floor(bytesMax / CACHE_BLOCK_BYTES));
    this.#frames = frames;
    this.#tables = Array.from({ length: frames });
    this.#blocks = new Float64Array(frames);
    this.#reuse = new Uint8Array(frames);
    this.#probation = new Ring(frames);
    this.#main = new Ring(frames);
    this.#probationFrames = Math.max(1, Math.floor(frames * PROBATION_PART));
    this.#ghostTables = Array.from({ length: frames });
    this.#ghostBlocks = new Float64Array(frames);
  }

  /** Memory taken so far. */
  get bytes(): number {
    return this.#slabs.length * SLAB_BYTES;
  }

  /** Blocks held. */
  get size(): number {
    return this.#used - this.#free.length;
  }

  /** Copies from a frame. */
  copyOut(frame: number, from: number, into: Uint8Array, at: number, length: number): void {
    const start = (frame % SLAB_FRAMES) * CACHE_BLOCK_BYTES + from;
    this.#slabs[Math.floor(frame / SLAB_FRAMES)]?.copy(into, at, start, start + length);
  }

  /** A frame was read again. */
  touch(frame: number): void {
    const reuse = this.#reuse[frame] ?? 0;
    if (reuse < REUSE_MAX) this.#reuse[frame] = reuse + 1;
  }

  /** Keeps a block that is not kept yet. A short one is the last of its disk. */
  keep(table: BlockTable, block: number, from: Uint8Array, at: number, length: number): void {
    const before = table.get(block);
    if (before >= 0) return;
    const returns = before < ABSENT;
    if (returns) this.#forgetGhost(-2 - before);
    const frame = this.#takeFrame();
    this.#tables[frame] = table;
    this.#blocks[frame] = block;
    this.#reuse[frame] = 0;
    const slab = this.#slabs[Math.floor(frame / SLAB_FRAMES)];
    const start = (frame % SLAB_FRAMES) * CACHE_BLOCK_BYTES;
    slab?.set(from.subarray(at, at + length), start);
    table.set(block, frame);
    (returns ? this.#main : this.#probation).push(frame);
  }

  /** Forgets all of one disk. Its frames are used again as they come to their turn. */
  forget(table: BlockTable): void {
    const gone: number[] = [];
    table.forEach((block, value) => {
      gone.push(block, value);
    });
    for (let i = 0; i < gone.length; i += 2) {
      const value = gone[i + 1] ?? ABSENT;
      if (value >= 0) this.#tables[value] = undefined;
      else this.#ghostTables[-2 - value] = undefined;
      table.set(gone[i] ?? 0, ABSENT);
    }
    this.#sweep(this.#probation);
    this.#sweep(this.#main);
  }

  /** Takes frames that belong to nobody out of a queue. */
  #sweep(queue: Ring): void {
    for (let left = queue.size; left > 0; left--) {
      const frame = queue.shift();
      if (this.#tables[frame] === undefined) this.#free.push(frame);
      else queue.push(frame);
    }
  }

  #takeFrame(): number {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    if (this.#used < this.#frames) {
      if (this.#used % SLAB_FRAMES === 0) this.#slabs.push(Buffer.allocUnsafeSlow(SLAB_BYTES));
      this.#used += 1;
      return this.#used - 1;
    }
    for (;;) {
      const fromProbation = this.#probation.size >= this.#probationFrames || this.#main.size === 0;
      const frame = fromProbation ? this.#demote() : this.#age();
      if (frame >= 0) return frame;
    }
  }

  /** The oldest on probation: to the main queue if it was read again, else out. */
  #demote(): number {
    const frame = this.#probation.shift();
    if ((this.#reuse[frame] ?? 0) > 0) {
      this.#reuse[frame] = 0;
      this.#main.push(frame);
      return -1;
    }
    this.#leave(frame, true);
    return frame;
  }

  /** The oldest of the main queue: once more around for each time it was read, else out. */
  #age(): number {
    const frame = this.#main.shift();
    const reuse = this.#reuse[frame] ?? 0;
    if (reuse > 0) {
      this.#reuse[frame] = reuse - 1;
      this.#main.push(frame);
      return -1;
    }
    this.#leave(frame, false);
    return frame;
  }

  #leave(frame: number, asGhost: boolean): void {
    const table = this.#tables[frame];
    const block = this.#blocks[frame] ?? 0;
    this.#tables[frame] = undefined;
    if (!asGhost) {
      table?.set(block, ABSENT);
      return;
    }
    const ghost = this.#nextGhost;
    this.#nextGhost = (ghost + 1) % this.#frames;
    const oldest = this.#ghostTables[ghost];
    if (oldest !== undefined) oldest.set(this.#ghostBlocks[ghost] ?? 0, ABSENT);
    this.#ghostTables[ghost] = table;
    this.#ghostBlocks[ghost] = block;
    table?.set(block, -2 - ghost);
  }

  #forgetGhost(ghost: number): void {
    this.#ghostTables[ghost] = undefined;
  }
}
