import { LentMessage } from '#block/mod.ts';
import { ScatterBuffer } from '#os/mod.ts';
import { CHUNK_BYTES, CHUNK_SIZES, FREE_CHUNK_BYTES_MAX, RECEIVE_BUFFER_BYTES } from './limits.ts';
import { IdlePoll } from './idle-poll.ts';
import { WriteBatch } from './write-batch.ts';

/** A piece of output memory with the view that headers are written by. */
export class Chunk {
  readonly bytes: Buffer;
  readonly view: DataView;

  constructor(lengthBytes: number = CHUNK_BYTES) {
    this.bytes = Buffer.allocUnsafeSlow(lengthBytes);
    this.view = new DataView(this.bytes.buffer);
  }
}

/** Output memory of one data-plane thread. What is given back is kept up to a limit. */
export class ChunkPool {
  readonly #free = new Map<number, Chunk[]>(CHUNK_SIZES.map((size) => [size, []]));
  #taken = 0;
  /** In chunks with write data that devices have not taken. */
  coldWriteBytes = 0;

  /** Chunks in use. */
  get taken(): number {
    return this.#taken;
  }

  /** A chunk of at least `lengthBytes`, the next of CHUNK_SIZES. */
  take(lengthBytes: number = CHUNK_BYTES): Chunk {
    this.#taken += 1;
    const size = chunkSize(lengthBytes);
    return this.#free.get(size)?.pop() ?? new Chunk(size);
  }

  give(chunk: Chunk): void {
    this.#taken -= 1;
    const size = chunk.bytes.length;
    const free = this.#free.get(size);
    if (free !== undefined && free.length * size < FREE_CHUNK_BYTES_MAX) free.push(chunk);
  }
}

/** The size of the chunk that holds `lengthBytes`. */
export function chunkSize(lengthBytes: number): number {
  return CHUNK_SIZES.find((size) => size >= lengthBytes) ?? CHUNK_BYTES;
}

/** A session that leads by so much is alone in its thread, for all that matters. */
const LEAD_ALONE = 4;
/** So much of a lead is remembered: one that ends is forgotten soon. */
const LEAD_MAX = 16;

/** Something that has work to do later in this tick of the event loop. */
export interface Turnable {
  turn(): void;
}

/**
 * What the connections of one data-plane thread share: output memory, and the list of those that
 * want a turn. Completions of the thread pool come in bunches; one turn after the bunch answers
 * them all with one send.
 */
export class DataPlane {
  readonly chunks = new ChunkPool();
  #message: LentMessage | null | undefined;
  #receiveBuffer: Buffer | null = null;
  #writes: WriteBatch | null = null;
  #waiting: Turnable[] = [];
  /** Who receives most, and by how many times more than all others of late. */
  #busiest: object | null = null;
  #lead = 0;
  readonly #idle = new IdlePoll();
  readonly #defer: (run: () => void) => void;
  readonly #run: () => void;

  constructor(defer: (run: () => void) => void = setImmediate) {
    this.#defer = defer;
    this.#run = () => {
      const waiting = this.#waiting;
      this.#waiting = [];
      for (const each of waiting) each.turn();
    };
  }

  /** Sends blocks by address; null where the platform cannot. */
  get message(): LentMessage | null {
    if (this.#message === undefined) this.#message = LentMessage.create();
    return this.#message;
  }

  /** Writes on their way from the receive buffer; null where they must be copied one by one. */
  get writes(): WriteBatch | null {
    return this.#writes;
  }

  /** The receive buffer that all sockets share. */
  get receiveBuffer(): Buffer {
    this.#receiveBuffer ??= this.#newReceiveBuffer();
    return this.#receiveBuffer;
  }

  #newReceiveBuffer(): Buffer {
    const scatter = ScatterBuffer.open(RECEIVE_BUFFER_BYTES);
    if (scatter === null) return Buffer.allocUnsafeSlow(RECEIVE_BUFFER_BYTES);
    this.#writes = new WriteBatch(scatter);
    return scatter.bytes;
  }

  /** Somebody receives: true when it is nearly always the same one. */
  received(who: object): boolean {
    if (who === this.#busiest) this.#lead = Math.min(this.#lead + 1, LEAD_MAX);
    else if (this.#lead > 0) this.#lead -= 1;
    else this.#busiest = who;
    const alone = who === this.#busiest && this.#lead >= LEAD_ALONE;
    if (alone) this.#idle.heard();
    return alone;
  }

  /** Whoever received has answered what can be answered now. */
  answered(alone: boolean): void {
    // What the thread pool works on wakes the event loop itself, and needs the processor meanwhile.
    if (alone && this.chunks.taken === 0) this.#idle.answered();
  }

  /** Nothing is received any more. */
  close(): void {
    this.#writes?.close();
  }

  /** Gives it a turn soon; it must not ask again before it had it. */
  soon(each: Turnable): void {
    this.#waiting.push(each);
    if (this.#waiting.length === 1) this.#defer(this.#run);
  }
}
