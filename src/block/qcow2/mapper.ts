import { blankEntry, decodeEntry } from './entry.ts';
import type { Image } from './image.ts';

/** What stands at a place of the disk. */
export const Kind = {
  /** The L2 slice is not in memory. */
  MISSING: 0,
  /** Bytes of the file, at `host`. */
  DATA: 1,
  ZERO: 2,
  /** What the backing has there, zeros beyond it. */
  BACKING: 3,
  COMPRESSED: 4,
  /** Not a possible entry: see `fault`. */
  BROKEN: 5,
} as const;

const TWO_32 = 2 ** 32;

/**
 * Finds what stands at an offset of the disk, and for how long it goes on. The answer is left in
 * fields: this runs once or more per I/O and allocates nothing.
 */
export class Mapper {
  /** Of the last answer: offset in the file for DATA; bytes in the same state. */
  host = 0;
  length = 0;
  /** DATA that may be written in place. */
  own = false;
  fault = '';
  readonly #image: Image;
  readonly #clusterBytes: number;
  readonly #withinMask: number;
  /** 1 / cluster and 1 / entries of a slice: powers of two, so the products are exact. */
  readonly #clusterInverse: number;
  readonly #sliceInverse: number;
  readonly #perSlice: number;
  readonly #slicesPerTable: number;
  readonly #words: number;
  readonly #entry = blankEntry();
  readonly #scratch: Uint8Array;

  constructor(image: Image) {
    const { layout } = image;
    this.#image = image;
    this.#clusterBytes = layout.clusterBytes;
    this.#withinMask = layout.clusterBytes - 1;
    this.#clusterInverse = 1 / layout.clusterBytes;
    this.#sliceInverse = 1 / layout.entriesPerSlice;
    this.#perSlice = layout.entriesPerSlice;
    this.#slicesPerTable = layout.slicesPerTable;
    this.#words = layout.entryWords;
    this.#scratch = new Uint8Array(layout.sliceBytes);
  }

