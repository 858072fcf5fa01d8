import { CHUNK_BYTES, FREE_CHUNKS_MAX } from './limits.ts';

/** A piece of output memory with the view that headers are written by. */
export class Chunk {
  readonly bytes: Buffer = Buffer.allocUnsafeSlow(CHUNK_BYTES);
  readonly view: DataView = new DataView(this.bytes.buffer);
}

/** Output memory of one data-plane thread. What is given back is kept up to a limit. */
export class ChunkPool {
  readonly #free: Chunk[] = [];
  #taken = 0;

  /** Chunks in use. */
  get taken(): number {
    return this.#taken;
  }

  take(): Chunk {
    this.#taken += 1;
    return this.#free.pop() ?? new Chunk();
  }

  give(chunk: Chunk): void {
    this.#taken -= 1;
    if (this.#free.length < FREE_CHUNKS_MAX) this.#free.push(chunk);
  }
}

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
  #waiting: Turnable[] = [];
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

  /** Gives it a turn soon; it must not ask again before it had it. */
  soon(each: Turnable): void {
    this.#waiting.push(each);
    if (this.#waiting.length === 1) this.#defer(this.#run);
  }
}
