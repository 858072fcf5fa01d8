import { HELD_BYTES_MAX } from './limits.ts';
import { copyBytes } from './pdu/mod.ts';
import type { Task } from './task.ts';

/** Early data of commands that wait for older ones (ORDERED), bounded for the whole session. */
export class HeldData {
  readonly #kept = new Map<Task, { readonly pieces: Uint8Array[]; bytes: number }>();
  #bytes = 0;

  /** Keeps a copy of data that came for a held task. */
  add(task: Task, bytes: Uint8Array, at: number, lengthBytes: number): void {
    task.arrivedBytes += lengthBytes;
    if (this.#bytes + lengthBytes > HELD_BYTES_MAX) task.discard = true;
    if (task.discard) return;
    const kept = this.#kept.get(task) ?? { pieces: [], bytes: 0 };
    kept.pieces.push(copyBytes(bytes, at, at + lengthBytes));
    kept.bytes += lengthBytes;
    this.#bytes += lengthBytes;
    this.#kept.set(task, kept);
  }

  /**
   * The data of a task, as if none had come yet; null when it was bad, or more than may be kept.
   */
  take(task: Task): Uint8Array[] | null {
    const kept = this.#kept.get(task);
    this.#kept.delete(task);
    this.#bytes -= kept?.bytes ?? 0;
    if (task.discard) return null;
    task.arrivedBytes = 0;
    return kept?.pieces ?? [];
  }
}