  /** The kind at `offset`, and in `length` for how long it stays so, `most` bytes at most. */
  at(offset: number, most: number): number {
    const clusterBytes = this.#clusterBytes;
    const cluster = Math.floor(offset * this.#clusterInverse);
    const within = offset - cluster * clusterBytes;
    const slice = Math.floor(cluster * this.#sliceInverse);
    const first = cluster - slice * this.#perSlice;
    const words = this.#image.slices.find(slice);
    if (words === undefined) return this.#absent(slice, first, within, most);
    if (this.#words === 4) return this.#extended(words, first, within, most);
    return this.#standard(words, first, within, most);
  }

  /** `at`, with the slice brought into memory; `MISSING` only where that would wait. */
  atNow(offset: number, most: number): number {
    const kind = this.at(offset, most);
    return kind !== Kind.MISSING || !this.#loadNow(offset) ? kind : this.at(offset, most);
  }

  /** Brings a slice into memory without waiting; false when that would wait. */
  #loadNow(offset: number): boolean {
    const slice = Math.floor(offset / this.#clusterBytes / this.#perSlice);
    const position = this.slicePosition(slice);
    if (!this.#image.file.tryRead(position, this.#scratch, 0, this.#scratch.length)) return false;
    this.install(slice, this.#scratch);
    return true;
  }

  /** Where a slice lies in the file. Throws BlockError when the table cannot be there. */
  slicePosition(slice: number): number {
    const { l1, layout, file } = this.#image;
    const index = Math.floor(slice / this.#slicesPerTable);
    const table = l1.offsets[index]!;
    if (table % layout.clusterBytes !== 0) {
      throw this.#image.corrupt('an L2 table that is not aligned', table);
    }
    if (table >= file.sizeBytes) {
      throw this.#image.corrupt('an L2 table past the end of the file', table);
    }
    return table + (slice - index * this.#slicesPerTable) * layout.sliceBytes;
  }

  /** Puts the bytes of a slice into the cache, unless it came there meanwhile. */
  install(slice: number, bytes: Uint8Array): void {
    const { slices } = this.#image;
    if (slices.find(slice) !== undefined) return;
    const words = slices.claim(slice);
    const raw = Buffer.from(words.buffer, words.byteOffset, words.byteLength);
    raw.set(bytes);
    raw.swap32(); // big-endian on disk, the machine's own order here
  }

  #absent(slice: number, first: number, within: number, most: number): number {
    const index = Math.floor(slice / this.#slicesPerTable);
    if (this.#image.l1.offsets[index] !== 0) return Kind.MISSING;
    // No table: nothing is allocated up to the end of this slice.
    this.length = Math.min(most, (this.#perSlice - first) * this.#clusterBytes - within);
    return Kind.BACKING;
  }

  #standard(words: Uint32Array, first: number, within: number, most: number): number {
    const clusterBytes = this.#clusterBytes;
    const kind = this.#standardKind(words, first);
    let length = clusterBytes - within;
    if (kind === Kind.DATA) {
      const host = this.host;
      const own = this.own;
      for (let n = first + 1; length < most && n < this.#perSlice; n++) {
        if (this.#standardKind(words, n) !== Kind.DATA || this.own !== own) break;
        if (this.host !== host + (n - first) * clusterBytes) break;
        length += clusterBytes;
      }
      this.host = host + within;
      this.own = own;
    } else if (kind === Kind.ZERO || kind === Kind.BACKING) {
      for (let n = first + 1; length < most && n < this.#perSlice; n++) {
        if (this.#standardKind(words, n) !== kind) break;
        length += clusterBytes;
      }
    }
    this.length = length < most ? length : most;
    return kind;
  }

  /** As `decodeEntry`, for the common entry kinds, without taking it apart. */
  #standardKind(words: Uint32Array, index: number): number {
    return this.#kindOfWords(words[index * 2]!, words[index * 2 + 1]!);
  }

  #kindOfWords(hi: number, lo: number): number {
    if ((hi & 0x40000000) !== 0) return Kind.COMPRESSED;
    if ((lo & 1) !== 0) {
      if (this.#image.layout.version === 2) return this.#broken('a zero cluster in version 2');
      return Kind.ZERO;
    }
    const host = (hi & 0x00ffffff) * TWO_32 + ((lo & 0xfffffe00) >>> 0);
    if (host === 0) return Kind.BACKING;
    // The remainder of a number costs 20 ns, this one: a cluster is at most 2^21 bytes.
    if ((lo & 0xfffffe00 & this.#withinMask) !== 0) {
      return this.#broken('a cluster that is not aligned');
    }
    this.host = host;
    this.own = (hi & 0x80000000) !== 0;
    return Kind.DATA;
  }

  #extended(words: Uint32Array, first: number, within: number, most: number): number {
    const at = first * 4;
    if (words[at + 3] === 0xffffffff && words[at + 2] === 0) {
      // All allocated, as disks in use are: no need to take the entry apart.
      const kind = this.#kindOfWords(words[at]!, words[at + 1]!);
      if (kind === Kind.DATA) {
        this.host += within;
        const length = this.#clusterBytes - within;
        this.length = length < most ? length : most;
        return kind;
      }
    }
    const { layout } = this.#image;
    const entry = this.#entry;
    const why = decodeEntry(layout, words, at, entry);
    if (why !== null) return this.#broken(why);
    if (entry.compressed) {
      this.length = Math.min(most, this.#clusterBytes - within);
      return Kind.COMPRESSED;
    }
    const bytes = layout.subclusterBytes;
    const sub = Math.floor(within / bytes);
    const kind = kindOfSubcluster(entry.alloc, entry.zero, sub);
    let next = sub + 1;
    while (next < 32 && next * bytes - within < most) {
      if (kindOfSubcluster(entry.alloc, entry.zero, next) !== kind) break;
      next += 1;
    }
    this.host = entry.host + within;
    this.own = entry.copied;
    this.length = Math.min(most, next * bytes - within);
    return kind;
  }

  #broken(why: string): number {
    this.fault = why;
    return Kind.BROKEN;
  }
}

function kindOfSubcluster(alloc: number, zero: number, sub: number): number {
  if (((alloc >>> sub) & 1) !== 0) return Kind.DATA;
  return ((zero >>> sub) & 1) === 0 ? Kind.BACKING : Kind.ZERO;
}
