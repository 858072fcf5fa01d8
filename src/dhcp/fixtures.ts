import { FakeClock, parseIpv4 } from '#base/mod.ts';
import type { DhcpNetwork } from './config.ts';
import { Exchange } from './exchange.ts';
import { type ClientFacts, readFacts } from './facts.ts';
import type { JournalRecord } from './journal-record.ts';
import type { DhcpEvent } from './observer.ts';
import { text, u16, u32, u8 } from './options/basic.ts';
import { MESSAGE, OPTION } from './options/codes.ts';
import type { Outcome } from './outcome.ts';
import {
  BOOT_REQUEST,
  decodePacket,
  type DhcpPacket,
  emptyPacket,
  encodePacket,
} from './packet.ts';
import type { BootAnswer, BootRequest, Reservation } from './policy.ts';
import { prepareSite, type Site } from './site.ts';
import { SchoolMemory } from './strategy.ts';

/** Things that several tests of this folder need. */

/** Our own address in tests. */
export const SERVER = '10.77.0.1';

/** The number of a dotted quad known to be right. */
export function ip(address: string): number {
  return parseIpv4(address) ?? Number.NaN;
}

/** A MAC address by number, locally administered. */
export function macOf(n: number): string {
  const hex = n.toString(16).padStart(8, '0');
  return `52:54:${hex.match(/../g)?.join(':') ?? ''}`;
}

/** What a test client puts into its packets. */
export type ClientSketch = {
  readonly mac?: string;
  readonly xid?: number;
  readonly type?: number;
  readonly flags?: number;
  readonly ciaddr?: string;
  readonly giaddr?: string;
  readonly options?: readonly (readonly [number, Uint8Array])[];
};

/** A request as a client would send it. */
export function requestOf(sketch: ClientSketch): DhcpPacket {
  const packet = emptyPacket(BOOT_REQUEST);
  packet.xid = sketch.xid ?? 0x1234;
  packet.flags = sketch.flags ?? 0;
  packet.ciaddr = ip(sketch.ciaddr ?? '0.0.0.0');
  packet.giaddr = ip(sketch.giaddr ?? '0.0.0.0');
  const chaddr = Buffer.alloc(16);
  chaddr.set(Buffer.from((sketch.mac ?? macOf(1)).replaceAll(':', ''), 'hex'));
  packet.chaddr = chaddr;
  if (sketch.type !== 0) packet.options.set(OPTION.messageType, u8(sketch.type ?? 1));
  for (const [code, value] of sketch.options ?? []) packet.options.set(code, value);
  return packet;
}

/** The same as bytes. */
export function bytesOf(sketch: ClientSketch): Buffer {
  return encodePacket(requestOf(sketch));
}

/** Options of PXE firmware of an architecture (option 93). */
export function pxeOptions(arch: number, kind = 'PXEClient'): [number, Uint8Array][] {
  const digits = String(arch).padStart(5, '0');
  return [
    [OPTION.vendorClass, text(`${kind}:Arch:${digits}:UNDI:003000`)],
    [OPTION.clientArchitecture, u16(arch)],
    [OPTION.clientUuid, Buffer.concat([u8(0), Buffer.alloc(16, 0xab)])],
    [OPTION.maximumMessageSize, u16(1472)],
    [OPTION.parameterRequestList, Uint8Array.of(1, 3, 6, 43, 54, 60, 66, 67, 97)],
  ];
}

/** Options of iPXE, with its bare user class. */
export function ipxeOptions(arch = 0): [number, Uint8Array][] {
  return [...pxeOptions(arch), [OPTION.userClass, text('iPXE')]];
}

/** The facts of a sketched request. */
export function factsOf(sketch: ClientSketch): ClientFacts {
  return readFacts(requestOf(sketch));
}

