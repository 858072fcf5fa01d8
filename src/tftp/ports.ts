import { closeSync } from 'node:fs';
import { DatagramInbox, DatagramTarget, ReadySet, openUdpSocket, socketAddress } from '#os/mod.ts';
import type { UdpSocketOptions } from '#os/mod.ts';
import type { TftpClient } from './observer.ts';

/** What a transfer's port does with a datagram: the first `length` bytes, valid during the call. */
export type PortHandlers = {
  fromClient(bytes: Uint8Array, length: number): void;
  /** `answer` goes out from the port that the stranger sent to. */
  fromStranger(bytes: Uint8Array, answer: (bytes: Uint8Array) => void): void;
};

/** A port of one transfer: where it sends to, and how it is closed. */
export type Port = { readonly target: DatagramTarget; readonly close: () => void };

/** ACKs and ERRORs are short; what is longer need not be whole. */
const PACKET_BYTES = 1024;

type Watched = { readonly target: DatagramTarget; readonly handlers: PortHandlers };

/**
 * The ports of all transfers of a thread, without libuv: one epoll, and one call per datagram. On
 * lockstep transfers (windowsize 1) receiving is most of the server's own cost: 1 µs this way, 5 to
 * 10 through `dgram`.
 */
export class Ports {
  readonly #ready = new ReadySet();
  readonly #inbox = new DatagramInbox(PACKET_BYTES);
  /** By descriptor: small numbers, dense. */
  readonly #watched: (Watched | undefined)[] = [];
  readonly #onOther: () => void;

  /** `bell` is one more descriptor to watch; `onBell` is told when it is readable. */
  constructor(bell: number, onBell: () => void) {
    this.#ready.add(bell);
    this.#onOther = onBell;
  }

  /** Opens a port of its own for one client. Throws EnvironmentError. */
  open(options: UdpSocketOptions, client: TftpClient, handlers: PortHandlers): Port {
    const fd = openUdpSocket(options);
    const target = this.#watch(fd, client, handlers);
    return {
      target,
      close: () => {
        if (this.#watched[fd]?.target !== target) return;
        this.#watched[fd] = undefined;
        closeSync(fd);
      },
    };
  }

  /** The descriptor is closed when it cannot be watched. */
  #watch(fd: number, client: TftpClient, handlers: PortHandlers): DatagramTarget {
    try {
      const target = new DatagramTarget(fd, socketAddress(client.address, client.port));
      this.#ready.add(fd);
      this.#watched[fd] = { target, handlers };
      return target;
    } catch (e) {
      closeSync(fd);
      throw e;
    }
  }

  /** Waits up to `timeoutMs` for datagrams and hands out what is there; returns how many. */
  turn(timeoutMs: number): number {
    const found = this.#ready.wait(Math.ceil(timeoutMs * 1000));
    for (let n = 0; n < found; n++) this.#take(this.#ready.ready(n));
    return found;
  }

  close(): void {
    for (const [fd, watched] of this.#watched.entries()) if (watched !== undefined) closeSync(fd);
    this.#watched.length = 0;
    this.#ready.close();
  }

  /** One datagram of a port: the others of it are found in the next turn, after everyone else's. */
  #take(fd: number): void {
    const watched = this.#watched[fd];
    if (watched === undefined) {
      this.#onOther(); // the bell, or a port that was closed in this turn
      return;
    }
    const length = this.#inbox.receive(fd);
    if (length < 0) return; // an ICMP error, taken by asking
    const { bytes } = this.#inbox;
    if (this.#inbox.isFrom(watched.target.name)) {
      watched.handlers.fromClient(bytes, length);
      return;
    }
    const { address, port } = this.#inbox.from();
    watched.handlers.fromStranger(bytes.subarray(0, length), (answer) => {
      new DatagramTarget(fd, socketAddress(address, port)).send(answer, 0, answer.length);
    });
  }
}
