import type { Image } from './image.ts';
import type { Journal } from './journal.ts';
import { RecordKind } from './journal-codec.ts';
import { RESERVE_BYTES, RESERVE_CLUSTERS_MAX, RESERVE_CLUSTERS_MIN } from './limits.ts';

/** Clusters in a row: from `freshFrom` on they were never written and read as zeros. */
type Run = { start: number; count: number; freshFrom: number };

/**
 * Host clusters whose refcount is 1 already but that nothing uses yet, so that an allocating write
 * does not wait for the refcounts.
 */
export class ClusterPool {
  readonly #image: Image;
  readonly #journal: Journal;
  readonly #runs: Run[] = [];
  #refilling: Promise<void> | null = null;
  #count = 0;

  constructor(image: Image, journal: Journal) {
    this.#image = image;
    this.#journal = journal;
  }

  get count(): number {
    return this.#count;
  }

  /** Whether the next cluster reads as zeros as long as nobody writes to it. */
  get nextIsFresh(): boolean {
    const run = this.#runs[0];
    return run !== undefined && run.start >= run.freshFrom;
  }

  /** The next cluster; the caller has looked at `count`. */
  next(): number {
    const run = this.#runs[0]!;
    const cluster = run.start;
    run.start += 1;
    run.count -= 1;
    this.#count -= 1;
    if (run.count === 0) this.#runs.shift();
    return cluster;
  }

  /** Takes back a cluster that was not used after all; it may have been written to. */
  giveBack(cluster: number): void {
    this.#runs.push({ start: cluster, count: 1, freshFrom: Infinity });
    this.#count += 1;
  }

  /** Reserves more. Rejects with BlockError. */
  refill(): Promise<void> {
    this.#refilling ??= this.#refill().finally(() => {
      this.#refilling = null;
    });
    return this.#refilling;
  }

  /** Starts to reserve more when little is left; what goes wrong is seen when it is needed. */
  refillAhead(): void {
    if (this.#refilling === null && this.#count < (this.#most() * 3) / 4) {
      this.refill().catch(() => undefined);
    }
  }

  /** Tells the journal what is reserved, at the beginning of a half. Throws BlockError. */
  recordAll(): void {
    for (const run of this.#runs) {
      if (this.#journal.room > 0) {
        this.#journal.append(RecordKind.RESERVED, run.start, 0, run.count);
      }
    }
  }

  /** Gives everything back to the refcounts. Rejects with BlockError. */
  async drain(): Promise<void> {
    await this.#refilling?.catch(() => undefined);
    this.#count = 0;
    for (const run of this.#runs.splice(0)) {
      await this.#image.refcounts.add(run.start, run.count, -1);
    }
  }

  async #refill(): Promise<void> {
    const { refcounts, file, layout } = this.#image;
    const run = await refcounts.take(this.#most());
    const freshFrom = Math.ceil(file.sizeBytes / layout.clusterBytes);
    if (this.#journal.room > 0) {
      this.#journal.append(RecordKind.RESERVED, run.start, 0, run.count);
    }
    this.#runs.push({ ...run, freshFrom });
    this.#count += run.count;
  }

  /** Without a journal a crash leaks what is reserved: then little. */
  #most(): number {
    if (this.#journal.state !== 'on') return RESERVE_CLUSTERS_MIN;
    const count = Math.floor(RESERVE_BYTES / this.#image.layout.clusterBytes);
    return Math.min(RESERVE_CLUSTERS_MAX, Math.max(RESERVE_CLUSTERS_MIN, count));
  }
}
