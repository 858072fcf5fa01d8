import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { DatagramTarget, openUdpSocket, socketAddress } from '#os/mod.ts';
import type { UdpSocketOptions } from '#os/mod.ts';

/** The other end of a datagram. IPv6 link-local addresses carry their zone (`fe80::1%eth0`). */
export type Peer = { readonly address: string; readonly port: number };

/** What a socket tells its owner; set before the first datagram can arrive. */
export type UdpHandlers = {
  onMessage(bytes: Buffer, from: Peer): void;
  /** A socket error after it was opened (an ICMP answer, the interface went away). */
  onError?(error: Error): void;
};

/** A bound UDP socket. Keeps the process alive until closed. */
export class UdpSocket {
  readonly #socket: Socket;
  readonly #fd: number;
  #closing: Promise<void> | undefined;

  private constructor(socket: Socket, fd: number) {
    this.#socket = socket;
    this.#fd = fd;
  }

  /** Opens and binds; see `openUdpSocket` for the options and the errors. */
  static open(options: UdpSocketOptions, handlers: UdpHandlers): UdpSocket {
    const fd = openUdpSocket(options);
    const socket = createSocket(options.family === 4 ? 'udp4' : 'udp6');
    socket.on('message', (bytes, from) => {
      handlers.onMessage(bytes, from);
    });
    // Without a listener an ICMP error about one client would end the process.
    socket.on('error', (e) => handlers.onError?.(e));
    socket.bind({ fd });
    return new UdpSocket(socket, fd);
  }

  /** Queues one datagram; an error that the kernel reports at once is given to `done`. */
  send(
    bytes: Uint8Array,
    port: number,
    address: string,
    done?: (error: Error | null) => void,
  ): void {
    if (this.#closing !== undefined) return;
    this.#socket.send(bytes, port, address, (e) => done?.(e));
  }

  /** A sender to one peer that goes straight to the kernel (see DatagramTarget). */
  target(peer: Peer): DatagramTarget {
    return new DatagramTarget(this.#fd, socketAddress(peer.address, peer.port));
  }

  /** The descriptor, for a `ReadySet` and a `DatagramInbox`; it dies with the socket. */
  get fd(): number {
    return this.#fd;
  }

  /** The address and port the socket is bound to. */
  localAddress(): Peer {
    const { address, port } = this.#socket.address();
    return { address, port };
  }

  /** Closes the socket; nothing is received or sent afterwards. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const closed = once(this.#socket, 'close');
    this.#socket.close();
    await closed;
  }
}
