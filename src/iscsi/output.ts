import type { LentMessage } from '#block/mod.ts';
import { invariant } from '#base/mod.ts';
import type { Chunk, ChunkPool, DataPlane } from './data-plane.ts';
import { LENT_PIECES_MAX, LentPieces } from './lent-pieces.ts';
import { CHUNK_BYTES, LENT_BYTES_MAX, OUTPUT_BYTES_MAX } from './limits.ts';

/** What a connection needs of its socket. */
export interface Transport {
  /**
   * Sends the first `lengthBytes` of the chunk. True: the kernel has them all and the chunk is free
   * again. False: the transport keeps the chunk and calls `Output.sent` for it later.
   */
  send(chunk: Chunk, lengthBytes: number): boolean;
  /**
   * Sends a message of several pieces as far as the kernel takes it at once, nothing being unsent;
   * returns the bytes taken. What is wrong with the socket is told by the next `send`. Absent where
   * there is no socket.
   */
  gather?(message: LentMessage): number;
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
  readonly #plane: DataPlane;
  readonly #pool: ChunkPool;
  /** Made on first use: an initiator that only writes needs none. Empty between two turns. */
  #lent: LentPieces | null = null;
  #chunk: Chunk | null = null;
  #used = 0;
  #unsentBytes = 0;
  #closed = false;
  #torn = false;

  constructor(transport: Transport, plane: DataPlane) {
    this.#transport = transport;
    this.#plane = plane;
    this.#pool = plane.chunks;
  }

  /** Bytes that the kernel has not taken. */
  get unsentBytes(): number {
    return this.#unsentBytes;
  }

  /** The peer does not keep up: write no more data now. */
  get full(): boolean {
    return this.#unsentBytes >= OUTPUT_BYTES_MAX;
  }

  /** Something a device lent went away before it was sent: the stream cannot be continued. */
  get torn(): boolean {
    return this.#torn;
  }

  /** Whether blocks can be lent to this output at all. */
  get lends(): boolean {
    return this.#transport.gather !== undefined && this.#plane.message !== null;
  }

  /** Blocks may be lent now: nothing that is unsent stands before them. */
  get mayLend(): boolean {
    return this.#unsentBytes === 0 && !this.#closed && !this.#torn;
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
    // An answer that was late: its memory goes back at once, no turn will come.
    if (this.#closed) this.flush();
  }

  /**
   * Blocks of a device belong behind what was committed, by their address. They are captured when
   * the output is flushed: before that no write may change them, see `settleLent`.
   */
  lend(offsetBytes: number, address: number, lengthBytes: number): void {
    this.#lent ??= new LentPieces();
    const lent = this.#lent;
    lent.add(this.#used, offsetBytes, address, lengthBytes);
    if (lent.count === LENT_PIECES_MAX || lent.bytes >= LENT_BYTES_MAX) this.flush();
  }

  /** A write to the range is about to begin: what was lent of it before is captured now. */
  settleLent(offsetBytes: number, lengthBytes: number): void {
    if (this.#lent !== null && this.#lent.touch(offsetBytes, lengthBytes)) this.flush();
  }

  /** Anything on any device is about to change. */
  settleAllLent(): void {
    if (this.#lent !== null && this.#lent.count > 0) this.flush();
  }

  /** Sends what was committed. */
  flush(): void {
    const chunk = this.#chunk;
    if (chunk === null) return;
    const used = this.#used;
    this.#chunk = null;
    this.#used = 0;
    if (this.#lent !== null && this.#lent.count > 0) this.#sendLent(this.#lent, chunk, used);
    else if (used === 0) this.#pool.give(chunk);
    else this.sendChunk(chunk, used);
  }

  /** One message of headers and lent blocks; what the socket does not take is copied at once. */
  #sendLent(lent: LentPieces, chunk: Chunk, used: number): void {
    const { message } = this.#plane;
    const total = used + lent.bytes;
    invariant(message !== null && this.#transport.gather !== undefined, 'blocks can be lent');
    if (!this.#closed) {
      lent.fill(message, chunk.bytes, used);
      const sent = this.#transport.gather(message);
      if (sent < total) this.#copyRest(message, lent, chunk, used, sent);
    }
    lent.clear();
    this.#pool.give(chunk);
  }

  /** Puts what is left of a message behind its first `sent` bytes into chunks. */
  #copyRest(
    message: LentMessage,
    lent: LentPieces,
    headers: Chunk,
    used: number,
    sent: number,
  ): void {
    let skip = sent;
    let at = 0;
    let to = this.#pool.take();
    let filled = 0;
    const copy = (length: number, piece: (done: number, take: number) => boolean): boolean => {
      for (let done = Math.min(skip, length); done < length;) {
        if (filled === CHUNK_BYTES) {
          this.#sendFull(to, filled);
          to = this.#pool.take();
          filled = 0;
        }
        const take = Math.min(length - done, CHUNK_BYTES - filled);
        if (!piece(done, take)) return false;
        filled += take;
        done += take;
      }
      skip -= Math.min(skip, length);
      return true;
    };
    const header = (end: number): boolean =>
      copy(end - at, (done, take) => {
        headers.bytes.copy(to.bytes, filled, at + done, at + done + take);
        return true;
      });
    let whole = true;
    for (let n = 0; n < lent.count && whole; n++) {
      whole = header(lent.cut(n));
      at = lent.cut(n);
      whole &&= copy(lent.length(n), (done, take) =>
        message.copyLent(lent.address(n) + done, to.bytes, filled, take),
      );
    }
    if (whole) header(used);
    else this.#torn = true;
    if (whole && filled > 0) this.#sendFull(to, filled);
    else this.#pool.give(to);
  }

  #sendFull(chunk: Chunk, lengthBytes: number): void {
    if (this.#transport.send(chunk, lengthBytes)) this.#pool.give(chunk);
    else this.#unsentBytes += lengthBytes;
  }

  /** Sends a chunk that was filled elsewhere, behind what was committed. */
  sendChunk(chunk: Chunk, lengthBytes: number): void {
    if (this.#chunk !== null && this.#used > 0) this.flush();
    if (this.#closed || this.#torn) this.#pool.give(chunk);
    else this.#sendFull(chunk, lengthBytes);
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
