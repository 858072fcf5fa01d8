import { UserError } from '#base/mod.ts';
import { COPIED_HI, RESERVED_HI, RESERVED_LO, blankEntry, decodeEntry } from './entry.ts';
import { readBytes } from './file-io.ts';
import type { ImageFile } from './image-file.ts';
import { decodeL1 } from './l1-table.ts';
import type { Layout } from './layout.ts';
import { ALL_L1_BYTES_MAX, COUNTED_CLUSTERS_MAX } from './limits.ts';
import type { SnapshotEntry } from './snapshot-table.ts';

/** From what everything in use is reached, but for the refcounts themselves. */
export type Roots = {
  readonly l1: { readonly offset: number; readonly entries: number };
  readonly snapshotTable: { readonly offset: number; readonly lengthBytes: number };
  readonly snapshots: readonly SnapshotEntry[];
  /** Whatever else is in use: journal, bitmaps. */
  readonly others: readonly { readonly offset: number; readonly lengthBytes: number }[];
};

/** What a walk over the tables found. */
export type Usage = {
  /** References by host cluster. */
  readonly counts: Uint32Array;
  /** One more than the last cluster in use. */
  end: number;
  allocatedClusters: number;
  compressedClusters: number;
};

/** What a walk may be told, and what it tells. */
export type WalkOptions = {
  readonly onFault?: (text: string) => void;
  readonly progress?: (fraction: number) => void;
  readonly signal?: AbortSignal;
};

const TABLES_PER_PROGRESS = 64;

/**
 * Counts the references to every host cluster by walking everything that the roots reach; the one
 * place that knows what refers to what. A table that several L1 tables share is read once.
 * Rejects with BlockError, UserError (too large to be counted), or the signal's reason.
 */
export async function countReferences(
  file: ImageFile,
  layout: Layout,
  roots: Roots,
  options: WalkOptions = {},
): Promise<Usage> {
  const counter = new ReferenceCounter(file, layout, options);
  counter.range(0, layout.clusterBytes, 'the header');
  counter.range(roots.snapshotTable.offset, roots.snapshotTable.lengthBytes, 'the snapshot table');
  for (const o of roots.others) counter.range(o.offset, o.lengthBytes, 'a bitmap');
  const active = await counter.l1(roots.l1.offset, roots.l1.entries);
  const all = [active];
  let bytes = 0;
  for (const s of roots.snapshots) {
    bytes += s.l1Entries * 8;
    if (bytes > ALL_L1_BYTES_MAX) {
      throw new UserError('unsupported', 'qcow2-too-large', {
        what: 'the image cannot be looked through',
        why: `the tables of its snapshots have more than ${ALL_L1_BYTES_MAX} bytes`,
      });
    }
    all.push(await counter.l1(s.l1Offset, s.l1Entries));
  }
  await counter.tables(all, active);
  return counter.usage;
}

class ReferenceCounter {
  readonly usage: Usage;
  readonly #file: ImageFile;
  readonly #layout: Layout;
  readonly #options: WalkOptions;

  constructor(file: ImageFile, layout: Layout, options: WalkOptions) {
    this.#file = file;
    this.#layout = layout;
    this.#options = options;
    // Clusters may begin past the end (a preallocated one), but not far.
    const clusters = Math.ceil(file.sizeBytes / layout.clusterBytes) + 1;
    if (clusters > COUNTED_CLUSTERS_MAX) {
      throw new UserError('unsupported', 'qcow2-too-large', {
        what: 'the image cannot be looked through',
        why: `it has more than ${COUNTED_CLUSTERS_MAX} clusters`,
      });
    }
    const counts = new Uint32Array(clusters);
    this.usage = { counts, end: 0, allocatedClusters: 0, compressedClusters: 0 };
  }

  /** Counts the clusters of a range; says false when they cannot be. */
  range(offset: number, lengthBytes: number, what: string, times = 1): boolean {
    if (lengthBytes === 0) return true;
    const { clusterBytes } = this.#layout;
    const first = Math.floor(offset / clusterBytes);
    const last = Math.floor((offset + lengthBytes - 1) / clusterBytes);
    const { counts } = this.usage;
    if (last >= counts.length) {
      this.fault(`${what} at byte ${offset} is past the end of the file`);
      return false;
    }
    for (let c = first; c <= last; c++) counts[c] = counts[c]! + times;
    this.usage.end = Math.max(this.usage.end, last + 1);
    return true;
  }

  /** Counts an L1 table and returns where its L2 tables are. */
  async l1(offset: number, entries: number): Promise<Float64Array> {
    if (!this.range(offset, entries * 8, 'an L1 table')) return new Float64Array();
    return decodeL1(await readBytes(this.#file, offset, entries * 8)).offsets;
  }

  /** Walks the L2 tables of all L1 tables; `active` is the one whose contents are reported. */
  async tables(all: readonly Float64Array[], active: Float64Array): Promise<void> {
    const times = new Map<number, number>();
    for (const offsets of all) {
      for (const o of offsets) if (o !== 0) times.set(o, (times.get(o) ?? 0) + 1);
    }
    const reported = new Set(active);
    let done = 0;
    for (const [offset, n] of times) {
      if (offset % this.#layout.clusterBytes !== 0) {
        this.fault(`the L2 table at byte ${offset} is not aligned`);
      } else if (this.range(offset, this.#layout.clusterBytes, 'an L2 table', n)) {
        await this.#table(offset, n, reported.has(offset));
      }
      done += 1;
      if (done % TABLES_PER_PROGRESS !== 0) continue;
      this.#options.signal?.throwIfAborted();
      this.#options.progress?.(done / times.size);
    }
  }

  async #table(offset: number, times: number, reported: boolean): Promise<void> {
    const bytes = await readBytes(this.#file, offset, this.#layout.clusterBytes);
    const words = wordsOf(bytes);
    const entry = blankEntry();
    const { entryWords, clusterBytes } = this.#layout;
    for (let at = 0; at < words.length; at += entryWords) {
      if ((words[at]! | words[at + 1]!) === 0) continue;
      const why = decodeEntry(this.#layout, words, at, entry);
      if (why !== null) {
        this.fault(`${why}, in the L2 table at byte ${offset}`);
        continue;
      }
      if (reservedBits(words, at, entry.compressed)) {
        this.fault(`reserved bits are set in the L2 table at byte ${offset}`);
      }
      if (entry.compressed) {
        if ((words[at]! & COPIED_HI) !== 0) this.fault('a compressed cluster marked as copied');
        this.range(entry.host, entry.compressedBytes, 'compressed data', times);
      } else if (entry.host !== 0) {
        this.range(entry.host, clusterBytes, 'a data cluster', times);
      }
      if (!reported || (!entry.compressed && entry.alloc === 0)) continue;
      this.usage.allocatedClusters += 1;
      if (entry.compressed) this.usage.compressedClusters += 1;
    }
  }

  fault(text: string): void {
    this.#options.onFault?.(text);
  }
}

function reservedBits(words: Uint32Array, at: number, compressed: boolean): boolean {
  if (compressed) return false;
  return (words[at]! & RESERVED_HI) !== 0 || (words[at + 1]! & RESERVED_LO) !== 0;
}

/** The words of a table read from disk, in the machine's own order; uses the same memory. */
export function wordsOf(bytes: Uint8Array): Uint32Array {
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).swap32();
  return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
}
