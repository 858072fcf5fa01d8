import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { messageOf, type Log } from '#base/mod.ts';
import { Doorbell } from '#os/mod.ts';
import { failedJob } from './lane-loop.ts';
import type { Lane, LaneEvent, LaneJob, StopReason } from './lane.ts';

/** What goes to the thread. */
export type ToLane =
  | { readonly kind: 'start'; readonly job: LaneJob }
  | {
      readonly kind: 'stop';
      readonly id: number;
      readonly reason: StopReason;
      readonly message: string;
      readonly tell: boolean;
    }
  | { readonly kind: 'close' };

/**
 * A lane in a thread of its own, which begins with the first transfer (some 50 ms, once; a server
 * that is never asked costs nothing). If the thread dies, its transfers end as failed, and the next
 * one starts a new thread.
 */
export class ThreadLane implements Lane {
  readonly #tell: (event: LaneEvent) => void;
  readonly #log: Log;
  readonly #running = new Set<number>();
  readonly #bell = new Doorbell();
  #worker: Worker | undefined;

  constructor(tell: (event: LaneEvent) => void, log: Log) {
    this.#tell = tell;
    this.#log = log;
  }

  start(job: LaneJob): void {
    this.#running.add(job.id);
    this.#worker ??= this.#spawn();
    this.#post({ kind: 'start', job });
  }

  stop(id: number, reason: StopReason, message: string, tell: boolean): void {
    this.#post({ kind: 'stop', id, reason, message, tell });
  }

  async close(): Promise<void> {
    const worker = this.#worker;
    if (worker !== undefined) {
      const exited = once(worker, 'exit');
      this.#post({ kind: 'close' });
      await exited;
    }
    this.#bell.close();
  }

  #post(message: ToLane): void {
    this.#worker?.postMessage(message);
    this.#bell.ring();
  }

  #spawn(): Worker {
    const worker = new Worker(new URL('lane-thread.ts', import.meta.url), {
      workerData: this.#bell.fd,
      // Our sockets' descriptors are our own.
      trackUnmanagedFds: false,
    });
    worker.on('message', (event: LaneEvent) => {
      if (event.kind === 'ended') this.#running.delete(event.id);
      this.#tell(event);
    });
    worker.on('error', (e) => {
      this.#log.error({ error: messageOf(e) }, 'tftp: a transfer thread died');
    });
    worker.on('exit', () => {
      if (this.#worker === worker) this.#worker = undefined;
      for (const id of this.#running) this.#tell(failedJob(id, 'the transfer thread died'));
      this.#running.clear();
    });
    return worker;
  }
}
