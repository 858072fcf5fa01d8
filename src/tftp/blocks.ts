import { EnvironmentError, InternalError } from '#base/mod.ts';
import { OPCODE } from './packet.ts';
import type { FileReader } from './reader.ts';

/** Opcode and block number, before the data of each block. */
const HEADER_BYTES = 4;

/** Whole DATA packets that lie one behind the other in `bytes`, ready to be sent in one call. */
export type Span = {
  bytes: Uint8Array;
  at: number;
  lengthBytes: number;
  blockCount: number;
};

/** A file cut into DATA packets. Blocks count from 1 and do not wrap. */
export interface BlockSource {
  /**
   * The packets from `firstBlock`, at most `blockCount` of them, at least one; or undefined when
   * they must be read from a disk first: then `load`. The result is valid until the next call.
   * Throws EnvironmentError `file-changed`, and what reading throws.
   */
  at(firstBlock: number, blockCount: number): Span | undefined;
  /** Reads what `at` needs for `firstBlock`. */
  load(firstBlock: number): Promise<void>;
}

/** Bytes of one whole DATA packet. */
export function packetBytes(blockBytes: number): number {
  return HEADER_BYTES + blockBytes;
}

function writeHeader(into: Uint8Array, at: number, block: number): void {
  into[at] = 0;
  into[at + 1] = OPCODE.data;
  into[at + 2] = (block >> 8) & 255;
  into[at + 3] = block & 255;
}

/**
 * Frames `data`, which begins with `firstBlock`, as [header|data]*. A block shorter than
 * `blockBytes` ends it; when the data ends on a boundary and `last`, an empty block does.
 */
function frame(
  data: Uint8Array,
  firstBlock: number,
  blockBytes: number,
  into: Uint8Array,
  last: boolean,
): number {
  const end = last ? data.length + 1 : data.length;
  let to = 0;
  let block = firstBlock;
  for (let from = 0; from < end; from += blockBytes) {
    const part = data.subarray(from, from + blockBytes);
    writeHeader(into, to, block);
    into.set(part, to + HEADER_BYTES);
    to += HEADER_BYTES + part.length;
    block += 1;
  }
  return to;
}

/** A whole file as DATA packets, in shared memory. */
export function frameWhole(content: Uint8Array, blockBytes: number): Uint8Array<SharedArrayBuffer> {
  const blocks = Math.floor(content.length / blockBytes) + 1;
  const framed = new Uint8Array(new SharedArrayBuffer(content.length + blocks * HEADER_BYTES));
  frame(content, 1, blockBytes, framed, true);
  return framed;
}

/** A file that was framed at once (`frameWhole`). */
export class WholeFrame implements BlockSource {
  readonly #framed: Uint8Array;
  readonly #blockBytes: number;
  readonly #span: Span;

  constructor(framed: Uint8Array, blockBytes: number) {
    this.#framed = framed;
    this.#blockBytes = blockBytes;
    this.#span = { bytes: framed, at: 0, lengthBytes: 0, blockCount: 0 };
  }

