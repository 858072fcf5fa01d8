import { formatIpv4, parseIpv4, type Cancel, type Clock, Counters } from '#base/mod.ts';
import { errnoOf, type Log, messageOf } from '#base/mod.ts';
import { type Peer, UdpSocket } from '#net/mod.ts';
import { forgetNeighbour, setNeighbour } from '#os/mod.ts';
import { askBy, ConflictProber, readArpTable } from './conflict.ts';
import { BOOT_SERVER_PORT, CLIENT_PORT, type Destination, SERVER_PORT } from './deliver.ts';
import type { Exchange } from './exchange.ts';
import type { LeaseLog } from './journal.ts';
import { type DhcpObserver, DROP_REASONS, type DropReason } from './observer.ts';
import { Outbox } from './outbox.ts';
import type { Outcome, PendingLease, Send, Sender } from './outcome.ts';
import { inSubnet, type Site } from './site.ts';

/** Names of the counters of one network. */
export type DhcpCounter = 'received' | 'sent' | 'committed' | DropReason;

/**
 * Requests waiting in the kernel while we are busy: 2 MiB hold about 1,600 (a small datagram counts
 * 1,280 bytes), so that a hall of machines switched on together loses none. More would only be
 * older than the clients' patience by the time they are read.
 */
const RECEIVE_BUFFER_BYTES = 2 << 20;
/** Relays whose outbox is kept ready. */
const OUTBOXES = 256;
/** Drops that happen all day on any network and are counted, not told. */
const QUIET: ReadonlySet<DropReason> = new Set(['not-for-us', 'other-server-chosen']);

/** The sender of what could not be read. */
const NOBODY: Sender = { mac: '', xid: 0 };

/** What a network service is made of. */
export type NetworkServiceOptions = {
  readonly site: Site;
  readonly exchange: Exchange;
  readonly leaseLog: LeaseLog;
  readonly observer: DhcpObserver;
  readonly clock: Clock;
  readonly log: Log;
};

/** The sockets and timers of one network. Decides nothing: see Exchange. */
export class NetworkService {
  readonly counters: Counters<DhcpCounter>;
  readonly #options: NetworkServiceOptions;
  readonly #sockets: UdpSocket[] = [];
  readonly #outboxes = new Map<string, Outbox>();
  readonly #delayed = new Set<Cancel>();
  readonly #probers: ConflictProber[] = [];
  readonly #senders = new Map<number, UdpSocket>();

  private constructor(options: NetworkServiceOptions) {
    this.#options = options;
    this.counters = new Counters(['received', 'sent', 'committed', ...DROP_REASONS]);
  }

  /** Opens the sockets. Throws EnvironmentError, and leaves nothing open then. */
  static async open(options: NetworkServiceOptions): Promise<NetworkService> {
    const service = new NetworkService(options);
    try {
      await service.#open();
    } catch (e) {
      await service.close();
      throw e;
    }
    return service;
  }

  async close(): Promise<void> {
    for (const cancel of this.#delayed) cancel();
    this.#forgetOutboxes();
    for (const prober of this.#probers) prober.close();
    await Promise.all(this.#sockets.map((s) => s.close()));
  }

  async #open(): Promise<void> {
    const { mode } = this.#options.site.config;
    if (mode === 'off') return;
    for (const port of [SERVER_PORT, BOOT_SERVER_PORT]) {
      await this.#assertFree(port);
      // One socket hears broadcasts; the other has our address, and gives every reply that source,
      // whichever addresses the interface has besides (tinkerbell/charts#109).
      this.#listen(port, '0.0.0.0');
      this.#senders.set(port, this.#listen(port, this.#options.site.serverText));
    }
    if (mode !== 'server') return;
    this.#listenForOthers();
    if (this.#options.site.config.probeConflicts !== false) this.#startProbers();
  }

  /**
   * Our two sockets per port must share it; a bind that shares nothing finds other programs first.
   */
  async #assertFree(port: number): Promise<void> {
    const where = { family: 4, interface: this.#options.site.config.interface, port } as const;
    await UdpSocket.open(where, { onMessage: () => undefined }).close();
  }

  #listen(port: number, address: string): UdpSocket {
    const socket = UdpSocket.open(
      {
        family: 4,
        interface: this.#options.site.config.interface,
        address,
        port,
        broadcast: true,
        reuseAddress: true,
        receiveBufferBytes: RECEIVE_BUFFER_BYTES,
      },
      {
        onMessage: (bytes, from) => {
          this.#receive(bytes, from, port);
        },
        onError: (e) => {
          this.#options.log.warn({ error: messageOf(e) }, 'DHCP socket');
        },
      },
    );
    this.#sockets.push(socket);
    return socket;
  }

  /** Where we give the addresses, no client of this host listens on port 68: so we may. */
  #listenForOthers(): void {
    const { site, exchange, log } = this.#options;
    try {
      const socket = UdpSocket.open(
        { family: 4, interface: site.config.interface, port: CLIENT_PORT, reuseAddress: true },
        {
          onMessage: (bytes) => {
            exchange.overheard(bytes);
          },
        },
      );
      this.#sockets.push(socket);
    } catch (e) {
      log.debug({ error: messageOf(e) }, 'cannot listen for other DHCP servers on port 68');
    }
  }

  #startProbers(): void {
    const { site, clock, observer } = this.#options;
    const name = site.config.interface;
    const local = site.subnets.filter((s) => inSubnet(s, site.server));
    if (local.length === 0) return;
    const socket = UdpSocket.open(
      { family: 4, interface: name, address: site.serverText, port: 0 },
      { onMessage: () => undefined },
    );
    this.#sockets.push(socket);
    for (const { table } of local) {
      const onConflict = (address: number): void => {
        const where = { interface: name, mac: '', xid: 0 };
        observer.dhcp({ kind: 'conflict', address: formatIpv4(address), ...where });
      };
      const forget = (address: string): boolean => this.#forget(address);
      const asking = { ask: askBy(socket), forget, arpTable: readArpTable };
      const prober = new ConflictProber({ interface: name, table, clock, ...asking, onConflict });
      this.#probers.push(prober);
      prober.kick();
    }
  }

