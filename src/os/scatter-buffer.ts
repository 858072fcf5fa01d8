import { addressOf, bindCall, check, koffi } from './libc.ts';

const MFD_CLOEXEC = 1;
const PROT_READ_WRITE = 3;
const MAP_SHARED = 1;
const MADV_REMOVE = 9;
const TWO_32 = 2 ** 32;
/** IOV_MAX of Linux; a piece takes two: what is skipped before it, and itself. */
const IOVECS_MAX = 1024;
/** Longest stretch that is skipped between two pieces. */
export const SCATTER_GAP_BYTES_MAX = 4096;

const memfdCreate = bindCall('int memfd_create(void *name, unsigned int flags)');
/** Node's own closes only what Node has opened: in a worker it warns of others. */
const close = bindCall('int close(int fd)');
const ftruncate = bindCall('int ftruncate(int fd, int64_t length)');
const mmap = bindCall(
  'uintptr_t mmap(uintptr_t at, size_t length, int protection, int flags, int fd, int64_t offset)',
);
const madvise = bindCall('int madvise(uintptr_t at, size_t length, int advice)');
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
  readonly #address: number;
  readonly #iovecs = new Uint32Array(4 * IOVECS_MAX);
  readonly #iovecsAddress: number;
  readonly #skipped = new Uint8Array(SCATTER_GAP_BYTES_MAX);
  readonly #skippedAddress: number;
  #count = 0;
  #from = 0;
  #end = 0;
  #closed = false;

  private constructor(fd: number, address: number, lengthBytes: number) {
    this.#fd = fd;
    this.#address = address;
    this.bytes = Buffer.from(koffi().view(address, lengthBytes));
    this.#iovecsAddress = addressOf(this.#iovecs);
    this.#skippedAddress = addressOf(this.#skipped);
  }

  /** Null where the platform cannot. The address space is kept until the process ends. */
  static open(lengthBytes: number): ScatterBuffer | null {
    try {
      preadv();
      const name = Buffer.from('scatter\0');
      const fd = check(memfdCreate()(name, MFD_CLOEXEC), 'memory that is a file');
      try {
        check(ftruncate()(fd, lengthBytes), 'memory that is a file');
        const address = mmap()(0, lengthBytes, PROT_READ_WRITE, MAP_SHARED, fd, 0);
        check(address >= TWO_32 ** 2 / 2 ? -1 : address, 'memory that is a file');
        return new ScatterBuffer(fd, address, lengthBytes);
      } catch (e) {
        close()(fd);
        throw e;
      }
    } catch {
      return null; // no native calls, or a sandbox without memfd
    }
  }

  /** Pieces added since the last `store`. */
  get count(): number {
    return this.#count / 2;
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
    if (gap < 0 || gap > SCATTER_GAP_BYTES_MAX || this.#count === IOVECS_MAX) return false;
    this.#iovec(this.#skippedAddress, gap);
    this.#iovec(address, lengthBytes);
    this.#end = at + lengthBytes;
    return true;
  }

  /**
   * Copies what was added, and forgets it. Returns up to which place in `bytes` all pieces are
   * where they should be: less than the end of the last when an address was not to be written.
   */
  store(): number {
    const count = this.#count;
    this.#count = 0;
    // The descriptor may be another's by now.
    if (this.#closed) return this.#from;
    return this.#from + Math.max(0, preadv()(this.#fd, this.#iovecsAddress, count, this.#from));
  }

  /** Gives the memory back; `bytes` must not be needed any more (it reads as zeros). */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    madvise()(this.#address, this.bytes.length, MADV_REMOVE);
    close()(this.#fd);
  }

  #iovec(address: number, lengthBytes: number): void {
    const at = 4 * this.#count;
    this.#iovecs[at] = address >>> 0;
    this.#iovecs[at + 1] = address / TWO_32;
    this.#iovecs[at + 2] = lengthBytes;
    this.#count += 1;
  }
}
