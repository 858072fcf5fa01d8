import { GATHER_PIECES_MAX, GatherSend, addressOfBytes, readMapped } from '#os/mod.ts';

/** Most pieces of one message. */
export const MESSAGE_PIECES_MAX: number = GATHER_PIECES_MAX;

/**
 * A message for a socket, made of headers in ordinary memory and of blocks that a device lent
 * (`LendingDevice`): one system call, in which the kernel copies the blocks from the page cache.
 */
export class LentMessage {
  readonly #send = new GatherSend();
  // Buffers outside the V8 heap do not move; asking each time costs more than this look-up.
  readonly #addresses = new WeakMap<Uint8Array, number>();

  private constructor() {}

  /** Null where the platform cannot. */
  static create(): LentMessage | null {
    try {
      const message = new LentMessage();
      const from = new Uint8Array([1, 2, 3, 4]);
      const to = new Uint8Array(4);
      // A sandbox may forbid it; then a socket that is full could not be helped.
      return readMapped(addressOfBytes(from), to, 0, 4) && to[3] === 4 ? message : null;
    } catch {
      return null;
    }
  }

  /** Appends `bytes[at, at + length)`. */
  addBytes(bytes: Uint8Array, at: number, lengthBytes: number): void {
    let address = this.#addresses.get(bytes);
    if (address === undefined) {
      address = addressOfBytes(bytes);
      this.#addresses.set(bytes, address);
    }
    this.#send.add(address + at, lengthBytes);
  }

  /** Appends what a device lent. */
  addLent(address: number, lengthBytes: number): void {
    this.#send.add(address, lengthBytes);
  }

  /** Sends and forgets; returns the bytes that the socket took, or a negative errno. */
  send(fd: number): number {
    return this.#send.send(fd);
  }

  /** Copies what a device lent; false when it is no longer there. */
  copyLent(address: number, into: Uint8Array, at: number, lengthBytes: number): boolean {
    return readMapped(address, into, at, lengthBytes);
  }
}
