import { availableParallelism } from 'node:os';
import type { Log } from '#base/mod.ts';
import type { Lane, LaneEvent } from './lane.ts';
import { ThreadLane } from './thread-lane.ts';

/** Transfers that one thread gets before the next thread is started. */
const SHARE = 16;
/** Half of the processors: the disks' threads and the network's interrupts want the others. */
const MOST_LANES = 4;

type Slot = { readonly lane: Lane; running: number };

/** How many lanes to use where nobody said: one or more. */
export function defaultThreads(): number {
  return Math.max(1, Math.min(MOST_LANES, Math.floor(availableParallelism() / 2)));
}

/**
 * The threads of a server: the first at once, further ones when many clients come together.
 */
export class LanePool {
  readonly #threads: number;
  readonly #tell: (event: LaneEvent) => void;
  readonly #log: Log;
  readonly #slots: Slot[] = [];

  constructor(threads: number, tell: (event: LaneEvent) => void, log: Log) {
    this.#threads = threads;
    this.#tell = tell;
    this.#log = log;
    this.#slots.push({ lane: new ThreadLane(tell, log), running: 0 });
  }

  /** The lane for one more transfer, and what says that it has left it (call it once). */
  take(): { readonly lane: Lane; readonly leave: () => void } {
    let slot = this.#slots.reduce((a, b) => (b.running < a.running ? b : a));
    if (slot.running >= SHARE && this.#slots.length < this.#threads) {
      slot = { lane: new ThreadLane(this.#tell, this.#log), running: 0 };
      this.#slots.push(slot);
    }
    slot.running += 1;
    const taken = slot;
    return {
      lane: taken.lane,
      leave: () => {
        taken.running -= 1;
      },
    };
  }

  /** Ends all transfers and threads. */
  async close(): Promise<void> {
    await Promise.all(this.#slots.map((s) => s.lane.close()));
  }
}
