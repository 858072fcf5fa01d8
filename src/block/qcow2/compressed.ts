import { inflateRaw, zstdDecompress } from 'node:zlib';
import { BlockError } from '../device.ts';
import { blankEntry, decodeEntry } from './entry.ts';
import { readBytes } from './file-io.ts';
import type { Image } from './image.ts';
import { DECOMPRESSED_BYTES } from './limits.ts';
import { zstdFrameBytes } from './zstd-frame.ts';

/**
 * Compressed clusters: decompressed whole in the thread pool, and the last ones kept, because
 * readers ask for less than a cluster at a time. A guest cluster is known by its L2 entry, so one
 * that was written meanwhile is never answered from here.
 */
export class CompressedReader {
  readonly #image: Image;
  readonly #kept: { where: number; bytes: Uint8Array }[] = [];
  readonly #most: number;
  readonly #entry = blankEntry();

  constructor(image: Image) {
    this.#image = image;
    this.#most = Math.max(1, Math.floor(DECOMPRESSED_BYTES / image.layout.clusterBytes));
  }

  /** The bytes of the cluster whose entry stands at `at` of `words`, if they are in memory. */
  find(words: Uint32Array, at: number): Uint8Array | undefined {
    decodeEntry(this.#image.layout, words, at, this.#entry);
    const { host } = this.#entry;
    return this.#kept.find((k) => k.where === host)?.bytes;
  }

  /**
   * The bytes of that cluster. Rejects with BlockError `io` when the data is damaged: too short,
   * too long (a bomb ends at the size of a cluster), or no stream at all.
   */
  async load(words: Uint32Array, at: number): Promise<Uint8Array> {
    const kept = this.find(words, at);
    if (kept !== undefined) return kept;
    const { layout, file, name } = this.#image;
    const why = decodeEntry(layout, words, at, this.#entry);
    const { host, compressedBytes } = this.#entry;
    if (why !== null) throw this.#image.corrupt(why, host);
    if (host >= file.sizeBytes) {
      throw this.#image.corrupt('compressed data past the end of the file', host);
    }
    const packed = await readBytes(file, host, compressedBytes);
    const bytes = await decompress(packed, layout.clusterBytes, layout.compressionType);
    if (bytes === null) {
      throw new BlockError('io', `compressed data of "${name}" at byte ${host} is damaged`, 0);
    }
    this.#kept.push({ where: host, bytes });
    if (this.#kept.length > this.#most) this.#kept.shift();
    return bytes;
  }
}

/** Exactly `bytes` bytes, or null. Type 0 is deflate without header, 1 is zstd. */
function decompress(packed: Uint8Array, bytes: number, type: number): Promise<Uint8Array | null> {
  return new Promise((resolve) => {
    const done = (error: Error | null, result: Uint8Array): void => {
      resolve(error === null && result.length === bytes ? result : null);
    };
    if (type === 0) {
      inflateRaw(packed, { maxOutputLength: bytes }, done);
      return;
    }
    // What follows in the last sector belongs to the next cluster.
    const length = zstdFrameBytes(packed);
    if (length === null) {
      resolve(null);
      return;
    }
    zstdDecompress(packed.subarray(0, length), { maxOutputLength: bytes }, done);
  });
}
