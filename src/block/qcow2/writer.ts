import { BlockError } from '../device.ts';
import type { Changes } from './changes.ts';
import type { Checkpointer } from './checkpoint.ts';
import type { CompressedReader } from './compressed.ts';
import { CopySource } from './copy-source.ts';
import { blankEntry, decodeEntry } from './entry.ts';
import type { Entry } from './entry.ts';
import { answered } from '../answered.ts';
import { writeBytes } from './file-io.ts';
import type { Image } from './image.ts';
import type { Journal } from './journal.ts';
import { Kind } from './mapper.ts';
import type { Mapper } from './mapper.ts';
import type { ClusterPool } from './pool.ts';
import type { Reader } from './reader.ts';
import { WritePlan } from './write-plan.ts';

/** The parts of an open image that writing needs. */
export type WriterParts = {
  readonly image: Image;
  readonly mapper: Mapper;
  readonly reader: Reader;
  readonly compressed: CompressedReader;
  readonly journal: Journal;
  readonly pool: ClusterPool;
  readonly changes: Changes;
  readonly checkpointer: Checkpointer;
};

/**
 * Writes of the disk. What is allocated is written in place; the rest gets a host cluster, is
 * filled up from what was there before, and then enters the tables: the data is in the file first,
 * so nothing ever shows bytes that were not written.
 *
 * | entry, v                       | write goes to | filled up from    | afterwards     | freed |
 * |--------------------------------|---------------|-------------------|----------------|-------|
 * | data, ours (COPIED)            | its place     | nothing           | same           |       |
 * | data, shared with a snapshot   | a new cluster | the old cluster   | data, ours     | a ref |
 * | unallocated                    | a new cluster | backing or zeros  | data, ours     |       |
 * | zero, no host cluster          | a new cluster | zeros             | data, ours     |       |
 * | zero, host cluster ours        | that cluster  | zeros             | data, ours     |       |
 * | zero, host cluster shared      | a new cluster | zeros             | data, ours     | a ref |
 * | compressed                     | a new cluster | decompressed data | data, ours     | refs  |
 *
 * Decisions are made and carried out without waiting in between: what is missing (a slice, a table
 * of our own, clusters, room in the journal, cold data) is fetched first, then everything is looked
 * at again. So two writes of the same new cluster need no lock: the second finds it allocated.
 */
export class Writer {
  readonly #p: WriterParts;
  readonly #image: Image;
  readonly #entry: Entry = blankEntry();
  /** Where the entry last looked at stands; a field, so that a look allocates nothing. */
  #at = 0;
  readonly #plan = new WritePlan();
  readonly #source: CopySource;
  #scratch: Uint8Array | null = null;

  constructor(parts: WriterParts) {
    this.#p = parts;
    this.#image = parts.image;
    this.#source = new CopySource(parts.image, parts.reader, parts.compressed);
  }

