import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { DatagramTarget, openIcmp6Socket, openPlaceholder, replaceDescriptor } from '#os/mod.ts';
import { errnoName, errnoText, socketAddress, type Icmp6Options } from '#os/mod.ts';
import { EnvironmentError } from '#base/mod.ts';

/** What the socket tells its owner: whole ICMPv6 messages, type byte first, without IPv6 header. */
export type Icmp6Handlers = {
  onMessage(bytes: Buffer, fromAddress: string): void;
  onError?(error: Error): void;
};

/** A raw ICMPv6 socket on one interface, hop limit 255. Keeps the process alive until closed. */
export class Icmp6Socket {
  readonly #socket: Socket;
  readonly #fd: number;
  readonly #zone: string;
  #closing: Promise<void> | undefined;

  private constructor(socket: Socket, fd: number, zone: string) {
    this.#socket = socket;
    this.#fd = fd;
    this.#zone = zone;
  }

  /** Opens it; see `openIcmp6Socket` for the options and errors. */
  static open(options: Icmp6Options, handlers: Icmp6Handlers): Icmp6Socket {
    const raw = openIcmp6Socket(options);
    const fd = openPlaceholder();
    const socket = createSocket('udp6');
    socket.on('message', (bytes, from) => {
      handlers.onMessage(bytes, from.address);
    });
    socket.on('error', (e) => handlers.onError?.(e));
    socket.bind({ fd });
    // In this very tick: the event loop registers the descriptor at its next turn.
    replaceDescriptor(raw, fd);
    return new Icmp6Socket(socket, fd, options.interface);
  }

  /**
   * Sends one message; the kernel fills in the checksum. An address without zone goes out on the
   * socket's interface. Throws EnvironmentError when the kernel refuses it.
   */
  send(bytes: Uint8Array, address: string): void {
    if (this.#closing !== undefined) return;
    const zoned = address.includes('%') ? address : `${address}%${this.#zone}`;
    const sent = new DatagramTarget(this.#fd, socketAddress(zoned, 0)).send(bytes, 0, bytes.length);
    if (sent >= 0) return;
    throw new EnvironmentError(errnoName(-sent), {
      what: `cannot send ICMPv6 to ${zoned}`,
      why: errnoText(-sent),
    });
  }

  /** Closes the socket. Idempotent. */
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
