import { Socket } from 'node:net';
import type { SocketConstructorOpts } from 'node:net';
import { InternalError } from '#base/mod.ts';
import type { LentMessage } from '#block/mod.ts';
import type { Clock } from '#base/mod.ts';
import type { Chunk } from './data-plane.ts';
import { closeDescriptor, duplicateDescriptor } from '#os/mod.ts';
import { LINGER_MS } from './limits.ts';
import type { Transport } from './output.ts';
import type { PortalAddress } from './policy.ts';

const NOTHING = new Uint8Array(0);
const NO_DESCRIPTOR = -1;
/** Where Node keeps a socket's handle: the one internal name that this project uses. */
const HANDLE = '_handle';
/** First probe of TCP keep-alive, for peers that take no pings (iPXE). */
const KEEP_ALIVE_AFTER_MS = 30_000;

/** What a socket tells its connection. */
export type SocketEvents = {
  received(bytes: Buffer, view: DataView, at: number, end: number): void;
  sent(chunk: Chunk, lengthBytes: number): void;
  lost(reason: string): void;
};

/**
 * A TCP socket as a `Transport`. Reads come by `onread` into one buffer shared by all sockets of
 * the thread (never 'data', which allocates per read and halves large writes, measured); a write
 * that the kernel takes whole at once costs no callback.
 */
export class SocketTransport implements Transport {
  readonly peer: PortalAddress;
  readonly portal: PortalAddress;
  readonly #socket: Socket;
  /** The socket's descriptor; good until it is destroyed. */
  readonly #fd: number;
  readonly #clock: Clock;
  #events: SocketEvents | null = null;
  #over: (() => void) | null = null;
  #lost = false;

  /**
   * `from` is a socket of a server with `pauseOnConnect`, from which nothing was read yet, or a
   * descriptor that another thread detached.
   */
  constructor(from: Socket | number, buffer: Buffer, clock: Clock) {
    this.#clock = clock;
    const view = new DataView(buffer.buffer, buffer.byteOffset, buffer.length);
    const callback = (bytes: number): boolean => {
      this.#events?.received(buffer, view, 0, bytes);
      return true;
    };
    const options: SocketConstructorOpts = { onread: { buffer, callback } };
    const socket = typeof from === 'number' ? opened(from, options) : adopt(from, options);
    this.#socket = socket;
    this.#fd = descriptorOf(socket);
    this.peer = { address: plainAddress(socket.remoteAddress), port: socket.remotePort ?? 0 };
    this.portal = { address: plainAddress(socket.localAddress), port: socket.localPort ?? 0 };
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEP_ALIVE_AFTER_MS);
    socket.on('error', (e) => {
      this.#gone(e.message);
    });
    socket.on('end', () => {
      this.#gone('the initiator closed the connection');
    });
    socket.on('close', () => {
      this.#gone('the connection closed');
      this.#over?.();
    });
  }

  /** Starts delivery. `over` is called when the socket is gone, whatever came before. */
  start(events: SocketEvents, over: () => void): void {
    this.#events = events;
    this.#over = over;
    this.#socket.resume();
  }

  send(chunk: Chunk, lengthBytes: number): boolean {
    const socket = this.#socket;
    if (socket.destroyed) return true;
    const bytes = chunk.bytes.subarray(0, lengthBytes);
    const done = (): void => {
      this.#events?.sent(chunk, lengthBytes);
    };
    if (socket.writableLength > 0) {
      socket.write(bytes, done);
      return false;
    }
    socket.write(bytes);
    if (socket.writableLength === 0) return true;
    // Only now is a callback needed: an empty write behind the one that is under way brings it.
    socket.write(NOTHING, done);
    return false;
  }

  gather(message: LentMessage): number {
    const socket = this.#socket;
    // A destroyed socket's descriptor is closed, and may be another's by now.
    const able = this.#fd >= 0 && !socket.destroyed && socket.writableLength === 0;
    return Math.max(0, message.send(able ? this.#fd : NO_DESCRIPTOR));
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  end(): void {
    this.#lost = true;
    const socket = this.#socket;
    socket.end();
    // Reads on, to see the peer's end of it; one that never comes is not waited for.
    socket.resume();
    const cancel = this.#clock.after(LINGER_MS, () => {
      socket.destroy();
    });
    socket.once('close', cancel);
  }

  abort(): void {
    this.#lost = true;
    this.#socket.destroy();
  }

  /**
   * Lets go of the connection and leaves it open: a descriptor for another thread. Throws
   * EnvironmentError (EMFILE) where there is none; then it is closed, since nobody has it any more.
   */
  detach(): number {
    try {
      return duplicateDescriptor(this.#fd);
    } finally {
      this.abort();
    }
  }

  #gone(reason: string): void {
    if (this.#lost) return;
    this.#lost = true;
    this.#events?.lost(reason);
  }
}

/**
 * Makes a socket with `onread` from an accepted one. Node offers `onread` only where a socket is
 * constructed, and a server constructs its own: the handle moves to a new one.
 */
function adopt(accepted: Socket, options: SocketConstructorOpts): Socket {
  const handle: unknown = Reflect.get(accepted, HANDLE);
  if (typeof handle !== 'object' || handle === null) {
    throw new InternalError('an accepted socket has a handle');
  }
  Reflect.set(accepted, HANDLE, null);
  accepted.destroy();
  return new Socket({ ...options, handle: handle as never });
}

/**
 * A socket of a descriptor that came from another thread; it reads when `start` says so. Where none
 * can be made of it, it is closed: nobody else has it.
 */
function opened(fd: number, options: SocketConstructorOpts): Socket {
  try {
    return new Socket({ ...options, fd, readable: true, writable: true }).pause();
  } catch (e) {
    closeDescriptor(fd);
    throw e;
  }
}

/** The descriptor behind a socket, where there is one. */
function descriptorOf(socket: Socket): number {
  const handle: unknown = Reflect.get(socket, HANDLE);
  const fd: unknown =
    typeof handle === 'object' && handle !== null ? Reflect.get(handle, 'fd') : -1;
  return typeof fd === 'number' ? fd : NO_DESCRIPTOR;
}

/** An address without the `::ffff:` that IPv4 peers of a dual-stack listener have. */
export function plainAddress(address: string | undefined): string {
  return (address ?? '').replace(/^::ffff:(?=\d+\.)/, '');
}
