import { invariant } from '#base/mod.ts';
import { BlockError } from '../device.ts';
import { Turns, readBytes, writeBytes } from './file-io.ts';
import type { HeadSector } from './head-sector.ts';
import type { ImageFile } from './image-file.ts';
import type { Layout } from './layout.ts';
import { OFFSET_MAX, REFCOUNT_TABLE_BYTES_MAX } from './limits.ts';
import type { MetadataMap } from './metadata-map.ts';
import { getRefcount, setRefcount } from './refcount-codec.ts';

/** Pieces of refcount blocks in memory: few, because allocation walks through them in order. */
const PIECES_MAX = 8;
const PIECE_BYTES = 4096;

/** Host clusters with the count of 1 that were just taken. */
export type ClusterRun = { readonly start: number; readonly count: number };

export type RefcountParts = {
  readonly file: ImageFile;
  readonly layout: Layout;
  readonly sector: HeadSector;
  readonly metadata: MetadataMap;
  readonly tableOffset: number;
  readonly tableClusters: number;
  /** Offsets of the refcount blocks, 0 where there is none. */
  readonly table: Float64Array;
  /** Syncs the file; a failure is the image's end. */
  readonly sync: () => Promise<void>;
  /** Marks the image corrupt; what it returns is thrown. */
  readonly corrupt: (why: string, offset: number) => BlockError;
};

/**
 * The reference counts of the host clusters. A change is written before it is answered, a count
 * goes up before anything refers to the cluster and down after nothing does any more, on stable
 * media in both cases: so whatever a crash leaves, no cluster in use counts as free, and at worst
 * some count as used that are not (leaks).
 */
export class Refcounts {
  readonly #p: RefcountParts;
  #table: Float64Array;
  #tableOffset: number;
  #tableClusters: number;
  /** No free cluster below. */
  #hint = 0;
  readonly #turns = new Turns();
  readonly #pieces = new Map<number, Uint8Array>();
  readonly #pieceBytes: number;
  readonly #pieceEntries: number;

  constructor(parts: RefcountParts) {
    this.#p = parts;
    this.#table = parts.table;
    this.#tableOffset = parts.tableOffset;
    this.#tableClusters = parts.tableClusters;
    this.#pieceBytes = Math.min(PIECE_BYTES, parts.layout.clusterBytes);
    this.#pieceEntries = (this.#pieceBytes * 8) / parts.layout.refcountBits;
  }

  /** Host clusters that the refcount table can describe as it is. */
  get coveredClusters(): number {
    return this.#table.length * this.#p.layout.entriesPerRefcountBlock;
  }

  /**
   * Takes up to `most` free clusters that follow each other, no fewer than `least`, at the lowest
   * place that has so many. Rejects with BlockError.
   */
  take(most: number, least = 1): Promise<ClusterRun> {
    return this.#turns.take(async () => {
      // A new block lies among the clusters that it describes: a longer run goes behind them all.
      if (least >= this.#p.layout.entriesPerRefcountBlock) return this.#takeBehind(least);
      const { start, count } = await this.#findRun(most, least);
      for (let c = start; c < start + count; c++) {
        // The counts say "free", the structures say otherwise: nothing may be written there.
        if (c === 0 || this.#p.metadata.has(c)) {
          throw this.#p.corrupt('a cluster of metadata counts as free', this.#offset(c));
        }
      }
      await this.#addToRun(start, count, 1);
      if (start <= this.#hint) this.#hint = start + count;
      return { start, count };
    });
  }

  /** Adds `delta` to the counts of a run of clusters. Rejects with BlockError. */
  add(start: number, count: number, delta: number): Promise<void> {
    return this.#turns.take(() => this.#addToRun(start, count, delta));
  }

  /** The count of a cluster. Rejects with BlockError. */
  get(cluster: number): Promise<number> {
    return this.#turns.take(() => this.#get(cluster));
  }

  /** The table and the blocks now: for check and rebuild. */
  structure(): { tableOffset: number; tableClusters: number; blocks: Float64Array } {
    return {
      tableOffset: this.#tableOffset,
      tableClusters: this.#tableClusters,
      blocks: this.#table,
    };
  }

  /** Takes over a structure that was written anew. */
  replace(tableOffset: number, tableClusters: number, blocks: Float64Array): void {
    this.#table = blocks;
    this.#tableOffset = tableOffset;
    this.#tableClusters = tableClusters;
    this.#pieces.clear();
    this.#hint = 0;
  }

