import type { CompressedReader } from './compressed.ts';
import type { Entry } from './entry.ts';
import { answered } from '../answered.ts';
import { readBytes } from './file-io.ts';
import type { Image } from './image.ts';
import type { Reader } from './reader.ts';
import type { WritePlan } from './write-plan.ts';

/** Where the bytes come from that fill a new cluster up around what is written. */
export class CopySource {
  readonly #image: Image;
  readonly #reader: Reader;
  readonly #compressed: CompressedReader;

  constructor(image: Image, reader: Reader, compressed: CompressedReader) {
    this.#image = image;
    this.#reader = reader;
    this.#compressed = compressed;
  }

  /**
   * What [from, to), within one subcluster, had before, into `bytes`, which begins at `start` of
   * the cluster; false when that would wait.
   */
  tryBefore(
    base: number,
    entry: Entry,
    from: number,
    to: number,
    bytes: Uint8Array,
    start: number,
  ): boolean {
    const sub = Math.floor(from / this.#image.layout.subclusterBytes);
    const at = from - start;
    if (((entry.alloc >>> sub) & 1) === 1) {
      return this.#image.file.tryRead(entry.host + from, bytes, at, to - from);
    }
    if (((entry.zero >>> sub) & 1) === 1) {
      bytes.fill(0, at, at + to - from);
      return true;
    }
    return this.#reader.tryBacking(base + from, bytes, at, to - from);
  }

  /** Fills `bytes` (the part [start, end) of the cluster) with what was there before. */
  async gather(
    base: number,
    plan: WritePlan,
    entry: Entry,
    words: Uint32Array,
    within: number,
    length: number,
    bytes: Uint8Array,
  ): Promise<void> {
    const { clusterBytes } = this.#image.layout;
    if (entry.compressed) {
      bytes.set(await this.#compressed.load(words, 0));
      return;
    }
    if (plan.moves) bytes.set(await readBytes(this.#image.file, entry.host, clusterBytes));
    const { subclusterBytes } = this.#image.layout;
    const head = Math.floor(within / subclusterBytes) * subclusterBytes;
    const end = within + length;
    const tail = Math.ceil(end / subclusterBytes) * subclusterBytes;
    const first = Math.max(head, plan.start);
    if (first < within) await this.#before(base, entry, first, within, bytes, plan.start);
    const last = Math.min(tail, plan.end);
    if (end < last) await this.#before(base, entry, end, last, bytes, plan.start);
  }

  /** What [from, to), within one subcluster, had before. */
  async #before(
    base: number,
    entry: Entry,
    from: number,
    to: number,
    bytes: Uint8Array,
    start: number,
  ): Promise<void> {
    const sub = Math.floor(from / this.#image.layout.subclusterBytes);
    if (((entry.alloc >>> sub) & 1) === 1) {
      await answered((done) => {
        this.#image.file.read(entry.host + from, bytes, from - start, to - from, done);
      });
    } else if (((entry.zero >>> sub) & 1) === 1) {
      bytes.fill(0, from - start, to - start);
    } else {
      await this.#reader.backing(base + from, bytes, from - start, to - from);
    }
  }
}
