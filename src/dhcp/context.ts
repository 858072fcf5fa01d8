import { formatIpv4, type Clock } from '#base/mod.ts';
import type { ClientFacts } from './facts.ts';
import type { DhcpEvent, DhcpObserver, ForeignServerSource } from './observer.ts';
import { OPTION } from './options/codes.ts';
import { getU32 } from './options/basic.ts';
import type { DhcpPacket } from './packet.ts';
import type { DhcpPolicy, Reservation } from './policy.ts';
import type { Site } from './site.ts';
import type { SchoolMemory } from './strategy.ts';

/** What the exchanges of one network work with. */
export type ExchangeContext = {
  readonly site: Site;
  readonly policy: DhcpPolicy;
  readonly observer: DhcpObserver;
  readonly schools: SchoolMemory;
  readonly clock: Clock;
};

/** One request, read and located. */
export type Received = {
  readonly packet: DhcpPacket;
  readonly facts: ClientFacts;
  /** Text of giaddr, or undefined. */
  readonly relay: string | undefined;
  /** UDP source. */
  readonly from: { readonly address: string; readonly port: number };
  /** 67 or 4011. */
  readonly port: number;
};

/** What every event of a request says. */
export function who(
  context: ExchangeContext,
  received: Received,
): { interface: string; mac: string; xid: number; relay?: string } {
  return {
    interface: context.site.config.interface,
    mac: received.facts.mac,
    xid: received.packet.xid,
    ...(received.relay === undefined ? {} : { relay: received.relay }),
  };
}

/** The event of a request that asks for something. */
export function askedEvent(
  context: ExchangeContext,
  received: Received,
  kind: 'discover' | 'request' | 'inform',
): DhcpEvent {
  const { facts, packet, port } = received;
  const address = getU32(packet.options, OPTION.requestedAddress) ?? packet.ciaddr;
  return {
    ...who(context, received),
    kind,
    stage: facts.stage,
    userClass: facts.userClass,
    port,
    secs: packet.secs,
    ...(facts.arch === undefined ? {} : { arch: facts.arch }),
    ...(facts.uuid === undefined ? {} : { uuid: facts.uuid }),
    ...(facts.vendorClass === undefined ? {} : { vendorClass: facts.vendorClass }),
    ...(facts.hostName === undefined ? {} : { hostName: facts.hostName }),
    ...(address === 0 ? {} : { address: formatIpv4(address) }),
  };
}

/** How long a client's answer waits (boot facts 7 rule 13): its own delay, or the network's. */
export function replyDelayMs(
  { site }: ExchangeContext,
  reservation: Reservation | undefined,
): number {
  return reservation?.replyDelayMs ?? site.config.replyDelayMs ?? 0;
}

/** A foreign server is told of once in this time. */
const FOREIGN_QUIET_MS = 60_000;
/** Foreign servers remembered. */
const FOREIGN_SERVERS = 64;

/** Tells of other DHCP servers, each at most once a minute. */
export class ForeignServers {
  readonly #seen = new Map<string, number>();

  note(
    context: ExchangeContext,
    server: string,
    seenBy: ForeignServerSource,
    packet: { readonly xid: number; readonly mac: string },
  ): void {
    const nowMs = context.clock.monotonicMs();
    const before = this.#seen.get(server);
    if (before !== undefined && nowMs - before < FOREIGN_QUIET_MS) return;
    if (this.#seen.size >= FOREIGN_SERVERS && before === undefined) this.#seen.clear();
    this.#seen.set(server, nowMs);
    context.observer.dhcp({
      kind: 'foreign-server',
      interface: context.site.config.interface,
      mac: packet.mac,
      xid: packet.xid,
      server,
      seenBy,
    });
  }

  /** Servers heard of, for status displays. */
  list(): string[] {
    return [...this.#seen.keys()];
  }
}
