import { closeSync } from 'node:fs';
import { bindCall, check } from './libc.ts';

const EFD_NONBLOCK = 0o4000;
const EFD_CLOEXEC = 0o2000000;

const eventfd = bindCall('int eventfd(unsigned int initial, int flags)');
const write = bindCall('intptr_t write(int fd, void *bytes, size_t length)');
const read = bindCall('intptr_t read(int fd, void *bytes, size_t length)');

/**
 * Wakes a thread that waits in a `ReadySet`: an eventfd(2). The number of its descriptor goes to
 * the other thread, which makes its own end of it.
 */
export class Doorbell {
  readonly fd: number;
  readonly #one = new Uint8Array(new BigUint64Array([1n]).buffer);
  readonly #count = new Uint8Array(8);

  /** Without `fd` a new one is made. Throws EnvironmentError. */
  constructor(fd?: number) {
    this.fd = fd ?? check(eventfd()(0, EFD_NONBLOCK | EFD_CLOEXEC), 'cannot make an eventfd');
  }

  ring(): void {
    write()(this.fd, this.#one, 8);
  }

  /** Takes the rings so far; the descriptor is not readable then. */
  answer(): void {
    read()(this.fd, this.#count, 8);
  }

  /** Closes the descriptor, for both threads. */
  close(): void {
    closeSync(this.fd);
  }
}
