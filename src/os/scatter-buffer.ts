import { ftruncateSync } from 'node:fs';
import { closeDescriptor } from './descriptor.ts';
import { FileMap } from './file-map.ts';
import { punchHole } from './file-space.ts';
import { Iovecs } from './iovecs.ts';
import { addressOf, bindCall, check, koffi } from './libc.ts';

const MFD_CLOEXEC = 1;
/** Most pieces of one batch: each takes two of IOV_MAX, what is skipped before it and itself. */
export const SCATTER_PIECES_MAX = 512;
/** Longest stretch that is skipped between two pieces. */
export const SCATTER_GAP_BYTES_MAX = 4096;

const memfdCreate = bindCall('int memfd_create(void *name, unsigned int flags)');
const preadv = bindCall('intptr_t preadv(int fd, uintptr_t iov, int count, int64_t offset)');

/**
 * Memory whose pieces are copied to many addresses by one system call. It is the memory of a file
 * without a name (memfd_create(2)), so that preadv(2) of that file copies from it; what lies
 * between two pieces goes to a place that nobody reads. The addresses may be of a `FileMap`: 15
 * blocks of 4 KiB cost 0.9 µs each, where fs.writeSync costs 2.1 (tmpfs; measured), and what is no
 * longer there is told by the result, where a store would be SIGBUS.
 */
export class ScatterBuffer {
  readonly bytes: Buffer;
  readonly #fd: number;
  readonly #iovecs = new Iovecs(2 * SCATTER_PIECES_MAX);
  readonly #skipped = new Uint8Array(SCATTER_GAP_BYTES_MAX);
  readonly #skippedAddress: number;
  #count = 0;
  #from = 0;
  #end = 0;
  #closed = false;

  private constructor(fd: number, address: number, lengthBytes: number) {
    this.#fd = fd;
    this.bytes = Buffer.from(koffi().view(address, lengthBytes));
    this.#skippedAddress = addressOf(this.#skipped);
  }

  /** Null where the platform cannot. The address space is kept until the process ends. */
  static open(lengthBytes: number): ScatterBuffer | null {
    try {
      preadv();
      const name = Buffer.from('scatter\0');
      const fd = check(memfdCreate()(name, MFD_CLOEXEC), 'memory that is a file');
      try {
        ftruncateSync(fd, lengthBytes);
        const map = FileMap.open(fd, lengthBytes, true);
        return new ScatterBuffer(
          fd,
          check(map?.address ?? -1, 'memory that is a file'),
          lengthBytes,
        );
      } catch (e) {
        closeDescriptor(fd);
        throw e;
      }
    } catch {
      return null; // no native calls, or a sandbox without memfd
    }
  }

  /** Pieces added since the last `store`. */
  get count(): number {
    return this.#count;
  }

  /**
   * Adds `bytes[at, at + length)`, to be copied to an address. False: not now, `store` first (it
   * lies before the last piece or too far behind it, or there are too many). The first piece is
   * always taken, until `close`.
   */
  add(at: number, lengthBytes: number, address: number): boolean {
    if (this.#closed || at < 0 || at + lengthBytes > this.bytes.length) return false;
    if (this.#count === 0) this.#from = this.#end = at;
    const gap = at - this.#end;
    if (gap < 0 || gap > SCATTER_GAP_BYTES_MAX || this.#count === SCATTER_PIECES_MAX) return false;
    this.#iovecs.set(2 * this.#count, this.#skippedAddress, gap);
    this.#iovecs.set(2 * this.#count + 1, address, lengthBytes);
    this.#count += 1;
    this.#end = at + lengthBytes;
    return true;
  }

  /**
   * Copies what was added, and forgets it. Returns up to which place in `bytes` all pieces are
   * where they should be: less than the end of the last when an address was not to be written.
   */
  store(): number {
    const iovecs = 2 * this.#count;
    this.#count = 0;
    // The descriptor may be another's by now.
    if (this.#closed) return this.#from;
    const copied = preadv()(this.#fd, this.#iovecs.address, iovecs, this.#from);
    return this.#from + Math.max(0, copied);
  }

  /** Gives the memory back; `bytes` must not be needed any more (it reads as zeros). */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    punchHole(this.#fd, 0, this.bytes.length);
    closeDescriptor(this.#fd);
  }
}
