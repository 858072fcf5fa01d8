import { DecodeError, printable } from '#base/mod.ts';
import {
  CHUNK_DONE,
  CHUNK_IS_ERROR,
  Chunk,
  Command,
  SIMPLE_REPLY_BYTES,
  SIMPLE_REPLY_MAGIC,
  STRING_BYTES_MAX,
  STRUCTURED_REPLY_BYTES,
  STRUCTURED_REPLY_MAGIC,
  uint64At,
} from './protocol.ts';

/** A request that waits for its reply, as far as the reply concerns it. */
export type Awaited = {
  readonly command: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** Where read data goes; null: nobody wants it any more. */
  into: Uint8Array | null;
  readonly at: number;
  /** What of a read has arrived: begins and ends, relative, in order. Starts empty. */
  covered: number[];
  /** First error of a reply in chunks; 0 = none. */
  error: number;
  errorText: string;
  /** What BLOCK_STATUS said: lengths and states, in turn. */
  extents: number[] | null;
};

/** Who knows the requests, and hears of their end. */
export type ReplySink = {
  /** The request of a cookie; undefined ends the connection. */
  awaited(cookieHigh: number, cookieLow: number): Awaited | undefined;
  /** `error` is the wire's number, 0 for success; a read is complete then. */
  finished(request: Awaited, error: number, text: string): void;
};

/** A server that sends a read in more disordered pieces than this plays games. */
const DISORDERED_PIECES_MAX = 256;
/** QEMU's own limit is 128 Ki extents. */
const EXTENTS_MAX = 128 * 1024;
const EXTENT_BYTES = 8;
const ERROR_BYTES_MAX = 6 + STRING_BYTES_MAX + 8;
const SMALL_BYTES = 64;

type Stage = 'magic' | 'simple' | 'chunk' | 'data-offset' | 'hole' | 'error' | 'extents';

/**
 * Takes the replies of a server apart, in pieces of any length (doc/proto.md, "Transmission").
 * Headers are collected; read data is copied straight to where the request wants it.
 *
 * Nothing that the server says is believed before it fits: a cookie that nobody waits for, data
 * outside of the request or twice in the same place, lengths beyond what the type can have, a read
 * that ends with bytes missing. All of these throw `DecodeError`, after which the reader is spent.
 */
export class ReplyReader {
  readonly #sink: ReplySink;
  readonly #structured: boolean;
  readonly #contextId: number | null;
  readonly #small = Buffer.alloc(SMALL_BYTES);
  #stash: Buffer = this.#small;
  #have = 0;
  #need = 4;
  #stage: Stage = 'magic';
  /** Bytes of read data still to come. */
  #streamLeft = 0;
  #streamAt = 0;
  #request: Awaited | null = null;
  #flags = 0;
  #length = 0;
  #position = 0;

  /** `contextId`: what base:allocation is called in this connection. */
  constructor(sink: ReplySink, structured: boolean, contextId: number | null) {
    this.#sink = sink;
    this.#structured = structured;
    this.#contextId = contextId;
  }

