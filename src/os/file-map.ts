import { Iovecs } from './iovecs.ts';
import { addressOf, bindCall } from './libc.ts';

/**
 * Addresses of a file's pages (mmap(2)), to be given to the kernel: a send whose source is a
 * mapping copies from the page cache into the socket, without a copy in between and without a
 * pread(2) per block. Nothing here ever touches the memory itself: a file that was cut short makes
 * a system call answer EFAULT, where a load would be SIGBUS.
 */
const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_SHARED = 1;
const MADV_RANDOM = 1;
const MADV_DONTNEED = 4;
/** User space ends below; what mmap(2) answers beyond is (void *) -1. */
const ADDRESS_END = 2 ** 47;

const mmap = bindCall(
  'uintptr_t mmap(uintptr_t at, size_t length, int protection, int flags, int fd, int64_t offset)',
);
const munmap = bindCall('int munmap(uintptr_t at, size_t length)');
const mincore = bindCall('int mincore(uintptr_t at, size_t length, uintptr_t pages)');
const madvise = bindCall('int madvise(uintptr_t at, size_t length, int advice)');

const copyOwn = bindCall(
  'intptr_t process_vm_readv(int pid, uintptr_t to, size_t, uintptr_t from, size_t, size_t flags)',
);

/** Pages of the machine; mincore(2) answers a byte for each. */
export const MAP_PAGE_BYTES = 4096;

/** A whole file, or its first `lengthBytes`, as addresses. Costs address space only. */
export class FileMap {
  readonly address: number;
  readonly lengthBytes: number;

  private constructor(address: number, lengthBytes: number) {
    this.address = address;
    this.lengthBytes = lengthBytes;
  }

  /**
   * Null where that cannot be had: no native calls, or a file system without mappings. `writable`:
   * the kernel may write to its addresses too (the file must be open for writing).
   */
  static open(fd: number, lengthBytes: number, writable = false): FileMap | null {
    const protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
    try {
      const address = mmap()(0, lengthBytes, protection, MAP_SHARED, fd, 0);
      if (address <= 0 || address >= ADDRESS_END) return null;
      // No read-ahead by faults: what is not resident is not to be read this way.
      madvise()(address, lengthBytes, MADV_RANDOM);
      return new FileMap(address, lengthBytes);
    } catch {
      return null; // no native calls here
    }
  }

  /**
   * Asks which pages of `[offset, offset + length)` are in memory: one byte each into `into`, of
   * which the lowest bit counts. `offset` is a multiple of `MAP_PAGE_BYTES`. False: cannot be told.
   */
  resident(offsetBytes: number, lengthBytes: number, into: Uint8Array): boolean {
    return mincore()(this.address + offsetBytes, lengthBytes, addressOf(into)) === 0;
  }

  /**
   * Forgets the page table of a range: it counts as our memory no longer, and comes back by use.
   */
  release(offsetBytes: number, lengthBytes: number): void {
    madvise()(this.address + offsetBytes, lengthBytes, MADV_DONTNEED);
  }

  /**
   * Nothing may use an address of it any more. Taking a full page table apart costs 14 ms per 256
   * MiB under virtualisation, so the thread pool does it.
   */
  close(): void {
    munmap().async(this.address, this.lengthBytes, () => {});
  }
}

/**
 * Copies memory behind an address of a `FileMap` into `into[at…]`, by process_vm_readv(2): what has
 * gone meanwhile (a file cut short, a disk error) makes it false, where a load would be SIGBUS.
 */
export function readMapped(
  address: number,
  into: Uint8Array,
  at: number,
  lengthBytes: number,
): boolean {
  if (!(at >= 0 && at + lengthBytes <= into.length)) return false;
  const to = new Iovecs(1);
  const from = new Iovecs(1);
  to.set(0, addressOf(into) + at, lengthBytes);
  from.set(0, address, lengthBytes);
  return copyOwn()(process.pid, to.address, 1, from.address, 1, 0) === lengthBytes;
}
