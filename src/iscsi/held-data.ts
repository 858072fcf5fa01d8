import { HELD_BYTES_MAX } from './limits.ts';
import { copyBytes } from './pdu/mod.ts';
import type { Task } from './task.ts';

/** Early data of commands that wait for older ones (ORDERED), bounded for the whole session. */
export class HeldData {
  readonly #pieces = new Map<Task, Uint8Array[]>();
  #bytes = 0;

  /** Keeps a copy of data that came for a held task. */
  add(task: Task, bytes: Uint8Array, at: number, lengthBytes: number): void {
    task.arrivedBytes += lengthBytes;
    this.#bytes += lengthBytes;
    if (this.#bytes > HELD_BYTES_MAX) task.discard = true;
    if (task.discard) return;
    const pieces = this.#pieces.get(task) ?? [];
    pieces.push(copyBytes(bytes, at, at + lengthBytes));
    this.#pieces.set(task, pieces);
  }

  /** The data of a task, as if none had come yet; null when there was more than may be kept. */
  take(task: Task): Uint8Array[] | null {
    const pieces = this.#pieces.get(task) ?? [];
    this.#pieces.delete(task);
    this.#bytes -= task.arrivedBytes;
    task.arrivedBytes = 0;
    return task.discard ? null : pieces;
  }
}
