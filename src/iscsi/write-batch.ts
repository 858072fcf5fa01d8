import { SCATTER_PIECES_MAX } from '#os/mod.ts';
import type { ScatterBuffer } from '#os/mod.ts';
import { operationEnded } from './lane.ts';
import type { Task } from './task.ts';

/** Told of every piece of a batch, in order. `stored` false: it is to be written another way. */
export type PieceEnd = (
  task: Task,
  at: number,
  lengthBytes: number,
  offsetBytes: number,
  stored: boolean,
) => void;

/**
 * Writes of one receive call that go straight from the receive buffer into the page cache, with one
 * system call for all of them. Each piece counts as an operation of its task until `settle`.
 *
 * Pieces are stored in the order in which they were added, so later ones win. Whatever could see
 * the difference (a read, a flush, an abort) is begun only after `settle`, and a receive call
 * settles before it ends: no other connection of the thread ever meets a piece that waits. (A
 * command that `settle` itself lets start, having waited for an ORDERED one, may come before a
 * piece that could not be stored is written another way: no order was asked for between those.)
 */
export class WriteBatch {
  /** What sockets receive into. */
  readonly bytes: Buffer;
  readonly #scatter: ScatterBuffer;
  readonly #tasks: (Task | null)[] = [];
  readonly #ats = new Uint32Array(SCATTER_PIECES_MAX);
  readonly #lengths = new Uint32Array(SCATTER_PIECES_MAX);
  readonly #offsets = new Float64Array(SCATTER_PIECES_MAX);
  #count = 0;
  #settling = false;

  constructor(scatter: ScatterBuffer) {
    this.#scatter = scatter;
    this.bytes = scatter.bytes;
  }

  /** Pieces that wait for `settle`. */
  get count(): number {
    return this.#count;
  }

  /** Whether data in `bytes` can go this way at all. */
  takes(bytes: Uint8Array): boolean {
    return bytes === this.bytes && !this.#settling;
  }

  /**
   * Adds `bytes[at, at + length)`, which belongs to `offsetBytes` of the task's device, the address
   * of which the device lent. False: settle first.
   */
  add(task: Task, at: number, length: number, offsetBytes: number, address: number): boolean {
    if (!this.#scatter.add(at, length, address)) return false;
    const n = this.#count;
    this.#tasks[n] = task;
    this.#ats[n] = at;
    this.#lengths[n] = length;
    this.#offsets[n] = offsetBytes;
    this.#count = n + 1;
    task.operations += 1;
    return true;
  }

  /** Stores what was added, and tells of every piece. */
  settle(each: PieceEnd): void {
    if (this.#count === 0 || this.#settling) return;
    const count = this.#count;
    this.#settling = true;
    const storedTo = this.#scatter.store();
    let n = 0;
    try {
      while (n < count) {
        const task = this.#tasks[n]!;
        const at = this.#ats[n]!;
        const length = this.#lengths[n]!;
        this.#tasks[n] = null;
        n += 1;
        each(task, at, length, this.#offsets[n - 1]!, at + length <= storedTo);
      }
    } finally {
      this.#count = 0;
      this.#settling = false;
      // Only after a bug: what is left ends with its session, which is dropped.
      if (n < count) this.#forget(n, count);
    }
  }

  #forget(from: number, end: number): void {
    for (let n = from; n < end; n++) {
      operationEnded(this.#tasks[n]!);
      this.#tasks[n] = null;
    }
  }

  /** The thread is over: nothing is received any more. */
  close(): void {
    this.#scatter.close();
  }
}
