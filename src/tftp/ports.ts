import { UdpSocket, type Peer } from '#net/mod.ts';
import { DatagramInbox, ReadySet, type DatagramTarget, type UdpSocketOptions } from '#os/mod.ts';
import { messageOf, type Log } from '#base/mod.ts';

/** What a transfer's port does with a datagram. `bytes` is only valid during the call. */
export type PortHandlers = {
  fromClient(bytes: Uint8Array): void;
  /** `answer` goes out from the port that the stranger sent to. */
  fromStranger(bytes: Uint8Array, answer: (bytes: Uint8Array) => void): void;
  /** The smoothed round trip of the transfer, 0 when unknown. */
  roundTripMs(): number;
};

/** A port of one transfer: where it sends to, and how it is closed. */
export type Port = { readonly target: DatagramTarget; readonly close: () => void };

/** ACKs and ERRORs are short; what is longer need not be whole. */
const PACKET_BYTES = 1024;
/**
 * How long we look at our own ports in one turn of the event loop: DHCP and HTTP live on it too, and
 * do not notice two milliseconds.
 */
const TURN_MS = 8;
/** A client this near answers before the event loop would come back: wait for it. */
const NEAR_MS = 0.2;
const WAIT_US = 100;

type Watched = {
  readonly socket: UdpSocket;
  readonly client: Peer;
  readonly target: DatagramTarget;
  readonly handlers: PortHandlers;
};

/**
 * The ports of all transfers. The event loop tells of the first datagram; what else has arrived
 * meanwhile, on any port, is then taken directly (`ReadySet`), within a bounded time. On lockstep
 * transfers (windowsize 1) this is most of the server's own cost.
 */
export class Ports {
  readonly #log: Log;
  readonly #watched = new Map<number, Watched>();
  readonly #closing = new Set<Promise<void>>();
  readonly #inbox = new DatagramInbox(PACKET_BYTES);
  readonly #ready: ReadySet | undefined;
  /** Looked in this turn of the event loop already. */
  #drained = false;

  constructor(log: Log) {
    this.#log = log;
    this.#ready = openReadySet(log);
  }

  /** Opens a port of its own for one client. Throws EnvironmentError. */
  open(options: UdpSocketOptions, client: Peer, handlers: PortHandlers): Port {
    const socket = UdpSocket.open(options, {
      onMessage: (bytes, from) => {
        if (from.port === client.port && from.address === client.address)
          handlers.fromClient(bytes);
        else this.#stranger(fd, bytes, from);
        this.#drain(handlers.roundTripMs());
      },
      onError: (e) => {
        this.#log.debug({ error: e.message, client: client.address }, 'tftp: socket error');
      },
    });
    const { fd } = socket;
    const target = socket.target(client);
    this.#watched.set(fd, { socket, client, target, handlers });
    this.#ready?.add(fd);
    return {
      target,
      close: () => {
        this.#close(fd);
      },
    };
  }

  /** Closes all of them, and waits until they are. */
  async close(): Promise<void> {
    for (const fd of this.#watched.keys()) this.#close(fd);
    await Promise.all(this.#closing);
    this.#ready?.close();
  }

  #close(fd: number): void {
    const watched = this.#watched.get(fd);
    if (watched === undefined) return;
    this.#watched.delete(fd);
    this.#ready?.remove(fd);
    const closed = watched.socket.close();
    this.#closing.add(closed);
    void closed.finally(() => this.#closing.delete(closed));
  }

  #stranger(fd: number, bytes: Uint8Array, from: Peer): void {
    const watched = this.#watched.get(fd);
    watched?.handlers.fromStranger(bytes, (answer) => {
      watched.socket.send(answer, from.port, from.address);
    });
  }

  #drain(roundTripMs: number): void {
    if (this.#drained || this.#ready === undefined) return;
    this.#drained = true;
    setImmediate(() => {
      this.#drained = false;
    });
    const untilMs = performance.now() + TURN_MS;
    let nearMs = roundTripMs;
    do {
      const found = this.#ready.wait(nearMs > 0 && nearMs < NEAR_MS ? WAIT_US : 0);
      if (found <= 0) return;
      for (let n = 0; n < found; n++) nearMs = this.#take(this.#ready.ready(n)) ?? nearMs;
    } while (performance.now() < untilMs);
  }

  /** Takes one datagram of that port; returns the round trip of its transfer. */
  #take(fd: number): number | undefined {
    const watched = this.#watched.get(fd);
    if (watched === undefined) return undefined;
    const length = this.#inbox.receive(fd);
    if (length < 0) return undefined;
    const bytes = this.#inbox.bytes.subarray(0, length);
    if (this.#inbox.isFrom(watched.target.name)) watched.handlers.fromClient(bytes);
    else this.#stranger(fd, bytes, this.#inbox.from());
    return watched.handlers.roundTripMs();
  }
}

function openReadySet(log: Log): ReadySet | undefined {
  try {
    return new ReadySet();
  } catch (e) {
    // An old kernel: the event loop alone does it too, slower.
    log.debug({ error: messageOf(e) }, 'tftp: ports are not looked at directly');
    return undefined;
  }
}
