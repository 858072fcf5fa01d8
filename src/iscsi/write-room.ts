import type { ChunkPool } from './data-plane.ts';
import { COLD_WRITES_BYTES_MAX, COLD_WRITE_ASK_BYTES, COLD_WRITE_BYTES_MAX } from './limits.ts';
import type { Task } from './task.ts';
import { TaskQueue } from './task-queue.ts';

/**
 * Write data of one connection that its disk has not taken: what is held in chunks, and what R2Ts
 * have asked for. A disk that is slow or stalls is met in two steps. First no more data is asked
 * for: the initiator has the rest, and goes on to be heard, since its pings must be answered within
 * seconds (open-iscsi: 5 s and 5 s). Only when what comes unasked (FirstBurstLength of each command
 * in the window, and R2Ts from before) is more than memory is set aside for, reading pauses.
 */
export class WriteRoom {
  readonly #chunks: ChunkPool;
  readonly #waiting = new TaskQueue();
  #heldBytes = 0;
  #askedBytes = 0;

  constructor(chunks: ChunkPool) {
    this.#chunks = chunks;
  }

  /** Receive no more now. */
  get full(): boolean {
    if (this.#heldBytes <= COLD_WRITE_ASK_BYTES) return false;
    const { coldWriteBytes } = this.#chunks;
    return this.#heldBytes > COLD_WRITE_BYTES_MAX || coldWriteBytes > COLD_WRITES_BYTES_MAX;
  }

  /** Whether anybody waits for `next`. */
  get waited(): boolean {
    return this.#waiting.length > 0;
  }

  /** `bytes` more are held until the device answers, or fewer. */
  hold(bytes: number): void {
    this.#heldBytes += bytes;
    this.#chunks.coldWriteBytes += bytes;
  }

  /** Whether a task may ask for data. If not, it comes from `next` in its turn. */
  mayAsk(task: Task): boolean {
    // Of a disk that keeps up, any amount: it is never here.
    if (this.#waiting.length === 0 && (this.#heldBytes === 0 || this.#mayMore())) return true;
    if (!task.thirsty) {
      task.thirsty = true;
      this.#waiting.push(task);
    }
    return false;
  }

  /** The next task that waited and may ask now, for one R2T at least. */
  next(): Task | undefined {
    if (this.#waiting.length === 0 || !this.#mayMore()) return undefined;
    const task = this.#waiting.shift();
    if (task !== undefined) task.thirsty = false;
    return task;
  }

  /** An R2T is sent. */
  asked(task: Task, bytes: number): void {
    task.askedBytes += bytes;
    this.#askedBytes += bytes;
  }

  /** Data has come. */
  arrived(task: Task, bytes: number): void {
    const asked = Math.min(bytes, task.askedBytes);
    task.askedBytes -= asked;
    this.#askedBytes -= asked;
  }

  /** The task is over: what it asked for is not waited for, nor does it wait. */
  forget(task: Task): void {
    this.#askedBytes -= task.askedBytes;
    task.askedBytes = 0;
    if (task.thirsty) this.#waiting.remove(task);
    task.thirsty = false;
  }

  #mayMore(): boolean {
    return this.#heldBytes + this.#askedBytes < COLD_WRITE_ASK_BYTES;
  }
}
