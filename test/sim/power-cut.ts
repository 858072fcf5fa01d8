import type { Random } from './random.ts';
import type { Client } from './world.ts';
import type { Workload } from './workload.ts';

/** Whatever has operations under way that the simulation lets happen one by one. */
export type Stepped = { readonly underWay: number; step(): void };

/** Lets every promise go on that can. */
function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/**
 * Lets operations happen until the promise is settled, or `steps` of them did: then null, and the
 * power may go.
 */
export async function settle<T>(
  promise: Promise<T>,
  disk: Stepped,
  steps: number,
): Promise<T | null> {
  let settled = false;
  const end = (): void => {
    settled = true;
  };
  promise.then(end, end);
  for (let step = 0; step < steps;) {
    await turn();
    if (settled) return promise;
    // What does not wait for the disk waits for the thread pool.
    if (disk.underWay === 0) continue;
    disk.step();
    step += 1;
  }
  return null;
}

/**
 * Sends commands and lets device operations happen, in an order that the seed decides. Throws what
 * a command's answer got wrong.
 */
export class Driver {
  readonly #random: Random;
  readonly #clients: readonly Client[];
  readonly #workload: Workload;
  readonly #disk: Stepped;
  readonly #busy: number[];
  readonly #wrong: unknown[] = [];
  /** What is answered after the cut means nothing. */
  #power = true;

  constructor(random: Random, clients: readonly Client[], workload: Workload, disk: Stepped) {
    this.#random = random;
    this.#clients = clients;
    this.#workload = workload;
    this.#disk = disk;
    this.#busy = clients.map(() => 0);
  }

  /** So many steps; commands may be under way at the end. */
  async run(steps: number): Promise<void> {
    for (let step = 0; step < steps; step++) {
      const free = [...this.#clients.keys()].filter((i) => this.#hasRoom(i));
      if (free.length > 0 && (this.#disk.underWay === 0 || this.#random.chance(0.4))) {
        this.#send(this.#random.pick(free));
      } else if (this.#disk.underWay > 0) {
        this.#disk.step();
      }
      await this.#turn();
    }
  }

  /** Sends nothing more, and waits until everything is answered; false: not within the steps. */
  async drain(steps: number): Promise<boolean> {
    for (let step = 0; step < steps && this.#busy.some((n) => n > 0); step++) {
      if (this.#disk.underWay > 0) this.#disk.step();
      await this.#turn();
    }
    return this.#busy.every((n) => n === 0);
  }

  /** The power is gone. */
  stop(): void {
    this.#power = false;
  }

  async #turn(): Promise<void> {
    await turn();
    if (this.#wrong.length > 0) throw this.#wrong[0];
  }

  #hasRoom(index: number): boolean {
    return (this.#busy[index] ?? 0) < (this.#clients[index]?.depth ?? 0);
  }

  #send(index: number): void {
    const operation = this.#workload.next();
    this.#busy[index] = (this.#busy[index] ?? 0) + 1;
    const run = async (): Promise<void> => {
      const answer = await this.#clients[index]?.run(operation);
      if (!this.#power || answer === undefined) return;
      this.#busy[index] = (this.#busy[index] ?? 0) - 1;
      if (answer !== null) operation.ended(answer);
    };
    run().catch((e: unknown) => {
      this.#wrong.push(e);
    });
  }
}