  /** The first free run that is long enough, not past the last block unless it must. */
  async #findRun(most: number, least: number): Promise<ClusterRun> {
    const { entriesPerRefcountBlock: perBlock, clusterBytes, refcountOrder } = this.#p.layout;
    let start = this.#hint;
    for (let c = start; ;) {
      if ((c + 1) * clusterBytes > OFFSET_MAX) {
        throw new BlockError('no-space', 'the image is as large as it can be', 0);
      }
      const block = Math.floor(c / perBlock);
      if ((this.#table[block] ?? 0) === 0) {
        if (c - start >= least) return { start, count: c - start };
        if (block >= this.#table.length) await this.#growTable(block);
        if (this.#table[block] === 0) await this.#makeBlock(block);
      }
      const number = Math.floor(c / this.#pieceEntries);
      const piece = await this.#piece(number);
      // A whole piece at a time: a promise for each cluster was half of the cost of first writes.
      for (const end = (number + 1) * this.#pieceEntries; c < end; c++) {
        if (c - start === most) return { start, count: most };
        if (getRefcount(piece, c % this.#pieceEntries, refcountOrder) === 0) continue;
        if (c - start >= least) return { start, count: c - start };
        start = c + 1;
      }
    }
  }

  async #get(cluster: number): Promise<number> {
    const block = Math.floor(cluster / this.#p.layout.entriesPerRefcountBlock);
    if ((this.#table[block] ?? 0) === 0) return 0;
    const piece = await this.#piece(Math.floor(cluster / this.#pieceEntries));
    return getRefcount(piece, cluster % this.#pieceEntries, this.#p.layout.refcountOrder);
  }

  async #addToRun(start: number, count: number, delta: number): Promise<void> {
    const { refcountOrder, refcountMax, entriesPerRefcountBlock } = this.#p.layout;
    for (let c = start; c < start + count;) {
      const block = Math.floor(c / entriesPerRefcountBlock);
      if ((this.#table[block] ?? 0) === 0) {
        throw this.#p.corrupt('a cluster in use has no refcount', this.#offset(c));
      }
      const number = Math.floor(c / this.#pieceEntries);
      const piece = (await this.#piece(number)).slice();
      const end = Math.min(start + count, (number + 1) * this.#pieceEntries);
      for (; c < end; c++) {
        const value = getRefcount(piece, c % this.#pieceEntries, refcountOrder) + delta;
        if (value < 0) throw this.#p.corrupt('a refcount below zero', this.#offset(c));
        if (value > refcountMax) {
          throw new BlockError('no-space', 'refcounts of this width count no further', 0);
        }
        if (value === 0) this.#hint = Math.min(this.#hint, c);
        setRefcount(piece, c % this.#pieceEntries, refcountOrder, value);
      }
      // Memory follows only when the file has it.
      await writeBytes(this.#p.file, this.#pieceOffset(number), piece);
      this.#pieces.set(number, piece);
    }
  }

  async #piece(number: number): Promise<Uint8Array> {
    const found = this.#pieces.get(number);
    if (found !== undefined) return found;
    const offset = this.#pieceOffset(number);
    if (offset >= this.#p.file.sizeBytes) {
      throw this.#p.corrupt('a refcount block is past the end of the file', offset);
    }
    const piece = await readBytes(this.#p.file, offset, this.#pieceBytes);
    if (this.#pieces.size >= PIECES_MAX) {
      for (const oldest of this.#pieces.keys()) {
        this.#pieces.delete(oldest);
        break;
      }
    }
    this.#pieces.set(number, piece);
    return piece;
  }

  #pieceOffset(number: number): number {
    const cluster = number * this.#pieceEntries;
    const { entriesPerRefcountBlock } = this.#p.layout;
    const block = Math.floor(cluster / entriesPerRefcountBlock);
    const within = ((cluster % entriesPerRefcountBlock) / this.#pieceEntries) * this.#pieceBytes;
    return (this.#table[block] ?? 0) + within;
  }

  /**
   * A block for clusters that none describes yet. It lies in the first cluster that it describes,
   * so it needs no other, and is on stable media before the table points at it.
   */
  async #makeBlock(block: number): Promise<void> {
    const { file, layout, metadata } = this.#p;
    const cluster = block * layout.entriesPerRefcountBlock;
    if (cluster === 0 || !metadata.add(cluster)) {
      throw this.#p.corrupt('metadata lies where no refcounts are', this.#offset(cluster));
    }
    try {
      const bytes = new Uint8Array(layout.clusterBytes);
      setRefcount(bytes, 0, layout.refcountOrder, 1);
      await writeBytes(file, this.#offset(cluster), bytes);
      await this.#p.sync();
      await writeBytes(file, this.#tableOffset + block * 8, bigEndian(this.#offset(cluster)));
    } catch (e) {
      metadata.remove(cluster);
      throw e;
    }
    this.#table[block] = this.#offset(cluster);
  }

  /**
   * A larger table, with blocks for the clusters that it and they take, behind everything that the
   * old one describes. One sector switches.
   */
  async #growTable(block: number): Promise<void> {
    const { file, layout, sector, metadata } = this.#p;
    const { clusterBytes, entriesPerRefcountBlock: perBlock } = layout;
    const first = this.#table.length;
    invariant(block >= first, 'the table grows by what comes next');
    const start = first * perBlock;
    // Half as large again, and the blocks that describe the new table itself.
    let tableClusters = Math.ceil(((first * 8) / clusterBytes) * 1.5) + 1;
    let blocks = 1;
    for (let rounds = 0; rounds < 8; rounds++) {
      blocks = Math.ceil((tableClusters + blocks) / perBlock);
      tableClusters = Math.max(tableClusters, Math.ceil(((first + blocks) * 8) / clusterBytes));
    }
    if (tableClusters * clusterBytes > REFCOUNT_TABLE_BYTES_MAX) {
      throw new BlockError('no-space', 'the image is as large as it can be', 0);
    }
    const used = blocks + tableClusters;
    const table = new Float64Array((tableClusters * clusterBytes) / 8);
    table.set(this.#table);
    const counts = new Uint8Array(blocks * clusterBytes);
    for (let n = 0; n < blocks; n++) table[first + n] = this.#offset(start + n);
    for (let n = 0; n < used; n++) setRefcount(counts, n, layout.refcountOrder, 1);
    if (!metadata.add(start, used)) {
      throw this.#p.corrupt('metadata lies where no refcounts are', this.#offset(start));
    }
    try {
      await writeBytes(file, this.#offset(start), counts);
      await writeBytes(file, this.#offset(start + blocks), encodeOffsets(table));
      await this.#p.sync();
      sector.setRefcountTable(this.#offset(start + blocks), tableClusters);
      await sector.write();
      await this.#p.sync();
    } catch (e) {
      metadata.remove(start, used);
      sector.setRefcountTable(this.#tableOffset, this.#tableClusters);
      throw e;
    }
    const old = { start: this.#tableOffset / clusterBytes, count: this.#tableClusters };
    this.#table = table;
    this.#tableOffset = this.#offset(start + blocks);
    this.#tableClusters = tableClusters;
    metadata.remove(old.start, old.count);
    await this.#addToRun(old.start, old.count, -1);
  }

  /** Blocks behind everything that is described, and a run of `count` clusters behind them. */
  async #takeBehind(count: number): Promise<ClusterRun> {
    const { file, layout, metadata } = this.#p;
    const { clusterBytes, entriesPerRefcountBlock: perBlock } = layout;
    for (;;) {
      const first = this.#table.findLastIndex((offset) => offset !== 0) + 1;
      let blocks = 1;
      for (let rounds = 0; rounds < 8; rounds++) blocks = Math.ceil((count + blocks) / perBlock);
      if (first + blocks > this.#table.length) {
        await this.#growTable(this.#table.length);
        continue;
      }
      const start = first * perBlock;
      if ((start + blocks + count) * clusterBytes > OFFSET_MAX) {
        throw new BlockError('no-space', 'the image is as large as it can be', 0);
      }
      if (!metadata.add(start, blocks)) {
        throw this.#p.corrupt('metadata lies where no refcounts are', this.#offset(start));
      }
      try {
        const counts = new Uint8Array(blocks * clusterBytes);
        for (let n = 0; n < blocks + count; n++) setRefcount(counts, n, layout.refcountOrder, 1);
        await writeBytes(file, this.#offset(start), counts);
        await this.#p.sync();
        const offsets = Float64Array.from({ length: blocks }, (_, n) => this.#offset(start + n));
        await writeBytes(file, this.#tableOffset + first * 8, encodeOffsets(offsets));
        this.#table.set(offsets, first);
      } catch (e) {
        metadata.remove(start, blocks);
        throw e;
      }
      return { start: start + blocks, count };
    }
  }

  #offset(cluster: number): number {
    return cluster * this.#p.layout.clusterBytes;
  }
}

/** Offsets as a table on disk has them. */
export function encodeOffsets(offsets: Float64Array): Uint8Array {
  const bytes = new Uint8Array(offsets.length * 8);
  const view = new DataView(bytes.buffer);
  for (const [n, offset] of offsets.entries()) {
    view.setUint32(n * 8, Math.floor(offset / 2 ** 32));
    view.setUint32(n * 8 + 4, offset % 2 ** 32);
  }
  return bytes;
}

function bigEndian(value: number): Uint8Array {
  return encodeOffsets(Float64Array.of(value));
}
