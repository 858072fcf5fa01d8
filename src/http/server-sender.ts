import type { Socket } from 'node:net';
import { messageOf } from '#base/mod.ts';
import { LIMITS } from './limits.ts';

/** The body of one answer, from its first byte to send. */
export type SendBody =
  | { readonly kind: 'memory'; readonly bytes: Uint8Array }
  | {
      readonly kind: 'reader';
      readonly startBytes: number;
      readonly lengthBytes: number;
      /** Bytes read at once, or undefined when `done` will be called. 0 = the end. */
      read(
        into: Buffer,
        at: number,
        length: number,
        position: number,
        done: (error: Error | null, bytes: number) => void,
      ): number | undefined;
    };

/** Room for the head in front of the first chunk, so that both leave in one write. */
const HEAD_ROOM = 1024;
/** A reader that finds no pooled buffer gets a small one: 2048 sockets × 32 KiB = 64 MiB. */
const SPARE_BYTES = 32 * 1024;

/** Read buffers that are used again: fresh ones cost a page fault per 4 KiB, half the speed. */
export class BufferPool {
  readonly #free: Buffer[] = [];
  #made = 0;

  /** A buffer of the pool, or a small throw-away one when all are on their way. */
  take(): Buffer {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    if (this.#made >= LIMITS.pooledBuffers) return Buffer.allocUnsafeSlow(HEAD_ROOM + SPARE_BYTES);
    this.#made += 1;
    return Buffer.allocUnsafeSlow(HEAD_ROOM + LIMITS.chunkBytes);
  }

  give(buffer: Buffer): void {
    if (buffer.length === HEAD_ROOM + LIMITS.chunkBytes) this.#free.push(buffer);
  }
}

/**
 * Sends a head and a body: one chunk is with the socket at a time, the next is read when the kernel
 * has taken the last. `ended` is called exactly once, with the reason when it failed.
 */
export class Sender {
  readonly #socket: Socket;
  readonly #pool: BufferPool;
  readonly #body: SendBody | undefined;
  readonly #ended: (why?: string) => void;
  readonly #now: () => number;
  readonly #lengthBytes: number;
  /** Body bytes the kernel has taken. */
  sentBytes = 0;
  /** When it last took some. */
  progressMs: number;
  #taken = 0;
  /** A read is under way: its file must not be closed before it comes back. */
  #reading = false;
  #over = false;
  #why: string | undefined;

  constructor(
    socket: Socket,
    pool: BufferPool,
    body: SendBody | undefined,
    now: () => number,
    ended: (why?: string) => void,
  ) {
    this.#socket = socket;
    this.#pool = pool;
    this.#body = body;
    this.#now = now;
    this.#ended = ended;
    this.progressMs = now();
    if (body === undefined) this.#lengthBytes = 0;
    else this.#lengthBytes = body.kind === 'memory' ? body.bytes.length : body.lengthBytes;
  }

  /** Starts with `head`, which must be shorter than the head room. */
  start(head: Buffer): void {
    const body = this.#body;
    if (body?.kind === 'reader' && this.#lengthBytes > 0 && head.length <= HEAD_ROOM) {
      this.#readChunk(body, head);
      return;
    }
    if (body?.kind !== 'memory' || body.bytes.length === 0) {
      this.#write(head, 0);
      return;
    }
    // Corked: head and first chunk leave in one writev.
    this.#socket.cork();
    this.#socket.write(head);
    this.#writeMemory(body.bytes);
    this.#socket.uncork();
  }

  /** The socket is gone, or the reader took nothing for too long. Closes the socket. */
  abort(why: string): void {
    this.#socket.destroy();
    this.#end(why);
  }

  #step(): void {
    if (this.#over) return;
    if (this.#taken >= this.#lengthBytes) this.#end();
    else if (this.#body?.kind === 'memory') this.#writeMemory(this.#body.bytes);
    else if (this.#body !== undefined) this.#readChunk(this.#body, undefined);
  }

  #writeMemory(bytes: Uint8Array): void {
    const end = Math.min(bytes.length, this.#taken + LIMITS.chunkBytes);
    const whole = this.#taken === 0 && end === bytes.length;
    this.#write(whole ? bytes : bytes.subarray(this.#taken, end), end - this.#taken);
  }

  #readChunk(body: Extract<SendBody, { kind: 'reader' }>, head: Buffer | undefined): void {
    const buffer = this.#pool.take();
    const at = head === undefined ? 0 : head.length;
    if (head !== undefined) buffer.set(head, 0);
    const room = Math.min(buffer.length - HEAD_ROOM, this.#lengthBytes - this.#taken);
    const arrived = (error: Error | null, bytes: number): void => {
      this.#reading = false;
      if (this.#over) {
        this.#pool.give(buffer);
        return this.#ended(this.#why);
      }
      if (error !== null || bytes <= 0) {
        this.#pool.give(buffer);
        // The length was promised in the head: all that is left is to cut the connection.
        const why = error === null ? 'the file became shorter' : messageOf(error);
        return this.#end(why);
      }
      this.#write(buffer.subarray(0, at + bytes), bytes, buffer);
    };
    this.#reading = true;
    const got = body.read(buffer, at, room, body.startBytes + this.#taken, arrived);
    if (got !== undefined) arrived(null, got);
  }

  #write(bytes: Uint8Array, bodyBytes: number, pooled?: Buffer): void {
    this.#taken += bodyBytes;
    this.#socket.write(bytes, (error) => {
      if (pooled !== undefined) this.#pool.give(pooled);
      if (this.#over) return;
      if (error !== null && error !== undefined) return this.#end(messageOf(error));
      this.sentBytes += bodyBytes;
      this.progressMs = this.#now();
      this.#step();
    });
  }

  #end(why?: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#why = why;
    if (!this.#reading) this.#ended(why);
  }
}
