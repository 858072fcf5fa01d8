import type { Changes } from './changes.ts';
import { blankEntry, decodeEntry } from './entry.ts';
import type { Image } from './image.ts';
import { Kind } from './mapper.ts';
import type { Mapper } from './mapper.ts';
import type { Reader } from './reader.ts';
import { maskOf } from './write-plan.ts';
import { freeCompressed } from './writer.ts';
import type { Writer } from './writer.ts';

/** The parts of an open image that zeroing needs. */
export type ZeroerParts = {
  readonly image: Image;
  readonly mapper: Mapper;
  readonly reader: Reader;
  readonly changes: Changes;
  readonly writer: Writer;
};

/** Zeros are written in pieces of this size where the format cannot say "zero". */
const ZERO_PIECE_BYTES = 256 * 1024;

/**
 * Discard and write zeroes: whole subclusters by their entry, the edges by writing zeros.
 *
 * | what the entry is now     | discard                     | write zeroes                       |
 * |---------------------------|-----------------------------|------------------------------------|
 * | reads as zeros already    | nothing (frees preallocated)| nothing                            |
 * | data, ours                | zero, the cluster is freed  | zero, the cluster stays (v3)       |
 * | data, shared; compressed  | zero, a reference less      | the same                           |
 * | unallocated over a backing| zero                        | zero                               |
 *
 * Version 2 has no zero entries: without a backing "unallocated" says the same, over a backing
 * zeros are written (hostile case 44, QEMU commit 39f77cb6).
 */
export class Zeroer {
  readonly #p: ZeroerParts;
  readonly #entry = blankEntry();

  constructor(parts: ZeroerParts) {
    this.#p = parts;
  }

  /** Makes the range read as zeros. True: tables changed. Rejects with BlockError. */
  async zero(offset: number, length: number, keepSpace: boolean): Promise<boolean> {
    const { layout, backing, sizeBytes } = this.#p.image;
    const { subclusterBytes, clusterBytes } = layout;
    const end = offset + length;
    const flagless = layout.version === 2 && (backing !== null || keepSpace);
    let changed = false;
    for (let at = offset; at < end;) {
      const base = at - (at % clusterBytes);
      // What lies behind the end of the disk does not hold a cluster back.
      const clusterEnd = base + clusterBytes;
      const stop = end >= sizeBytes ? clusterEnd : Math.min(end, clusterEnd);
      const from = Math.ceil(at / subclusterBytes) * subclusterBytes;
      const to = stop - (stop % subclusterBytes);
      if (flagless || from >= to) {
        const next = Math.min(end, clusterEnd);
        if (await this.#write(at, next - at)) changed = true;
        at = next;
        continue;
      }
      if (from > at && (await this.#write(at, from - at))) changed = true;
      if (await this.#mark(base, from - base, to - base, keepSpace)) changed = true;
      const rest = Math.min(end, clusterEnd);
      if (rest > to && (await this.#write(to, rest - to))) changed = true;
      at = rest;
    }
    return changed;
  }

  /** Sets the entry for the whole subclusters [from, to) of the cluster at `base`. */
  async #mark(base: number, from: number, to: number, keepSpace: boolean): Promise<boolean> {
    const { image, writer, changes, reader } = this.#p;
    const { layout } = image;
    if (await this.#nothingToDo(base, from, to, keepSpace)) return false;
    while (!writer.ready(base)) await writer.fetch(base);
    const cluster = base / layout.clusterBytes;
    const slice = Math.floor(cluster / layout.entriesPerSlice);
    const words = image.slices.find(slice);
    if (words === undefined) return this.#mark(base, from, to, keepSpace);
    const index = (cluster - slice * layout.entriesPerSlice) * layout.entryWords;
    const entry = this.#entry;
    const why = decodeEntry(layout, words, index, entry);
    if (why !== null) throw image.corrupt(why, entry.host);
    const mask = maskOf(from / layout.subclusterBytes, to / layout.subclusterBytes - 1);
    const whole = mask === layout.fullMask;
    const { host, compressed, compressedBytes, copied } = entry;
    if (!whole && compressed) return this.#write(base + from, to - from);
    const alloc = compressed ? 0 : (entry.alloc & ~mask) >>> 0;
    const keeps = host !== 0 && !compressed && copied && (keepSpace || alloc !== 0);
    // A cluster shared with a snapshot cannot get another bitmap and stay: its data would move.
    if (!keeps && alloc !== 0) return this.#write(base + from, to - from);
    const clean = layout.version === 2 || (whole && !keeps && reader.zeroBelow(base));
    const zero = clean ? 0 : ((entry.zero | mask) & ~alloc) >>> 0;
    changes.setEntry(cluster, words, index, keeps ? host : 0, alloc, zero);
    if (keeps || host === 0) return true;
    if (compressed) freeCompressed(changes, host, compressedBytes, layout.clusterBytes);
    else changes.free(host / layout.clusterBytes, 1, true);
    return true;
  }

  /** Whether the range reads as zeros already and a discard would free nothing. */
  async #nothingToDo(base: number, from: number, to: number, keepSpace: boolean): Promise<boolean> {
    const { image, mapper, reader } = this.#p;
    const { layout, slices } = image;
    for (let at = base + from; at < base + to;) {
      if (at >= image.sizeBytes) return true;
      const kind = mapper.at(at, base + to - at);
      if (kind === Kind.MISSING) {
        await reader.loadSlice(at);
        continue;
      }
      if (kind !== Kind.ZERO && !(kind === Kind.BACKING && reader.zeroBelow(at))) return false;
      at += mapper.length;
    }
    if (keepSpace) return true;
    const cluster = base / layout.clusterBytes;
    const slice = Math.floor(cluster / layout.entriesPerSlice);
    const words = slices.find(slice);
    if (words === undefined) return true; // no table, nothing to free
    const index = (cluster - slice * layout.entriesPerSlice) * layout.entryWords;
    decodeEntry(layout, words, index, this.#entry);
    return this.#entry.host === 0 || to - from < layout.clusterBytes;
  }

  /** Writes zeros where it does not read as zeros already. */
  async #write(offset: number, length: number): Promise<boolean> {
    const { image, mapper, reader, writer } = this.#p;
    const end = Math.min(offset + length, image.sizeBytes);
    let zeros: Uint8Array | null = null;
    let changed = false;
    for (let at = offset; at < end;) {
      const kind = mapper.at(at, Math.min(end - at, ZERO_PIECE_BYTES));
      if (kind === Kind.MISSING) {
        await reader.loadSlice(at);
        continue;
      }
      const piece = mapper.length;
      if (kind !== Kind.ZERO && !(kind === Kind.BACKING && reader.zeroBelow(at))) {
        zeros ??= new Uint8Array(Math.min(ZERO_PIECE_BYTES, length));
        if (await writer.write(at, zeros, 0, piece)) changed = true;
      }
      at += piece;
    }
    return changed;
  }
}
