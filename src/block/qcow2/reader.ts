import { BlockError } from '../device.ts';
import type { BlockDone } from '../device.ts';
import { blockErrorFrom } from './error.ts';
import type { CompressedReader } from './compressed.ts';
import { answered } from '../answered.ts';
import { readBytes } from './file-io.ts';
import type { Image } from './image.ts';
import type { InFlight } from './in-flight.ts';
import { Kind } from './mapper.ts';
import type { Mapper } from './mapper.ts';

/** From here on the copy costs more than a trip to the thread pool, as for raw files. */
const TRY_READ_BYTES_MAX = 256 * 1024;

/** Reads of the disk: from the file, the backing, or nowhere (zeros). */
export class Reader {
  readonly #image: Image;
  readonly #mapper: Mapper;
  readonly #compressed: CompressedReader;
  readonly #inFlight: InFlight;

  constructor(image: Image, mapper: Mapper, compressed: CompressedReader, inFlight: InFlight) {
    this.#image = image;
    this.#mapper = mapper;
    this.#compressed = compressed;
    this.#inFlight = inFlight;
  }

  /** `BlockDevice.tryRead`. */
  tryRead(offset: number, into: Uint8Array, at: number, length: number): boolean {
    if (length >= TRY_READ_BYTES_MAX) return false;
    const mapper = this.#mapper;
    for (let done = 0; done < length;) {
      const kind = mapper.atNow(offset + done, length - done);
      if (kind === Kind.MISSING) return false;
      if (!this.#tryPiece(kind, offset + done, into, at + done)) return false;
      done += mapper.length;
    }
    return true;
  }

  /** What the backing has at `offset`, zeros beyond its end; false when that would wait. */
  tryBacking(offset: number, into: Uint8Array, at: number, length: number): boolean {
    const { backing } = this.#image;
    const present = this.#presentBelow(offset, length);
    if (present < length) into.fill(0, at + present, at + length);
    return present === 0 || backing === null || backing.tryRead(offset, into, at, present);
  }

  /** The same, waiting. Rejects with BlockError. */
  async backing(offset: number, into: Uint8Array, at: number, length: number): Promise<void> {
    const { backing } = this.#image;
    const present = this.#presentBelow(offset, length);
    if (present < length) into.fill(0, at + present, at + length);
    if (present === 0 || backing === null) return;
    await answered((done) => {
      backing.read(offset, into, at, present, done);
    });
  }

  /** Whether the backing has nothing at `offset` and behind, so that it reads as zeros. */
  zeroBelow(offset: number): boolean {
    const { backing } = this.#image;
    return backing === null || offset >= backing.sizeBytes;
  }

  /** `BlockDevice.read`; the caller has checked the range. */
  read(offset: number, into: Uint8Array, at: number, length: number, done: BlockDone): void {
    const call = this.#inFlight.enter();
    this.#readAll(offset, into, at, length).then(
      () => {
        this.#inFlight.leave(call);
        done(null);
      },
      (e: unknown) => {
        this.#inFlight.leave(call);
        done(blockErrorFrom(e, offset));
      },
    );
  }

  /** Brings the slice of a guest offset into memory. Rejects with BlockError. */
  async loadSlice(offset: number): Promise<void> {
    const { layout, l1, file, slices } = this.#image;
    const slice = Math.floor(offset / layout.clusterBytes / layout.entriesPerSlice);
    const times = slices.settledTimes;
    const index = Math.floor(slice / layout.slicesPerTable);
    const table = l1.offsets[index];
    const bytes = await readBytes(file, this.#mapper.slicePosition(slice), layout.sliceBytes);
    // A table that was copied, or written by a checkpoint, meanwhile: the caller reads again.
    if (l1.offsets[index] !== table || slices.settledTimes !== times) return;
    this.#mapper.install(slice, bytes);
  }

  /** The same, holding everything up: for questions that must be answered at once. */
  loadSliceSync(offset: number): void {
    const { layout, file } = this.#image;
    const slice = Math.floor(offset / layout.clusterBytes / layout.entriesPerSlice);
    const bytes = new Uint8Array(layout.sliceBytes);
    file.readSync(this.#mapper.slicePosition(slice), bytes, 0, bytes.length);
    this.#mapper.install(slice, bytes);
  }

  async #readAll(offset: number, into: Uint8Array, at: number, length: number): Promise<void> {
    const pieces: Promise<void>[] = [];
    try {
      for (let done = 0; done < length;) {
        const kind = this.#mapper.at(offset + done, length - done);
        if (kind === Kind.MISSING) {
          await this.loadSlice(offset + done);
          continue;
        }
        const piece = this.#mapper.length;
        pieces.push(this.#piece(kind, offset + done, into, at + done, piece));
        done += piece;
      }
    } finally {
      // Also after an error: nothing may write into the caller's memory once it was answered.
      await Promise.allSettled(pieces);
    }
    await Promise.all(pieces);
  }

  #piece(
    kind: number,
    offset: number,
    into: Uint8Array,
    at: number,
    length: number,
  ): Promise<void> {
    const { host } = this.#mapper;
    switch (kind) {
      case Kind.DATA:
        return answered((done) => {
          this.#image.file.read(host, into, at, length, done);
        });
      case Kind.ZERO:
        into.fill(0, at, at + length);
        return Promise.resolve();
      case Kind.BACKING:
        return this.backing(offset, into, at, length);
      case Kind.COMPRESSED:
        return this.#decompress(offset, into, at, length);
      default:
        return Promise.reject(this.#image.corrupt(this.#mapper.fault, offset));
    }
  }

  async #decompress(offset: number, into: Uint8Array, at: number, length: number): Promise<void> {
    const { clusterBytes } = this.#image.layout;
    const place = this.#place(offset);
    const bytes = await this.#compressed.load(place.words, place.at);
    const within = offset % clusterBytes;
    into.set(bytes.subarray(within, within + length), at);
  }

  #tryPiece(kind: number, offset: number, into: Uint8Array, at: number): boolean {
    const { host, length } = this.#mapper;
    switch (kind) {
      case Kind.DATA:
        return this.#image.file.tryRead(host, into, at, length);
      case Kind.ZERO:
        into.fill(0, at, at + length);
        return true;
      case Kind.BACKING:
        return this.tryBacking(offset, into, at, length);
      case Kind.COMPRESSED: {
        const place = this.#place(offset);
        const bytes = this.#compressed.find(place.words, place.at);
        if (bytes === undefined) return false;
        const within = offset % this.#image.layout.clusterBytes;
        into.set(bytes.subarray(within, within + length), at);
        return true;
      }
      default:
        throw this.#image.corrupt(this.#mapper.fault, offset);
    }
  }

  /** The entry of a guest offset whose slice is in memory. */
  #place(offset: number): { words: Uint32Array; at: number } {
    const { layout, slices } = this.#image;
    const cluster = Math.floor(offset / layout.clusterBytes);
    const slice = Math.floor(cluster / layout.entriesPerSlice);
    const words = slices.find(slice);
    if (words === undefined) throw new BlockError('io', 'the L2 slice left memory', offset);
    return { words, at: (cluster - slice * layout.entriesPerSlice) * layout.entryWords };
  }

  #presentBelow(offset: number, length: number): number {
    const { backing } = this.#image;
    if (backing === null) return 0;
    return Math.max(0, Math.min(length, backing.sizeBytes - offset));
  }
}
