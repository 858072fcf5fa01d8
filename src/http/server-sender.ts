import type { Socket } from 'node:net';
import { messageOf } from '#base/mod.ts';
import type { Clock } from '#base/mod.ts';
import { LIMITS } from './limits.ts';
import { SOCKET_FULL, idleDescriptor } from './server-sendfile.ts';
import type { DirectSend } from './server-sendfile.ts';

/** The body of one answer, from its first byte to send. */
export type SendBody =
  | { readonly kind: 'memory'; readonly bytes: Uint8Array }
  | {
      readonly kind: 'reader';
      readonly startBytes: number;
      readonly lengthBytes: number;
      /** Set for a file: what the kernel can send by itself when it is in memory. */
      readonly direct?: {
        readonly fd: number;
        resident(position: number, length: number): boolean;
      };
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

/** Below this a read and one write are as fast as two calls. */
const DIRECT_BYTES = 16 * 1024;
/** One sendfile: a quarter of a millisecond. */
const DIRECT_CHUNK_BYTES = 1024 * 1024;
/** Bytes sent directly in one turn of the event loop: about a millisecond. */
const TURN_BYTES = 2 * 1024 * 1024;
/** What is written the ordinary way while the socket is full: libuv then waits for room. */
const WAIT_BYTES = 64 * 1024;

/** What senders share. */
export type SendTools = {
  readonly clock: Clock;
  readonly pool: BufferPool;
  readonly direct: DirectSend | undefined;
};

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
  readonly #tools: SendTools;
  readonly #body: SendBody | undefined;
  readonly #ended: (why?: string) => void;
  readonly #lengthBytes: number;
  /** Body bytes the kernel has taken. */
  sentBytes = 0;
  /** When it last took some. */
  progressMs: number;
  #taken = 0;
  /** A read is under way: its file must not be closed before it comes back. */
  #reading = false;
  #full = false;
  #over = false;
  #why: string | undefined;

  constructor(
    socket: Socket,
    tools: SendTools,
    body: SendBody | undefined,
    ended: (why?: string) => void,
  ) {
    this.#socket = socket;
    this.#tools = tools;
    this.#body = body;
    this.#ended = ended;
    this.progressMs = tools.clock.monotonicMs();
    if (body === undefined) this.#lengthBytes = 0;
    else this.#lengthBytes = body.kind === 'memory' ? body.bytes.length : body.lengthBytes;
  }

  /** Starts with `head`, which must be shorter than the head room. */
  start(head: Buffer): void {
    const body = this.#body;
    if (this.#startDirect(head)) return;
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
    else if (this.#body !== undefined && !this.#sendDirect(this.#body)) {
      this.#readChunk(this.#body, undefined);
    }
  }

  /** Head by send(2) with MSG_MORE, then the file; false when it must go the ordinary way. */
  #startDirect(head: Buffer): boolean {
    const { direct } = this.#tools;
    const body = this.#body;
    if (direct === undefined || body?.kind !== 'reader' || body.direct === undefined) return false;
    if (this.#lengthBytes <= DIRECT_BYTES) return false;
    const to = idleDescriptor(this.#socket);
    if (to === undefined) return false;
    const sent = Math.max(0, direct.sendMore(to, head));
    // What the socket did not take (it is full, or broken: then the write says so) goes after it.
    if (sent < head.length) this.#write(head.subarray(sent), 0);
    else this.#step();
    return true;
  }

  /** Sends what the kernel can send by itself; false when the next chunk needs the ordinary way. */
  #sendDirect(body: Extract<SendBody, { kind: 'reader' }>): boolean {
    const { direct, clock } = this.#tools;
    const file = body.direct;
    if (direct === undefined || file === undefined) return false;
    const to = idleDescriptor(this.#socket);
    if (to === undefined) return false;
    const turnEnd = this.#taken + TURN_BYTES;
    while (this.#taken < this.#lengthBytes) {
      if (this.#taken >= turnEnd) {
        setImmediate(() => {
          this.#step();
        });
        return true;
      }
      const position = body.startBytes + this.#taken;
      const length = Math.min(DIRECT_CHUNK_BYTES, this.#lengthBytes - this.#taken);
      if (!file.resident(position, length)) return false;
      const sent = direct.sendFile(to, file.fd, position, length);
      // Full, an error or a shorter file: the ordinary way waits, or finds out which.
      this.#full = sent === SOCKET_FULL;
      if (sent <= 0) return false;
      this.#taken += sent;
      this.sentBytes += sent;
      this.progressMs = clock.monotonicMs();
    }
    // Not at once: the caller of start() is still on the stack.
    process.nextTick(() => {
      this.#end();
    });
    return true;
  }

  #writeMemory(bytes: Uint8Array): void {
    const end = Math.min(bytes.length, this.#taken + LIMITS.chunkBytes);
    const whole = this.#taken === 0 && end === bytes.length;
    this.#write(whole ? bytes : bytes.subarray(this.#taken, end), end - this.#taken);
  }

  #readChunk(body: Extract<SendBody, { kind: 'reader' }>, head: Buffer | undefined): void {
    const buffer = this.#tools.pool.take();
    const at = head === undefined ? 0 : head.length;
    if (head !== undefined) buffer.set(head, 0);
    const most = this.#full ? WAIT_BYTES : LIMITS.chunkBytes;
    const room = Math.min(buffer.length - HEAD_ROOM, most, this.#lengthBytes - this.#taken);
    const arrived = (error: Error | null, bytes: number): void => {
      this.#reading = false;
      if (this.#over) {
        this.#tools.pool.give(buffer);
        return this.#ended(this.#why);
      }
      if (error !== null || bytes <= 0) {
        this.#tools.pool.give(buffer);
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
      if (pooled !== undefined) this.#tools.pool.give(pooled);
      if (this.#over) return;
      if (error !== null && error !== undefined) return this.#end(messageOf(error));
      this.sentBytes += bodyBytes;
      this.progressMs = this.#tools.clock.monotonicMs();
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
