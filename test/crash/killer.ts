import { randomInt } from 'node:crypto';
import { parentPort, Worker } from 'node:worker_threads';
import { errnoOf, invariant } from '#base/mod.ts';

/** A process to kill, after a time. */
type Order = { readonly pid: number; readonly afterMs: number };

/**
 * Kills processes from a thread of its own: the moment has nothing to do with what the test's own
 * event loop does, so a target dies in the middle of anything. Times are exact to the kernel's
 * timer slack (some 50 µs), which is one more source of chance.
 */
export class Killer {
  readonly #worker = new Worker(new URL(import.meta.url));

  /** SIGKILL after a time, counted from now. */
  kill(pid: number, afterMs: number): void {
    const order: Order = { pid, afterMs };
    this.#worker.postMessage(order);
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }
}

if (parentPort !== null) {
  const wait = new Int32Array(new SharedArrayBuffer(4));
  parentPort.on('message', ({ pid, afterMs }: Order) => {
    invariant(pid > 1, 'a process of ours');
    // Some more that no seed decides: never twice at the same instruction.
    Atomics.wait(wait, 0, 0, afterMs + randomInt(1000) / 1000);
    try {
      process.kill(pid, 'SIGKILL');
    } catch (e) {
      // Gone by itself: the test sees that it did not die of this.
      if (errnoOf(e) !== 'ESRCH') throw e;
    }
  });
}
