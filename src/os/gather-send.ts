import { constants } from 'node:os';
import { Iovecs } from './iovecs.ts';
import { addressOf, bindCall, lastErrno } from './libc.ts';

/** Most pieces of one message: IOV_MAX of Linux. */
export const GATHER_PIECES_MAX = 1024;

const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const TWO_32 = 2 ** 32;
/** Fields of struct msghdr (64 bit), in 32-bit words. */
const WORD_IOV = 4;
const WORD_IOV_COUNT = 6;
const MSGHDR_WORDS = 14;

const sendmsg = bindCall('intptr_t sendmsg(int fd, uintptr_t message, int flags)');

/**
 * Sends pieces of memory, named by address, in one system call: sendmsg(2). The memory may be a
 * mapping (`FileMap`). One object serves any number of sockets, one message at a time.
 */
export class GatherSend {
  readonly #iovecs = new Iovecs(GATHER_PIECES_MAX);
  readonly #header = new Uint32Array(MSGHDR_WORDS);
  readonly #headerAddress: number;
  #count = 0;

  /** Throws EnvironmentError where there are no native calls. */
  constructor() {
    this.#headerAddress = addressOf(this.#header);
    this.#header[WORD_IOV] = this.#iovecs.address >>> 0;
    this.#header[WORD_IOV + 1] = this.#iovecs.address / TWO_32;
    // Bound now, so that no first send finds the call missing.
    sendmsg();
  }

  /** Appends a piece; at most `GATHER_PIECES_MAX`. */
  add(address: number, lengthBytes: number): void {
    this.#iovecs.set(this.#count, address, lengthBytes);
    this.#count += 1;
  }

  /**
   * Sends what was added, and forgets it. Returns the bytes that the socket took (fewer than all
   * when it is full, or memory behind an address has gone), or a negative errno.
   */
  send(fd: number): number {
    this.#header[WORD_IOV_COUNT] = this.#count;
    this.#count = 0;
    const sent = sendmsg()(fd, this.#headerAddress, MSG_DONTWAIT | MSG_NOSIGNAL);
    return sent >= 0 ? sent : -lastErrno();
  }
}

/** What `GatherSend.send` answers when the socket takes nothing now. */
export const SOCKET_FULL: number = -constants.errno.EAGAIN;

/** The address of `bytes`; see `addressOf` of libc.ts. The caller keeps `bytes` alive. */
export function addressOfBytes(bytes: Uint8Array): number {
  return addressOf(bytes);
}
