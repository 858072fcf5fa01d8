import { invariant } from '#base/mod.ts';
import type { Chunk, ChunkPool } from './data-plane.ts';
import { CHUNK_BYTES, OUTPUT_BYTES_MAX } from './limits.ts';

/** What a connection needs of its socket. */
export interface Transport {
  /**
   * Sends the first `lengthBytes` of the chunk. True: the kernel has them all and the chunk is free
   * again. False: the transport keeps the chunk and calls `Output.sent` for it later.
   */
  send(chunk: Chunk, lengthBytes: number): boolean;
  /** Stops and restarts the delivery of received bytes. */
  pause(): void;
  resume(): void;
  /** Closes when all that was sent is out. */
  end(): void;
  /** Closes at once. */
  abort(): void;
}

/**
 * The output of one connection. PDUs are written in place into a chunk that is held only while a
 * turn lasts: `reserve` … `flush`; a turn ends in one send, however many PDUs it wrote. A
 * connection at rest holds no output memory.
 */
export class Output {
  readonly #transport: Transport;
  readonly #pool: ChunkPool;
  #chunk: Chunk | null = null;
  #used = 0;
  #unsentBytes = 0;
  #closed = false;

  constructor(transport: Transport, pool: ChunkPool) {
    this.#transport = transport;
    this.#pool = pool;
  }

  /** Bytes that the kernel has not taken. */
  get unsentBytes(): number {
    return this.#unsentBytes;
  }

  /** The peer does not keep up: write no more data now. */
  get full(): boolean {
    return this.#unsentBytes >= OUTPUT_BYTES_MAX;
  }

  /** The chunk that the last `reserve` pointed into. */
  get bytes(): Buffer {
    return this.#current().bytes;
  }

  get view(): DataView {
    return this.#current().view;
  }

  /** Makes room for a PDU of up to `lengthBytes` and returns where it begins; see `commit`. */
  reserve(lengthBytes: number): number {
    if (this.#used + lengthBytes > CHUNK_BYTES) this.flush();
    if (this.#chunk === null) this.#chunk = this.#pool.take();
    return this.#used;
  }

  /** `lengthBytes` from the last reserved place are a PDU. */
  commit(lengthBytes: number): void {
    this.#used += lengthBytes;
  }

  /** Sends what was committed. */
  flush(): void {
    const chunk = this.#chunk;
    if (chunk === null) return;
    const used = this.#used;
    this.#chunk = null;
    this.#used = 0;
    if (used === 0) this.#pool.give(chunk);
    else this.sendChunk(chunk, used);
  }

  /** Sends a chunk that was filled elsewhere, behind what was committed. */
  sendChunk(chunk: Chunk, lengthBytes: number): void {
    if (this.#chunk !== null && this.#used > 0) this.flush();
    if (this.#closed || this.#transport.send(chunk, lengthBytes)) this.#pool.give(chunk);
    else this.#unsentBytes += lengthBytes;
  }

  /** The transport is done with a chunk. */
  sent(chunk: Chunk, lengthBytes: number): void {
    this.#unsentBytes -= lengthBytes;
    this.#pool.give(chunk);
  }

  /** Nothing is sent any more. */
  close(): void {
    this.#closed = true;
    this.flush();
  }

  #current(): Chunk {
    invariant(this.#chunk !== null, 'output is written within reserve and flush');
    return this.#chunk;
  }
}
