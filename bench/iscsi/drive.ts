/** Lets sessions work: one poll(2) for all of them, and then each takes what has come. */
import { addressOf, bindCall } from '#os/libc.ts';
import type { LoadSession } from './session.ts';

const WAIT_MS = 100;
const POLLIN = 1;
const POLLOUT = 4;

const wait = bindCall('int poll(uintptr_t fds, unsigned long count, int timeout)');

/** Drives all sessions of a process. Nothing else runs in its thread meanwhile. */
export class Drive {
  readonly #sessions: readonly LoadSession[];
  /** struct pollfd { int fd; short events, revents } of every session. */
  readonly #descriptors: Uint32Array;
  readonly #address: number;

  constructor(sessions: readonly LoadSession[]) {
    this.#sessions = sessions;
    this.#descriptors = new Uint32Array(2 * sessions.length);
    this.#address = addressOf(this.#descriptors);
  }

  until(over: () => boolean): void {
    while (!over()) {
      this.#sleep();
      for (const session of this.#sessions) session.poll();
    }
  }

  /** Returns the milliseconds that it really took. */
  for(ms: number): number {
    const startMs = performance.now();
    this.until(() => performance.now() - startMs >= ms);
    return performance.now() - startMs;
  }

  /** Until something has come, or there is room for what has to go. */
  #sleep(): void {
    for (const [n, session] of this.#sessions.entries()) {
      this.#descriptors[2 * n] = session.line.fd;
      this.#descriptors[2 * n + 1] = session.sentAll ? POLLIN : POLLIN | POLLOUT;
    }
    wait()(this.#address, this.#sessions.length, WAIT_MS);
  }
}