  at(firstBlock: number, blockCount: number): Span {
    const span = this.#span;
    const step = packetBytes(this.#blockBytes);
    span.at = (firstBlock - 1) * step;
    span.lengthBytes = Math.min(blockCount * step, this.#framed.length - span.at);
    span.blockCount = blockCount;
    return span;
  }

  load(): Promise<void> {
    return Promise.resolve();
  }
}

/** What one read from the file fetches, at least a window. */
const CHUNK_BYTES = 64 * 1024;

type Chunk = { bytes: Uint8Array; number: number; lengthBytes: number };

/**
 * A file read while it is sent: two chunks of framed blocks, the current one and the one before or
 * after it, so that a window may lie across their border and still be resent.
 */
export class StreamFrame implements BlockSource {
  readonly #file: FileReader;
  readonly #blockBytes: number;
  readonly #chunkBlocks: number;
  readonly #chunks: Chunk[] = [];
  readonly #staging: Uint8Array;
  readonly #span: Span;

  /**
   * `windowBlocks` is the longest run that is ever asked for. `staging` is where resident data is
   * read to before it is framed (at least `stagingBytes` long; shared between sources: it holds
   * nothing between two calls).
   */
  constructor(file: FileReader, blockBytes: number, windowBlocks: number, staging: Uint8Array) {
    this.#file = file;
    this.#blockBytes = blockBytes;
    this.#chunkBlocks = chunkBlocks(blockBytes, windowBlocks);
    this.#staging = staging;
    this.#span = { bytes: staging, at: 0, lengthBytes: 0, blockCount: 0 };
    if (staging.length < this.#chunkBlocks * blockBytes)
      throw new InternalError('staging too small');
  }

  at(firstBlock: number, blockCount: number): Span | undefined {
    const number = Math.floor((firstBlock - 1) / this.#chunkBlocks);
    const chunk = this.#chunk(number) ?? this.#fillNow(number);
    if (chunk === undefined) return undefined;
    const span = this.#span;
    const within = (firstBlock - 1) % this.#chunkBlocks;
    const step = packetBytes(this.#blockBytes);
    span.bytes = chunk.bytes;
    span.at = within * step;
    span.blockCount = Math.min(blockCount, this.#chunkBlocks - within);
    span.lengthBytes = Math.min(span.blockCount * step, chunk.lengthBytes - span.at);
    return span;
  }

  async load(firstBlock: number): Promise<void> {
    const number = Math.floor((firstBlock - 1) / this.#chunkBlocks);
    const length = this.#dataBytes(number);
    const data = new Uint8Array(length);
    const got = await this.#file.read(
      data,
      0,
      length,
      number * this.#chunkBlocks * this.#blockBytes,
    );
    this.#fill(number, data, got);
  }

  #chunk(number: number): Chunk | undefined {
    const chunk = this.#chunks[number & 1];
    return chunk?.number === number ? chunk : undefined;
  }

  #fillNow(number: number): Chunk | undefined {
    const length = this.#dataBytes(number);
    const position = number * this.#chunkBlocks * this.#blockBytes;
    const got = length === 0 ? 0 : this.#file.readNow(this.#staging, 0, length, position);
    return got < 0 ? undefined : this.#fill(number, this.#staging.subarray(0, length), got);
  }

  #fill(number: number, data: Uint8Array, gotBytes: number): Chunk {
    if (gotBytes !== data.length) {
      throw new EnvironmentError('file-changed', {
        what: 'the file became shorter while it was sent',
        why: 'another program truncated it in place',
        todo: 'replace boot files by renaming a new one over them',
      });
    }
    let chunk = this.#chunks[number & 1];
    if (chunk === undefined) {
      const bytes = new Uint8Array(this.#chunkBlocks * packetBytes(this.#blockBytes));
      chunk = { bytes, number: -1, lengthBytes: 0 };
      this.#chunks[number & 1] = chunk;
    }
    const first = number * this.#chunkBlocks + 1;
    const last = (first - 1) * this.#blockBytes + data.length === this.#file.sizeBytes;
    chunk.number = number;
    const closes = last && data.length < this.#chunkBlocks * this.#blockBytes;
    chunk.lengthBytes = frame(data, first, this.#blockBytes, chunk.bytes, closes);
    return chunk;
  }

  /** Bytes of the file in that chunk. */
  #dataBytes(number: number): number {
    const chunkBytes = this.#chunkBlocks * this.#blockBytes;
    return Math.max(0, Math.min(chunkBytes, this.#file.sizeBytes - number * chunkBytes));
  }
}

function chunkBlocks(blockBytes: number, windowBlocks: number): number {
  return Math.max(windowBlocks, Math.floor(CHUNK_BYTES / blockBytes), 1);
}

/** How long the staging of a StreamFrame must be, for any agreement. */
export const STAGING_BYTES: number = 256 * 1024 + CHUNK_BYTES;