  /** `BlockDevice.tryWrite`; false when any part would wait. Throws BlockError. */
  tryWrite(offset: number, from: Uint8Array, at: number, length: number): boolean {
    if (!this.#answerable) return false;
    for (let done = 0; done < length;) {
      const wrote = this.#tryPiece(offset + done, from, at + done, length - done);
      if (wrote === 0) return false;
      done += wrote;
    }
    return true;
  }

  /**
   * Where in the file a range lies that is ours, in one piece: it may be written there without a
   * word to the tables. -1: it is not so, or not known without waiting.
   */
  place(offset: number, length: number): number {
    const { mapper } = this.#p;
    if (!this.#answerable || mapper.atNow(offset, length) !== Kind.DATA) return -1;
    if (!mapper.own || mapper.length < length) return -1;
    this.#guard(mapper.host, length);
    return mapper.host;
  }

  /** Without a journal what was allocated may be known to this process alone. */
  get #answerable(): boolean {
    const { journal, changes } = this.#p;
    return journal.state !== 'unavailable' || !changes.pending;
  }

  /** The same, waiting. True: tables changed. Rejects with BlockError. */
  async write(offset: number, from: Uint8Array, at: number, length: number): Promise<boolean> {
    let changed = false;
    const { mapper, image } = this.#p;
    for (let done = 0; done < length;) {
      const place = offset + done;
      image.assertWritable(place);
      const kind = mapper.at(place, length - done);
      if (kind === Kind.DATA && mapper.own) {
        const piece = mapper.length;
        const { host } = mapper;
        this.#guard(host, piece);
        await answered((answer) => {
          image.file.write(host, from, at + done, piece, answer);
        });
        done += piece;
        continue;
      }
      if (kind === Kind.MISSING) {
        await this.#p.reader.loadSlice(place);
        continue;
      }
      if (!this.ready(place)) {
        await this.fetch(place);
        continue;
      }
      const most = Math.min(length - done, this.#toClusterEnd(place));
      let wrote = this.#tryAllocate(place, from, at + done, most);
      if (wrote === 0) wrote = await this.#allocateCold(place, from, at + done, most);
      if (wrote > 0) changed = true;
      done += wrote;
    }
    return changed;
  }

  /** Whether everything is at hand that a change of the entry at `offset` needs. */
  ready(offset: number): boolean {
    const { image, mapper, journal, pool, changes } = this.#p;
    image.assertWritable(offset);
    if (journal.state === 'off' || !changes.hasRoom || pool.count === 0) return false;
    return changes.ownsTable(this.#table(offset)) && mapper.at(offset, 1) !== Kind.MISSING;
  }

  /**
   * Fetches what is missing, one thing at a time. The caller asks `ready` again: others have run
   * meanwhile. Rejects with BlockError.
   */
  async fetch(offset: number): Promise<void> {
    const { reader, journal, pool, changes, checkpointer } = this.#p;
    const table = this.#table(offset);
    if (journal.state === 'off') await changes.startJournal();
    else if (!changes.hasRoom) await answered((done) => checkpointer.flush(done));
    else if (pool.count === 0) await pool.refill();
    else if (!changes.ownsTable(table)) await changes.ownTable(table);
    else await reader.loadSlice(offset);
  }

  /** One piece, without waiting: bytes written, 0 when it would wait. */
  #tryPiece(offset: number, from: Uint8Array, at: number, length: number): number {
    const { mapper, image, journal, changes, pool } = this.#p;
    const kind = mapper.atNow(offset, length);
    if (kind === Kind.MISSING) return 0;
    if (kind === Kind.DATA && mapper.own) {
      const piece = mapper.length;
      this.#guard(mapper.host, piece);
      return image.file.tryWrite(mapper.host, from, at, piece) ? piece : 0;
    }
    // Without a journal the change counts only after a checkpoint.
    if (journal.state !== 'on' || pool.count === 0 || !changes.hasRoom) return 0;
    if (!changes.ownsTable(this.#table(offset))) return 0;
    const wrote = this.#tryAllocate(offset, from, at, Math.min(length, this.#toClusterEnd(offset)));
    if (wrote > 0) pool.refillAhead();
    return wrote;
  }

  /**
   * Writes within one cluster whose entry must change, if everything is at hand; the slice, the
   * table, clusters and room in the journal are. Bytes written, or 0.
   */
  #tryAllocate(offset: number, from: Uint8Array, at: number, length: number): number {
    const { image, pool } = this.#p;
    const { layout, file } = image;
    const cluster = Math.floor(offset / layout.clusterBytes);
    const base = cluster * layout.clusterBytes;
    const words = this.#look(cluster);
    const index = this.#at;
    const entry = this.#entry;
    const plan = this.#plan;
    plan.plan(layout, entry, offset - base, offset - base + length);
    if (plan.moves) return 0;
    if (entry.compressed && this.#p.compressed.find(words, index) === undefined) return 0;
    if (!plan.reuse && pool.nextIsFresh) this.#trimZeros(base, offset - base, length);
    const bytes = this.#filled(base, offset - base, from, at, length, words, index);
    if (bytes === null) return 0;
    const target = plan.reuse ? entry.host / layout.clusterBytes : pool.next();
    const host = target * layout.clusterBytes;
    let written = false;
    try {
      this.#guard(host, layout.clusterBytes);
      const own = bytes === from;
      written = file.tryWrite(host + plan.start, bytes, own ? at : 0, plan.end - plan.start);
      if (written) this.#enter(cluster, words, index, target);
    } catch (e) {
      if (!plan.reuse) pool.giveBack(target);
      throw e;
    }
    if (written) return length;
    if (!plan.reuse) pool.giveBack(target);
    return 0;
  }

  /** Makes the new entry known; the old host cluster loses a reference. */
  #enter(cluster: number, words: Uint32Array, index: number, target: number): void {
    const { changes, image } = this.#p;
    const { clusterBytes } = image.layout;
    const { alloc, zero, reuse } = this.#plan;
    const { host, compressed, compressedBytes } = this.#entry;
    changes.setEntry(cluster, words, index, target * clusterBytes, alloc, zero);
    if (reuse || host === 0) return;
    if (compressed) freeCompressed(changes, host, compressedBytes, clusterBytes);
    else changes.free(host / clusterBytes, 1, false);
  }

  /** As `#tryAllocate`, fetching what is not in memory. 0: things changed meanwhile, look again. */
  async #allocateCold(
    offset: number,
    from: Uint8Array,
    at: number,
    length: number,
  ): Promise<number> {
    const { image, pool, changes, journal } = this.#p;
    const { layout, file } = image;
    const cluster = Math.floor(offset / layout.clusterBytes);
    const base = cluster * layout.clusterBytes;
    const seen = this.#look(cluster);
    const before = seen.slice(this.#at, this.#at + layout.entryWords);
    const plan = new WritePlan();
    const entry = { ...this.#entry };
    plan.plan(layout, entry, offset - base, offset - base + length);
    const bytes = new Uint8Array(plan.end - plan.start);
    await this.#source.gather(base, plan, entry, before, offset - base, length, bytes);
    bytes.set(from.subarray(at, at + length), offset - base - plan.start);
    const state = journal.state;
    if (!this.#still(cluster, before) || pool.count === 0) return 0;
    const target = plan.reuse ? entry.host / layout.clusterBytes : pool.next();
    const host = target * layout.clusterBytes;
    try {
      this.#guard(host, layout.clusterBytes);
      const position = host + plan.start;
      // A place that is used again may be given to another write as soon as we wait: so we do not.
      if (plan.reuse) file.writeSync(position, bytes, 0, bytes.length);
      else await writeBytes(file, position, bytes);
      const index = Math.floor(cluster / layout.entriesPerTable);
      const usable = this.#still(cluster, before) && changes.ownsTable(index) && changes.hasRoom;
      if (!usable || journal.state !== state) {
        if (!plan.reuse) pool.giveBack(target);
        return 0;
      }
      const words = this.#look(cluster);
      this.#plan.plan(layout, this.#entry, offset - base, offset - base + length);
      this.#enter(cluster, words, this.#at, target);
    } catch (e) {
      if (!plan.reuse) pool.giveBack(target);
      throw e;
    }
    return length;
  }

  /** A cluster that was never written reads as zeros: they need not be written. */
  #trimZeros(base: number, within: number, length: number): void {
    const plan = this.#plan;
    if (this.#entry.compressed || this.#entry.alloc !== 0) return;
    const { subclusterBytes } = this.#p.image.layout;
    if (this.#zeroAt(base, plan.start, subclusterBytes)) plan.start = within;
    if (this.#zeroAt(base, plan.end - subclusterBytes, subclusterBytes)) plan.end = within + length;
  }

  #zeroAt(base: number, from: number, bytes: number): boolean {
    const sub = Math.floor(from / bytes);
    return ((this.#entry.zero >>> sub) & 1) === 1 || this.#p.reader.zeroBelow(base + from);
  }

  /** The bytes of [start, end): the caller's own, or a scratch; null when that would wait. */
  #filled(
    base: number,
    within: number,
    from: Uint8Array,
    at: number,
    length: number,
    words: Uint32Array,
    index: number,
  ): Uint8Array | null {
    const { start, end } = this.#plan;
    if (start === within && end === within + length) return from;
    const { image, compressed } = this.#p;
    const scratch = (this.#scratch ??= new Uint8Array(image.layout.clusterBytes));
    if (this.#entry.compressed) {
      const old = compressed.find(words, index);
      if (old === undefined) return null;
      scratch.set(old);
    } else {
      if (start < within && !this.#tryBefore(base, start, within)) return null;
      if (within + length < end && !this.#tryBefore(base, within + length, end)) {
        return null;
      }
    }
    scratch.set(from.subarray(at, at + length), within - start);
    return scratch;
  }

  #tryBefore(base: number, from: number, to: number): boolean {
    const { start } = this.#plan;
    return this.#source.tryBefore(base, this.#entry, from, to, this.#scratch!, start);
  }

  /** Decodes the entry of a cluster whose slice is in memory; it stands at `#at` of the words. */
  #look(cluster: number): Uint32Array {
    const { image } = this.#p;
    const { layout, slices } = image;
    const slice = Math.floor(cluster / layout.entriesPerSlice);
    const words = slices.find(slice);
    if (words === undefined) throw new BlockError('io', 'the L2 slice left memory', 0);
    const index = (cluster - slice * layout.entriesPerSlice) * layout.entryWords;
    const why = decodeEntry(layout, words, index, this.#entry);
    if (why !== null) throw image.corrupt(why, this.#entry.host);
    this.#at = index;
    return words;
  }

  #still(cluster: number, before: Uint32Array): boolean {
    const { layout, slices } = this.#p.image;
    const slice = Math.floor(cluster / layout.entriesPerSlice);
    const words = slices.find(slice);
    const at = (cluster - slice * layout.entriesPerSlice) * layout.entryWords;
    return words !== undefined && before.every((word, n) => words[at + n] === word);
  }

  /** The overlap check: no guest data goes where the image's own structures are. */
  #guard(host: number, length: number): void {
    const image = this.#image;
    const { clusterBytes } = image.layout;
    const last = Math.floor((host + length - 1) / clusterBytes);
    for (let c = Math.floor(host / clusterBytes); c <= last; c++) {
      if (c === 0 || image.metadata.has(c)) {
        throw image.corrupt('guest data would go over metadata', c * clusterBytes);
      }
    }
    if (last >= image.refcounts.coveredClusters) {
      throw image.corrupt('guest data beyond what refcounts describe', host);
    }
  }

  #table(offset: number): number {
    const { clusterBytes, entriesPerTable } = this.#p.image.layout;
    return Math.floor(offset / clusterBytes / entriesPerTable);
  }

  #toClusterEnd(offset: number): number {
    const { clusterBytes } = this.#p.image.layout;
    return clusterBytes - (offset % clusterBytes);
  }
}

/** Frees the host clusters that compressed data lies in; each counts one reference. */
export function freeCompressed(
  changes: Changes,
  host: number,
  bytes: number,
  clusterBytes: number,
): void {
  const first = Math.floor(host / clusterBytes);
  const last = Math.floor((host + bytes - 1) / clusterBytes);
  changes.free(first, last - first + 1, false);
}
