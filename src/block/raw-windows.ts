import { systemClock } from '#base/mod.ts';
import type { Clock } from '#base/mod.ts';
import { FileMap, MAP_PAGE_BYTES } from '#os/mod.ts';

/** What is lent or not as a whole: 4,096 pages. */
const WINDOW_BYTES = 16 * 1024 * 1024;
/** Windows lent at a time: 512 MiB of page table, which counts as resident memory of ours. */
const WINDOWS_MAX = 32;
/**
 * Share of a window that is read or written before it is lent: filling the page table of 16 MiB
 * costs some 2 ms, which a quarter of it used again pays back.
 */
const WORTH = 1 / 4;
/** How long the kernel's word about what is resident is taken for granted. */
const LOOK_AGAIN_MS = 1000;
/** After so many bytes read, what was read before counts half. */
const FORGET_BYTES = 4 * 1024 * 1024 * 1024;

/**
 * Which parts of a file may be lent: sent straight from the page cache, by address. Only what is
 * resident, so that no send waits for a disk: mincore(2) is asked per window, once a second at
 * most. A page that is reclaimed within that second costs one wait for the disk, nothing else.
 *
 * The windows that are read most are lent; one that is read twice as much takes the place of the
 * least.
 */
export class RawWindows {
  readonly #fd: number;
  readonly #sizeBytes: number;
  readonly #writable: boolean;
  readonly #fileBytes: () => number;
  readonly #clock: Clock;
  #map: FileMap | null = null;
  #unable = false;
  readonly #readBytes: Float64Array;
  /** When the kernel was asked; 0: the window is not lent. */
  readonly #askedMs: Float64Array;
  /** One byte per page; shorter work where all are there. */
  readonly #pages = new Map<number, Uint8Array>();
  readonly #whole: Uint8Array;
  #sinceForgetBytes = 0;

  /**
   * `writable`: the addresses are for the kernel to write to as well. `fileBytes`: how long a file
   * is that grows up to `sizeBytes`.
   */
  constructor(
    fd: number,
    sizeBytes: number,
    options: {
      readonly writable?: boolean;
      readonly fileBytes?: () => number;
      readonly clock?: Clock;
    } = {},
  ) {
    this.#fd = fd;
    this.#writable = options.writable ?? false;
    this.#fileBytes = options.fileBytes ?? ((): number => sizeBytes);
    this.#clock = options.clock ?? systemClock;
    this.#sizeBytes = sizeBytes;
    const count = Math.ceil(sizeBytes / WINDOW_BYTES);
    this.#readBytes = new Float64Array(count);
    this.#askedMs = new Float64Array(count);
    this.#whole = new Uint8Array(count);
  }

  /** The address of a range that is resident, or 0. */
  lend(offsetBytes: number, lengthBytes: number): number {
    const window = Math.floor(offsetBytes / WINDOW_BYTES);
    const within = offsetBytes - window * WINDOW_BYTES;
    if (within + lengthBytes > WINDOW_BYTES || offsetBytes + lengthBytes > this.#sizeBytes)
      return 0;
    this.#readBytes[window]! += lengthBytes;
    this.#sinceForgetBytes += lengthBytes;
    const askedMs = this.#askedMs[window]!;
    if (askedMs === 0) {
      if (!this.#worth(window) || !this.#enter(window)) return 0;
    } else if (this.#clock.monotonicMs() - askedMs > LOOK_AGAIN_MS) {
      this.#ask(window);
    }
    if (this.#whole[window] === 0 && !this.#resident(window, within, lengthBytes)) return 0;
    return this.#map!.address + offsetBytes;
  }

  /** Pages of the range are about to go (a hole is punched). */
  forget(offsetBytes: number, lengthBytes: number): void {
    const end = offsetBytes + lengthBytes;
    const last = Math.floor((end - 1) / WINDOW_BYTES);
    for (let window = Math.floor(offsetBytes / WINDOW_BYTES); window <= last; window++) {
      this.#whole[window] = 0;
      const start = window * WINDOW_BYTES;
      const from = Math.max(0, Math.floor((offsetBytes - start) / MAP_PAGE_BYTES));
      this.#pages.get(window)?.fill(0, from, Math.ceil((end - start) / MAP_PAGE_BYTES));
    }
  }

  /** Nothing that was lent may be in use any more. */
  close(): void {
    this.#unable = true;
    this.#askedMs.fill(0);
    this.#map?.close();
    this.#map = null;
  }

  #enter(window: number): boolean {
    if (this.#unable) return false;
    this.#map ??= FileMap.open(this.#fd, this.#sizeBytes, this.#writable);
    if (this.#map === null) {
      this.#unable = true;
      return false;
    }
    if (this.#sinceForgetBytes > FORGET_BYTES) {
      this.#sinceForgetBytes = 0;
      for (let n = 0; n < this.#readBytes.length; n++) this.#readBytes[n]! /= 2;
    }
    if (this.#pages.size >= WINDOWS_MAX && !this.#replaceLeast(this.#readBytes[window]! / 2)) {
      return false;
    }
    const bytes = Math.min(WINDOW_BYTES, this.#sizeBytes - window * WINDOW_BYTES);
    this.#pages.set(window, new Uint8Array(Math.ceil(bytes / MAP_PAGE_BYTES)));
    this.#ask(window);
    return true;
  }

  #worth(window: number): boolean {
    const length = this.#lengthOf(window);
    return length > 0 && this.#readBytes[window]! >= length * WORTH;
  }

  /** Takes back the window that is read least, if that is less than `thanBytes`. */
  #replaceLeast(thanBytes: number): boolean {
    let least = -1;
    let leastBytes = thanBytes;
    for (const window of this.#pages.keys()) {
      const bytes = this.#readBytes[window]!;
      if (bytes < leastBytes) [least, leastBytes] = [window, bytes];
    }
    if (least < 0) return false;
    this.#pages.delete(least);
    this.#askedMs[least] = 0;
    this.#whole[least] = 0;
    this.#map?.release(least * WINDOW_BYTES, this.#lengthOf(least));
    return true;
  }

  #ask(window: number): void {
    const pages = this.#pages.get(window);
    if (pages === undefined || this.#map === null) return;
    const length = this.#lengthOf(window);
    this.#askedMs[window] = this.#clock.monotonicMs();
    if (!this.#map.resident(window * WINDOW_BYTES, length, pages)) pages.fill(0);
    const count = Math.ceil(length / MAP_PAGE_BYTES);
    // What a file grows by is not known to be resident.
    const whole = count === pages.length && allResident(pages, 0, count);
    this.#whole[window] = whole ? 1 : 0;
  }

  #resident(window: number, within: number, lengthBytes: number): boolean {
    const pages = this.#pages.get(window);
    const last = Math.floor((within + lengthBytes - 1) / MAP_PAGE_BYTES);
    return pages !== undefined && allResident(pages, Math.floor(within / MAP_PAGE_BYTES), last + 1);
  }

  #lengthOf(window: number): number {
    const left = Math.min(this.#fileBytes(), this.#sizeBytes) - window * WINDOW_BYTES;
    return Math.max(0, Math.min(WINDOW_BYTES, left));
  }
}

function allResident(pages: Uint8Array, from: number, to: number): boolean {
  for (let n = from; n < to; n++) if ((pages[n]! & 1) === 0) return false;
  return true;
}
