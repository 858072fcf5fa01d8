import { InternalError } from '#base/mod.ts';
import { addressOf, bindCall, lastErrno } from './libc.ts';

/**
 * Sends datagrams straight to the kernel: no callback, no request object, no copy. Many datagrams
 * of one size go in one call (UDP_SEGMENT, Linux ≥ 4.18): the kernel cuts the buffer, 0.5 µs each
 * instead of 3 to 5.
 */
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const SOL_UDP = 17;
const UDP_SEGMENT = 103;
/** What one segmented send takes: 64 segments, and as many bytes as one UDP datagram holds. */
export const SEGMENTS_PER_SEND = 64;
export const BYTES_PER_SEND = 65_507;
/**
 * struct msghdr, struct iovec and one struct cmsghdr with a u16, each at its place in one block.
 */
const MSGHDR_BYTES = 56;
const IOVEC_AT = 56;
const CMSG_AT = 72;
const CMSG_BYTES = 24;
const CMSG_LENGTH = 18;

const sendmsg = bindCall('intptr_t sendmsg(int fd, uintptr_t message, int flags)');

/**
 * A destination with its prepared kernel structures. Keep it for the life of a transfer: it owns
 * the memory that the kernel reads.
 */
export class DatagramTarget {
  readonly #fd: number;
  readonly #name: Uint8Array;
  readonly #block: DataView;
  readonly #blockAddress: number;
  #from: Uint8Array | undefined;
  #fromAddress = 0;

  /** `name` is a kernel socket address (see `socketAddress`). */
  constructor(fd: number, name: Uint8Array) {
    this.#fd = fd;
    this.#name = name;
    const bytes = new Uint8Array(MSGHDR_BYTES + 16 + CMSG_BYTES);
    this.#block = new DataView(bytes.buffer);
    this.#blockAddress = addressOf(bytes);
    this.#address(0, addressOf(name));
    this.#block.setUint32(8, name.length, true);
    this.#address(16, this.#blockAddress + IOVEC_AT);
    this.#block.setUint32(24, 1, true); // one iovec
    this.#block.setUint32(CMSG_AT, CMSG_LENGTH, true);
    this.#block.setUint32(CMSG_AT + 8, SOL_UDP, true);
    this.#block.setUint32(CMSG_AT + 12, UDP_SEGMENT, true);
  }

  /**
   * Sends `lengthBytes` of `from` at `at`: one datagram, or with `segmentBytes` as many of that
   * size as they make (the last may be shorter; at most SEGMENTS_PER_SEND and BYTES_PER_SEND).
   * Returns the bytes taken or a negative errno: -EAGAIN when the socket's buffer is full.
   */
  send(from: Uint8Array, at: number, lengthBytes: number, segmentBytes = 0): number {
    if (at < 0 || at + lengthBytes > from.length)
      throw new InternalError('send outside the buffer');
    if (this.#from !== from) {
      this.#from = from;
      this.#fromAddress = addressOf(from);
    }
    const segmented = segmentBytes > 0 && lengthBytes > segmentBytes;
    this.#address(IOVEC_AT, this.#fromAddress + at);
    this.#block.setUint32(IOVEC_AT + 8, lengthBytes, true);
    this.#address(32, segmented ? this.#blockAddress + CMSG_AT : 0);
    this.#block.setUint32(40, segmented ? CMSG_BYTES : 0, true);
    this.#block.setUint16(CMSG_AT + 16, segmentBytes, true);
    const sent = sendmsg()(this.#fd, this.#blockAddress, MSG_DONTWAIT | MSG_NOSIGNAL);
    return sent >= 0 ? sent : -lastErrno();
  }

  /** The peer as a kernel address. */
  get name(): Uint8Array {
    return this.#name;
  }

  #address(at: number, value: number): void {
    this.#block.setUint32(at, value >>> 0, true);
    this.#block.setUint32(at + 4, value / 2 ** 32, true);
  }
}
