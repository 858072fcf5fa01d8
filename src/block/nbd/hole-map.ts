import type { BlockExtent } from '../device.ts';
import { AllocationState } from './protocol.ts';

/** Memory for one disk: at 64 KiB for each bit this is exact enough up to 512 GiB. */
const MAP_BYTES_MAX = 1024 * 1024;
const GRANULE_BYTES_MIN = 64 * 1024;
/** Writes remembered while the server is asked; with more the answer is not used. */
const WRITES_REMEMBERED_MAX = 4096;

/** What is known about a question that is under way. */
export type HoleQuestion = { readonly firstWrite: number };

/**
 * Where an export is certainly a hole that reads as zeros, one bit for each granule. `extentAt`
 * must answer at once and the protocol cannot, so the answer comes from here: what is not known to
 * be a hole is data, which is always a truthful answer.
 *
 * A bit may only be set for what no write has touched since the server answered: while a question
 * (BLOCK_STATUS, WRITE_ZEROES) is under way, writes are remembered and clear their bits again after
 * its answer.
 */
export class HoleMap {
  readonly sizeBytes: number;
  readonly #granuleBytes: number;
  readonly #bits: Uint8Array;
  #questions = 0;
  #writes: number[] = [];
  #tooMany = false;

  constructor(sizeBytes: number) {
    this.sizeBytes = sizeBytes;
    let granuleBytes = GRANULE_BYTES_MIN;
    while (sizeBytes / granuleBytes > MAP_BYTES_MAX * 8) granuleBytes *= 2;
    this.#granuleBytes = granuleBytes;
    this.#bits = new Uint8Array(Math.ceil(sizeBytes / granuleBytes / 8));
  }

  /** Call when a write begins, and when it has ended. */
  written(offsetBytes: number, lengthBytes: number): void {
    this.#clear(offsetBytes, lengthBytes);
    if (this.#questions === 0) return;
    if (this.#writes.length >= 2 * WRITES_REMEMBERED_MAX) this.#tooMany = true;
    else this.#writes.push(offsetBytes, lengthBytes);
  }

  /** Begins a question; end it with `answered`. */
  ask(): HoleQuestion {
    this.#questions += 1;
    return { firstWrite: this.#writes.length };
  }

  /**
   * Ends a question. `extents`: lengths and states in turn, from `offsetBytes` on; null = nothing
   * was learnt. Returns how many bytes they tell about.
   */
  answered(question: HoleQuestion, offsetBytes: number, extents: readonly number[] | null): number {
    let at = offsetBytes;
    const wanted = AllocationState.HOLE | AllocationState.ZERO;
    const told = extents ?? [];
    for (let i = 0; i < told.length; i += 2) {
      const end = Math.min(at + (told[i] ?? 0), this.sizeBytes);
      const hole = ((told[i + 1] ?? 0) & wanted) === wanted;
      if (hole && !this.#tooMany) this.#set(at, end);
      at = end;
    }
    for (let i = question.firstWrite; i < this.#writes.length; i += 2) {
      this.#clear(this.#writes[i] ?? 0, this.#writes[i + 1] ?? 0);
    }
    this.#questions -= 1;
    if (this.#questions === 0) {
      this.#writes = [];
      this.#tooMany = false;
    }
    return at - offsetBytes;
  }

  /** As `BlockDevice.extentAt`. */
  extentAt(offsetBytes: number, lengthBytes: number): BlockExtent {
    const end = offsetBytes + lengthBytes;
    const first = Math.floor(offsetBytes / this.#granuleBytes);
    const last = Math.ceil(end / this.#granuleBytes);
    const hole = this.#isHole(first);
    const same = hole ? 0xff : 0;
    let at = first + 1;
    while (at < last) {
      if (at % 8 === 0 && at + 8 <= last && this.#bits[at / 8] === same) at += 8;
      else if (this.#isHole(at) === hole) at += 1;
      else break;
    }
    const length = Math.min(at * this.#granuleBytes, end) - offsetBytes;
    return { lengthBytes: length, state: hole ? 'hole' : 'data' };
  }

  #isHole(granule: number): boolean {
    return ((this.#bits[granule >>> 3] ?? 0) & (1 << (granule & 7))) !== 0;
  }

  /** Marks what lies wholly within the range; the disk's end closes its last granule. */
  #set(startBytes: number, endBytes: number): void {
    const first = Math.ceil(startBytes / this.#granuleBytes);
    const whole = endBytes === this.sizeBytes ? Math.ceil : Math.floor;
    const last = whole(endBytes / this.#granuleBytes);
    for (let g = first; g < last; g++) {
      this.#bits[g >>> 3] = (this.#bits[g >>> 3] ?? 0) | (1 << (g & 7));
    }
  }

  /** Unmarks what the range touches. */
  #clear(offsetBytes: number, lengthBytes: number): void {
    const first = Math.floor(offsetBytes / this.#granuleBytes);
    const last = Math.ceil((offsetBytes + lengthBytes) / this.#granuleBytes);
    for (let g = first; g < last; g++) {
      this.#bits[g >>> 3] = (this.#bits[g >>> 3] ?? 0) & ~(1 << (g & 7));
    }
  }
}
