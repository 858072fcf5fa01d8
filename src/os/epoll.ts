import { closeSync } from 'node:fs';
import { addressOf, bindCall, check } from './libc.ts';

/**
 * A set of descriptors of our own to look at between two turns of the event loop: libuv's way from
 * "a datagram is there" to JavaScript costs 5 to 10 µs, this one 1.
 */
const EPOLLIN = 1;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLL_CLOEXEC = 0o2000000;
/** Ready descriptors reported at a time. */
const MOST_READY = 256;
/** struct epoll_event is packed on x86-64 only. */
const EVENT_BYTES = process.arch === 'x64' ? 12 : 16;
const DATA_AT = EVENT_BYTES - 8;

const epollCreate = bindCall('int epoll_create1(int flags)');
const epollCtl = bindCall('int epoll_ctl(int epoll, int operation, int fd, void *event)');
const epollWait = bindCall(
  'int epoll_pwait2(int epoll, uintptr_t events, int most, uintptr_t timeout, uintptr_t mask)',
);

/**
 * Sockets that are watched for input (epoll(7)): a thread with a wait of its own, instead of the
 * event loop's. `wait` says which are ready.
 */
export class ReadySet {
  readonly #epoll: number;
  readonly #events: DataView;
  readonly #eventsAddress: number;
  /** struct timespec: seconds and nanoseconds. */
  readonly #timeout = new Uint32Array(4);
  readonly #timeoutAddress: number;

  /** Throws EnvironmentError, also where the kernel is older than 5.11. */
  constructor() {
    const events = new Uint8Array(MOST_READY * EVENT_BYTES);
    this.#events = new DataView(events.buffer);
    this.#eventsAddress = addressOf(events);
    this.#timeoutAddress = addressOf(this.#timeout);
    this.#epoll = check(epollCreate()(EPOLL_CLOEXEC), 'cannot watch descriptors');
    try {
      check(this.wait(0), 'cannot watch descriptors');
    } catch (e) {
      this.close();
      throw e;
    }
  }

  add(fd: number): void {
    const event = new Uint8Array(EVENT_BYTES);
    const view = new DataView(event.buffer);
    view.setUint32(0, EPOLLIN, true);
    view.setInt32(DATA_AT, fd, true);
    check(epollCtl()(this.#epoll, EPOLL_CTL_ADD, fd, event), 'cannot watch a descriptor');
  }

  /** Before the descriptor is closed. */
  remove(fd: number): void {
    epollCtl()(this.#epoll, EPOLL_CTL_DEL, fd, new Uint8Array(EVENT_BYTES));
  }

  /** Waits up to `timeoutUs` for a readable one; returns how many there are, or -1. */
  wait(timeoutUs: number): number {
    this.#timeout[0] = Math.floor(timeoutUs / 1_000_000);
    this.#timeout[2] = (timeoutUs % 1_000_000) * 1000;
    return epollWait()(this.#epoll, this.#eventsAddress, MOST_READY, this.#timeoutAddress, 0);
  }

  /** The `n`th of those that the last `wait` found. */
  ready(n: number): number {
    return this.#events.getInt32(n * EVENT_BYTES + DATA_AT, true);
  }

  close(): void {
    closeSync(this.#epoll);
  }
}
