import { Worker } from 'node:worker_threads';
import { EnvironmentError, InternalError, type Log, type LogLevel } from '#base/mod.ts';
import type { DriveExport } from '#boot/mod.ts';
import type { PortalAddress, TargetObserver, TargetStats } from '#iscsi/mod.ts';
import type { CallName, DataPlaneCalls, Tell } from './data-plane-protocol.ts';
import type { DriveProblem } from './drive-table.ts';

type Waiting = { resolve: (answer: unknown) => void; reject: (error: Error) => void };

type Options = {
  readonly portals: readonly PortalAddress[];
  readonly observer: TargetObserver;
  readonly log: Log;
  readonly logLevel: LogLevel;
  /** The worker ended by itself: nothing serves disks any more. */
  readonly onDeath: (error: Error) => void;
};

/**
 * The main thread's handle on the data plane: the iSCSI target with its disks in a worker thread of
 * its own, so that a busy target never delays a DHCP answer.
 */
export class DataPlane {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #nextId = 1;
  #stopping = false;

  private constructor(options: Options) {
    this.#worker = new Worker(new URL('./data-plane-worker.ts', import.meta.url), {
      workerData: { level: options.logLevel },
    });
    this.#worker.on('message', (tell: Tell) => {
      this.#told(tell, options.observer);
    });
    this.#worker.on('error', (thrown: unknown) => {
      const error = thrown instanceof Error ? thrown : new InternalError(String(thrown));
      options.log.error({ error }, 'the data plane failed');
      this.#failAll(error);
      options.onDeath(error);
    });
    this.#worker.on('exit', (code) => {
      const error = new InternalError(`the data plane ended with code ${code}`);
      this.#failAll(error);
      if (!this.#stopping) options.onDeath(error);
    });
  }

  /** Starts the worker and listens on all portals or none. Throws EnvironmentError. */
  static async start(options: Options): Promise<DataPlane> {
    const plane = new DataPlane(options);
    try {
      await plane.#call('start', { portals: options.portals });
      return plane;
    } catch (e) {
      plane.#stopping = true;
      await plane.#worker.terminate();
      throw e;
    }
  }

  /** Makes these the drives that are served; see `DriveTable.sync`. */
  async sync(
    drives: readonly DriveExport[],
    restarting?: string,
  ): Promise<readonly DriveProblem[]> {
    return await this.#call('sync', {
      drives,
      ...(restarting === undefined ? {} : { restarting }),
    });
  }

  /** Counters and sessions, as of now. */
  async stats(): Promise<TargetStats> {
    return await this.#call('stats', {});
  }

  /** Asks initiators to log out, flushes and closes every image, ends the worker. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#call('stop', {});
    await this.#worker.terminate();
  }

  #call<N extends CallName>(
    name: N,
    ask: DataPlaneCalls[N]['ask'],
  ): Promise<DataPlaneCalls[N]['answer']> {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      // The worker answers each call by its own name's shape: the protocol type says so.
      this.#waiting.set(id, { resolve: resolve as (answer: unknown) => void, reject });
      this.#worker.postMessage({ id, name, ask });
    });
  }

  #told(tell: Tell, observer: TargetObserver): void {
    if (tell.kind === 'event') {
      observer.event(tell.event);
      return;
    }
    const waiting = this.#waiting.get(tell.id);
    this.#waiting.delete(tell.id);
    if (tell.kind === 'answer') waiting?.resolve(tell.answer);
    else waiting?.reject(new EnvironmentError(tell.error.code, tell.error.explanation));
  }

  #failAll(error: Error): void {
    for (const waiting of this.#waiting.values()) waiting.reject(error);
    this.#waiting.clear();
  }
}