/** How a test network differs from the usual one. */
export type BenchOptions = {
  readonly network?: Partial<DhcpNetwork>;
  readonly pool?: readonly { readonly first: string; readonly last: string }[];
  readonly authoritative?: boolean;
  readonly leaseSeconds?: number;
  /** Default `lab.test`; given as undefined: none. */
  readonly domainName?: string | undefined;
  readonly reservations?: Readonly<Record<string, Reservation>>;
  readonly boot?: (request: BootRequest) => BootAnswer | undefined;
};

/** One network without sockets: packets in, outcomes out, every event and record kept. */
export class Bench {
  readonly clock = new FakeClock();
  readonly events: DhcpEvent[] = [];
  readonly asked: BootRequest[] = [];
  readonly records: JournalRecord[] = [];
  readonly schools = new SchoolMemory();
  readonly site: Site;
  readonly exchange: Exchange;
  readonly #fixed: Set<string | undefined>;

  constructor(options: BenchOptions = {}) {
    const reservations = options.reservations ?? {};
    const fixed = new Set(Object.values(reservations).map((r) => r.address));
    this.#fixed = fixed;
    const policy = {
      reservationFor: (client: { readonly mac: string }) => reservations[client.mac],
      isReserved: (address: string) => fixed.has(address),
      bootAnswer: (request: BootRequest) => {
        this.asked.push(request);
        return options.boot?.(request);
      },
    };
    const subnet = {
      network: '10.77.0.0/24',
      pool: options.pool ?? [{ first: '10.77.0.50', last: '10.77.0.99' }],
      leaseSeconds: options.leaseSeconds ?? 600,
      routers: [SERVER],
      dnsServers: [SERVER],
      ...('domainName' in options ? {} : { domainName: 'lab.test' }),
      authoritative: options.authoritative ?? true,
    };
    const network: DhcpNetwork = {
      interface: 'br0',
      mode: 'server',
      serverAddress: SERVER,
      subnets: [subnet],
      ...options.network,
    };
    this.site = prepareSite(network, policy);
    const observer = {
      dhcp: (event: DhcpEvent) => {
        this.events.push(event);
      },
    };
    const { site, schools, clock } = this;
    this.exchange = new Exchange({ site, policy, observer, schools, clock });
  }

  /** Lays an address down from now on; whose it is, the reservations say. */
  reserve(address: string): void {
    this.#fixed.add(address);
  }

  receive(sketch: ClientSketch, port = 67, from = '0.0.0.0'): Outcome {
    const source = { address: from, port: port === 4011 ? 4011 : 68 };
    return this.exchange.receive(bytesOf(sketch), source, port);
  }

  /** Sends and expects a reply; commits at once. */
  answer(sketch: ClientSketch, port = 67, from = '0.0.0.0'): Answer | undefined {
    const outcome = this.receive(sketch, port, from);
    if (outcome.kind === 'send')
      return { packet: decodePacket(outcome.send.bytes), ...outcome.send };
    if (outcome.kind !== 'commit') return undefined;
    this.records.push(outcome.pending.record);
    const send = this.exchange.settle(outcome.pending, 'durable');
    return send === undefined ? undefined : { packet: decodePacket(send.bytes), ...send };
  }

  /** DISCOVER, then REQUEST of what was offered; the ACK, or undefined. */
  dora(mac: string, options: ClientSketch['options'] = []): Answer | undefined {
    const offer = this.answer({ mac, type: MESSAGE.discover, options });
    if (offer === undefined) return undefined;
    return this.answer({
      mac,
      type: MESSAGE.request,
      options: [
        [OPTION.requestedAddress, u32(offer.packet.yiaddr)],
        [OPTION.serverIdentifier, u32(ip(SERVER))],
        ...options,
      ],
    });
  }

  kinds(): string[] {
    return this.events.map((e) => e.kind);
  }
}

/** A reply as bytes, decoded, and with its destination. */
export type Answer = {
  readonly packet: DhcpPacket;
  readonly bytes: Buffer;
  readonly to: { readonly address: string; readonly port: number; readonly neighbour?: string };
  readonly delayMs: number;
};
