import { Worker } from 'node:worker_threads';
import { EnvironmentError, InternalError } from '#base/mod.ts';
import type { CallName, DataPlaneCalls, PlaneThreadData, Tell } from './data-plane-protocol.ts';

type Waiting = { resolve: (answer: unknown) => void; reject: (error: Error) => void };

/** What a thread tells without being asked. */
export type Unasked = Exclude<Tell, { kind: 'answer' | 'failed' }>;

type Options = {
  readonly data: PlaneThreadData;
  readonly onTell: (tell: Unasked) => void;
  /** The thread ended by itself: nothing serves its disks any more. */
  readonly onDeath: (error: Error) => void;
};

/** The main thread's end of one data-plane thread: calls with answers, and what it tells. */
export class PlaneThread {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  readonly #options: Options;
  #nextId = 1;
  #ending = false;
  /** Why nobody answers any more. */
  #ended: Error | undefined;

  constructor(options: Options) {
    this.#options = options;
    this.#worker = new Worker(new URL('./data-plane-worker.ts', import.meta.url), {
      workerData: options.data,
    });
    this.#worker.on('message', (tell: Tell) => {
      this.#told(tell);
    });
    this.#worker.on('error', (thrown: unknown) => {
      this.#died(thrown instanceof Error ? thrown : new InternalError(String(thrown)));
    });
    this.#worker.on('exit', (code) => {
      this.#died(new InternalError(`the data plane ended with code ${code}`));
    });
  }

  /** Asks; rejects with what the thread says, as EnvironmentError, or with why it has ended. */
  call<N extends CallName>(
    name: N,
    ask: DataPlaneCalls[N]['ask'],
  ): Promise<DataPlaneCalls[N]['answer']> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      // The thread answers each call by its own name's shape: the protocol type says so.
      this.#waiting.set(id, { resolve: resolve as (answer: unknown) => void, reject });
      this.#worker.postMessage({ id, name, ask });
    });
  }

  /** Ends the thread at once. */
  async terminate(): Promise<void> {
    this.#ending = true;
    await this.#worker.terminate();
  }

  #told(tell: Tell): void {
    if (tell.kind !== 'answer' && tell.kind !== 'failed') {
      this.#options.onTell(tell);
      return;
    }
    const waiting = this.#waiting.get(tell.id);
    this.#waiting.delete(tell.id);
    if (tell.kind === 'answer') waiting?.resolve(tell.answer);
    else waiting?.reject(new EnvironmentError(tell.error.code, tell.error.explanation));
  }

  #died(error: Error): void {
    this.#ended ??= error;
    for (const waiting of this.#waiting.values()) waiting.reject(error);
    this.#waiting.clear();
    if (this.#ending) return;
    this.#ending = true;
    this.#options.onDeath(error);
  }
}