  /** Takes the first `length` bytes of `bytes`, which may be used again afterwards. */
  push(bytes: Uint8Array, length: number): void {
    let at = 0;
    while (at < length) {
      if (this.#streamLeft > 0) {
        const take = Math.min(this.#streamLeft, length - at);
        this.#stream(bytes, at, take);
        at += take;
      } else {
        const take = Math.min(this.#need - this.#have, length - at);
        for (let i = 0; i < take; i++) this.#stash[this.#have + i] = bytes[at + i] ?? 0;
        this.#have += take;
        at += take;
        if (this.#have === this.#need) this.#step();
      }
    }
    this.#position += length;
  }

  #step(): void {
    switch (this.#stage) {
      case 'magic':
        return this.#magic();
      case 'simple':
        return this.#simple();
      case 'chunk':
        return this.#chunk();
      case 'data-offset':
        return this.#dataOffset();
      case 'hole':
        return this.#hole();
      case 'error':
        return this.#error();
      case 'extents':
        return this.#extents();
    }
  }

  #magic(): void {
    const magic = this.#stash.readUInt32BE(0);
    if (magic === SIMPLE_REPLY_MAGIC) this.#collect('simple', SIMPLE_REPLY_BYTES, 4);
    else if (magic !== STRUCTURED_REPLY_MAGIC) this.#bad('a reply without its magic number');
    else if (!this.#structured) this.#bad('a structured reply that was not agreed on');
    else this.#collect('chunk', STRUCTURED_REPLY_BYTES, 4);
  }

  #simple(): void {
    const error = this.#stash.readUInt32BE(4);
    const request = this.#find(this.#stash.readUInt32BE(8), this.#stash.readUInt32BE(12));
    if (error !== 0 || request.command !== Command.READ) {
      this.#expectHeader();
      if (request.command === Command.BLOCK_STATUS && error === 0) this.#bad('a state left out');
      this.#sink.finished(request, error, '');
      return;
    }
    if (this.#structured) this.#bad('a simple reply to a read');
    this.#request = request;
    this.#flags = CHUNK_DONE;
    this.#beginData(0, request.lengthBytes);
  }

  #chunk(): void {
    const stash = this.#stash;
    this.#flags = stash.readUInt16BE(4);
    const type = stash.readUInt16BE(6);
    const request = this.#find(stash.readUInt32BE(8), stash.readUInt32BE(12));
    const length = stash.readUInt32BE(16);
    this.#request = request;
    this.#length = length;
    if ((type & CHUNK_IS_ERROR) !== 0) {
      if (length < 6 || length > ERROR_BYTES_MAX) this.#bad(`an error of ${length} bytes`);
      this.#collect('error', length);
    } else if (type === Chunk.NONE) {
      if (length !== 0 || (this.#flags & CHUNK_DONE) === 0) this.#bad('an empty chunk too many');
      this.#chunkDone();
    } else if (type === Chunk.OFFSET_DATA && request.command === Command.READ) {
      if (length < 9 || length > 8 + request.lengthBytes) this.#bad(`data of ${length} bytes`);
      this.#collect('data-offset', 8);
    } else if (type === Chunk.OFFSET_HOLE && request.command === Command.READ) {
      if (length !== 12) this.#bad(`a hole told in ${length} bytes`);
      this.#collect('hole', 12);
    } else if (type === Chunk.BLOCK_STATUS && request.command === Command.BLOCK_STATUS) {
      const fits = length >= 12 && (length - 4) % EXTENT_BYTES === 0;
      if (!fits || length > 4 + EXTENT_BYTES * EXTENTS_MAX) this.#bad(`extents of ${length} bytes`);
      this.#collect('extents', length);
    } else {
      this.#bad(`a chunk of type ${type} for command ${request.command}`);
    }
  }

  #dataOffset(): void {
    this.#beginData(this.#place(), this.#length - 8);
  }

  #hole(): void {
    const request = this.#current();
    const length = this.#stash.readUInt32BE(8);
    const from = this.#place();
    this.#cover(request, from, length);
    request.into?.fill(0, request.at + from, request.at + from + length);
    this.#chunkDone();
  }

  #error(): void {
    const request = this.#current();
    const error = this.#stash.readUInt32BE(0);
    const textBytes = this.#stash.readUInt16BE(4);
    if (error === 0 || 6 + textBytes > this.#length) this.#bad('an error that says nothing');
    if (request.error === 0) {
      request.error = error;
      request.errorText = printable(this.#stash.toString('utf8', 6, 6 + textBytes), 200);
    }
    this.#chunkDone();
  }

  #extents(): void {
    const request = this.#current();
    if (this.#stash.readUInt32BE(0) !== this.#contextId) this.#bad('a state nobody asked for');
    if (request.extents !== null) this.#bad('a state told twice');
    const extents: number[] = [];
    for (let at = 4; at < this.#length; at += EXTENT_BYTES) {
      const length = this.#stash.readUInt32BE(at);
      if (length === 0) this.#bad('an extent of no length');
      extents.push(length, this.#stash.readUInt32BE(at + 4));
    }
    request.extents = extents;
    this.#chunkDone();
  }

  /** A place in the request that the stash begins with, relative to the request's own. */
  #place(): number {
    const request = this.#current();
    const offset = uint64At(this.#stash, 0);
    if (offset < request.offsetBytes) this.#bad('data from before what was asked for');
    return offset - request.offsetBytes;
  }

  #beginData(from: number, length: number): void {
    const request = this.#current();
    this.#cover(request, from, length);
    this.#streamAt = request.at + from;
    this.#streamLeft = length;
  }

  #stream(bytes: Uint8Array, at: number, length: number): void {
    const into = this.#current().into;
    if (into !== null) into.set(bytes.subarray(at, at + length), this.#streamAt);
    this.#streamAt += length;
    this.#streamLeft -= length;
    if (this.#streamLeft === 0) this.#chunkDone();
  }

  #chunkDone(): void {
    const request = this.#current();
    this.#expectHeader();
    if ((this.#flags & CHUNK_DONE) === 0) return;
    if (request.error === 0) {
      const { command, covered, lengthBytes } = request;
      const whole = covered.length === 2 && covered[0] === 0 && covered[1] === lengthBytes;
      if (command === Command.READ && !whole) this.#bad('a read that lacks some of its bytes');
      if (command === Command.BLOCK_STATUS && request.extents === null) this.#bad('no state told');
    }
    this.#sink.finished(request, request.error, request.errorText);
  }

  /** Notes that a range of a read has come; in order it costs two comparisons. */
  #cover(request: Awaited, from: number, length: number): void {
    const to = from + length;
    if (length === 0 || to > request.lengthBytes) this.#bad('data beyond what was asked for');
    const { covered } = request;
    if (covered.length === 0) {
      covered.push(from, to);
    } else if (covered.length === 2 && covered[1] === from) {
      covered[1] = to;
    } else if (!insertRange(covered, from, to)) {
      this.#bad('data twice in the same place');
    } else if (covered.length > 2 * DISORDERED_PIECES_MAX) {
      this.#bad('data in too many pieces');
    }
  }

  #collect(stage: Stage, need: number, have = 0): void {
    this.#stage = stage;
    this.#need = need;
    this.#have = have;
    if (need > SMALL_BYTES) this.#stash = Buffer.alloc(need);
  }

  #expectHeader(): void {
    this.#stash = this.#small;
    this.#collect('magic', 4);
    this.#request = null;
  }

  #find(high: number, low: number): Awaited {
    return this.#sink.awaited(high, low) ?? this.#bad('a reply that nobody waits for');
  }

  #current(): Awaited {
    return this.#request ?? this.#bad('a chunk without a request');
  }

  #bad(message: string): never {
    throw new DecodeError('nbd-reply', `NBD: the server sent ${message}`, this.#position);
  }
}

/**
 * Puts a range into a sorted list of begins and ends, joining neighbours; false if they overlap.
 */
function insertRange(ranges: number[], from: number, to: number): boolean {
  let i = 0;
  while (i < ranges.length && (ranges[i] ?? 0) < from) i += 2;
  const previousEnd = i === 0 ? -1 : (ranges[i - 1] ?? -1);
  const nextStart = i < ranges.length ? (ranges[i] ?? Infinity) : Infinity;
  if (previousEnd > from || nextStart < to) return false;
  const joinsLeft = previousEnd === from;
  const joinsRight = nextStart === to;
  const start = joinsLeft ? (ranges[i - 2] ?? from) : from;
  const end = joinsRight ? (ranges[i + 1] ?? to) : to;
  const first = joinsLeft ? i - 2 : i;
  ranges.splice(first, (joinsLeft ? 2 : 0) + (joinsRight ? 2 : 0), start, end);
  return true;
}