  #receive(bytes: Buffer, from: Peer, port: number): void {
    this.counters.inc('received');
    try {
      this.#act(this.#options.exchange.receive(bytes, from, port), port);
    } catch (e) {
      // A fault of ours or of the policy must not end the service for all other machines.
      this.#options.log.error({ error: messageOf(e), from: from.address }, 'DHCP request failed');
    }
    for (const prober of this.#probers) prober.kick();
  }

  #act(outcome: Outcome, port: number): void {
    switch (outcome.kind) {
      case 'drop':
        this.#drop(outcome.reason, outcome.detail, outcome.who);
        return;
      case 'send':
        this.#send(outcome.send, port);
        return;
      case 'record':
        this.#options.leaseLog.append(outcome.record, () => undefined);
        return;
      case 'commit': {
        const { pending } = outcome;
        this.#options.leaseLog.append(pending.record, (result) => {
          if (result === 'durable') this.counters.inc('committed');
          else this.#drop('not-durable', result, senderOf(pending));
          const send = this.#options.exchange.settle(pending, result);
          if (send !== undefined) this.#send(send, port);
        });
      }
    }
  }

  #drop(reason: DropReason, detail: string | undefined, who: Sender = NOBODY): void {
    this.counters.inc(reason);
    if (QUIET.has(reason)) return;
    this.#options.observer.dhcp({
      kind: 'dropped',
      ...who,
      interface: this.#options.site.config.interface,
      reason,
      ...(detail === undefined ? {} : { detail }),
    });
  }

  #send(send: Send, port: number): void {
    if (send.delayMs === 0) {
      this.#sendNow(send, port);
      return;
    }
    const cancel = this.#options.clock.after(send.delayMs, () => {
      this.#delayed.delete(cancel);
      this.#sendNow(send, port);
    });
    this.#delayed.add(cancel);
  }

  #sendNow({ bytes, to }: Send, port: number): void {
    const socket = this.#senders.get(port);
    if (socket === undefined) return;
    this.counters.inc('sent');
    if (to.port === SERVER_PORT) {
      this.#outbox(socket, to).put(bytes);
      return;
    }
    const address =
      to.neighbour === undefined ? to.address : this.#introduce(to.address, to.neighbour);
    this.#queue(socket, bytes, { address, port: to.port });
  }

  /** Writes the ARP entry; without the right to do so the reply is broadcast instead. */
  #introduce(address: string, mac: string): string {
    try {
      setNeighbour(this.#options.site.config.interface, address, mac);
      const number = parseIpv4(address) ?? 0;
      for (const prober of this.#probers) prober.written(number);
      return address;
    } catch (e) {
      this.#options.log.debug({ error: messageOf(e) }, 'no ARP entry; the reply is broadcast');
      return '255.255.255.255';
    }
  }

  /** Takes an ARP entry out; false where it stays, such as without the right to do so. */
  #forget(address: string): boolean {
    try {
      forgetNeighbour(this.#options.site.config.interface, address);
      return true;
    } catch (e) {
      // It went by itself meanwhile.
      if (errnoOf(e) === 'ENXIO') return true;
      this.#options.log.debug({ error: messageOf(e) }, 'an ARP entry cannot be taken out');
      return false;
    }
  }

  #queue(socket: UdpSocket, bytes: Buffer, to: Destination): void {
    socket.send(bytes, to.port, to.address, (e) => {
      if (e !== null) this.#drop('send-failed', messageOf(e));
    });
  }

  #outbox(socket: UdpSocket, to: Destination): Outbox {
    const ready = this.#outboxes.get(to.address);
    if (ready !== undefined) return ready;
    if (this.#outboxes.size >= OUTBOXES) this.#forgetOutboxes();
    const outbox = new Outbox(socket.target(to), setImmediate, (bytes) => {
      this.#queue(socket, bytes, to);
    });
    this.#outboxes.set(to.address, outbox);
    return outbox;
  }

  #forgetOutboxes(): void {
    for (const outbox of this.#outboxes.values()) outbox.flush();
    this.#outboxes.clear();
  }
}

function senderOf({ event }: PendingLease): Sender {
  const { mac, xid, relay } = event;
  return { mac, xid, ...(relay === undefined ? {} : { relay }) };
}
