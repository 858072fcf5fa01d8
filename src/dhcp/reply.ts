import type { BootFields } from './boot-fields.ts';
import { wants, type ClientFacts } from './facts.ts';
import { text, u32, u8 } from './options/basic.ts';
import { MESSAGE, OPTION, type MessageType } from './options/codes.ts';
import type { Options } from './options/raw.ts';
import { BOOT_REPLY, BROADCAST_FLAG, type DhcpPacket } from './packet.ts';

/**
 * Reply constructors, named by intent. Each copies what RFC 2131 table 3 says it copies, and
 * nothing else of the request gets into a reply.
 */

/** A request with what was read from it, and the place it was received. */
export type Asked = {
  readonly packet: DhcpPacket;
  readonly facts: ClientFacts;
  /** Our address, as a number. */
  readonly server: number;
  /** The subnet's own options by code, in the order they are sent. */
  readonly subnetOptions: ReadonlyMap<number, Uint8Array>;
};

/** What a client is given. */
export type Grant = {
  readonly address: number;
  readonly seconds: number;
  readonly hostName?: string | undefined;
};

/** Options of a subnet that are sent without being asked for: no client works without them. */
const ALWAYS: ReadonlySet<number> = new Set([OPTION.subnetMask]);

/** DHCPOFFER (RFC 2131 §4.3.1). */
export function offer(asked: Asked, grant: Grant, boot?: BootFields): DhcpPacket {
  const packet = reply(asked, MESSAGE.offer);
  packet.yiaddr = grant.address;
  return leaseReply(packet, asked, grant, boot);
}

/** DHCPACK to a REQUEST (RFC 2131 §4.3.1): ciaddr is the client's. */
export function ack(asked: Asked, grant: Grant, boot?: BootFields): DhcpPacket {
  const packet = reply(asked, MESSAGE.ack);
  packet.ciaddr = asked.packet.ciaddr;
  packet.yiaddr = grant.address;
  return leaseReply(packet, asked, grant, boot);
}

/** DHCPACK to an INFORM (RFC 2131 §4.3.5): no address, no lease times. */
export function informAck(asked: Asked, boot?: BootFields): DhcpPacket {
  const packet = reply(asked, MESSAGE.ack);
  packet.ciaddr = asked.packet.ciaddr;
  putSubnet(packet.options, asked, undefined);
  putBoot(packet, boot);
  return echo(packet, asked);
}

/** DHCPNAK (RFC 2131 §4.3.2): behind a relay the broadcast flag is set, or it would not arrive. */
export function nak(asked: Asked, message: string): DhcpPacket {
  const packet = reply(asked, MESSAGE.nak);
  if (packet.giaddr !== 0) packet.flags |= BROADCAST_FLAG;
  packet.options.set(OPTION.message, text(message));
  return echo(packet, asked);
}

/**
 * The offer of a proxy: no address, our class and identifier (boot facts 3). The broadcast flag
 * is set unless the client has an address, since nobody could answer ARP for it yet.
 */
export function proxyOffer(asked: Asked, boot: BootFields): DhcpPacket {
  const packet = reply(asked, MESSAGE.offer);
  if (asked.packet.ciaddr === 0) packet.flags |= BROADCAST_FLAG;
  putBoot(packet, boot);
  return echo(packet, asked);
}

/** The answer of port 4011: to a DISCOVER an OFFER, to REQUEST and INFORM an ACK. */
export function bootServerReply(asked: Asked, boot: BootFields): DhcpPacket {
  const discover = asked.facts.type === MESSAGE.discover;
  const packet = reply(asked, discover ? MESSAGE.offer : MESSAGE.ack);
  packet.ciaddr = asked.packet.ciaddr;
  putBoot(packet, boot);
  return echo(packet, asked);
}

/** A BOOTP reply (RFC 951, RFC 1534): a header, and as few options as fit 64 bytes. */
export function bootpReply(asked: Asked, grant: Grant, boot?: BootFields): DhcpPacket {
  const packet = reply(asked, undefined);
  packet.yiaddr = grant.address;
  packet.siaddr = asked.server;
  for (const code of [OPTION.subnetMask, OPTION.router, OPTION.dnsServers]) {
    const value = asked.subnetOptions.get(code);
    if (value !== undefined) packet.options.set(code, value.subarray(0, 8));
  }
  if (grant.hostName !== undefined) {
    packet.options.set(OPTION.hostName, text(grant.hostName).subarray(0, 16));
  }
  if (boot !== undefined) packet.file = boot.file;
  return packet;
}

function reply(asked: Asked, type: MessageType | undefined): DhcpPacket {
  const { packet: request, server } = asked;
  const options: Options = new Map();
  if (type !== undefined) {
    options.set(OPTION.messageType, u8(type));
    // Rule 6: always; without it a PXE client broadcasts to port 4011 (smee).
    options.set(OPTION.serverIdentifier, u32(server));
  }
  return {
    op: BOOT_REPLY,
    htype: request.htype,
    hlen: request.hlen,
    hops: 0,
    xid: request.xid,
    secs: 0,
    flags: request.flags,
    ciaddr: 0,
    yiaddr: 0,
    siaddr: 0,
    giaddr: request.giaddr,
    chaddr: request.chaddr,
    sname: '',
    file: '',
    options,
  };
}

function leaseReply(
  packet: DhcpPacket,
  asked: Asked,
  grant: Grant,
  boot: BootFields | undefined,
): DhcpPacket {
  const { options } = packet;
  options.set(OPTION.leaseTime, u32(grant.seconds));
  if (asked.facts.wanted?.includes(OPTION.renewalTime) === true) {
    options.set(OPTION.renewalTime, u32(Math.floor(grant.seconds / 2)));
  }
  if (asked.facts.wanted?.includes(OPTION.rebindingTime) === true) {
    options.set(OPTION.rebindingTime, u32(Math.floor((grant.seconds * 7) / 8)));
  }
  putSubnet(options, asked, grant.hostName);
  putBoot(packet, boot);
  return echo(packet, asked);
}

function putSubnet(options: Options, asked: Asked, hostName: string | undefined): void {
  for (const [code, value] of asked.subnetOptions) {
    if (ALWAYS.has(code) || wants(asked.facts, code)) options.set(code, value);
  }
  if (hostName !== undefined) options.set(OPTION.hostName, text(hostName));
}

function putBoot(packet: DhcpPacket, boot: BootFields | undefined): void {
  if (boot === undefined) return;
  packet.siaddr = boot.siaddr;
  packet.sname = boot.sname;
  packet.file = boot.file;
  for (const [code, value] of boot.options) packet.options.set(code, value);
}

/**
 * What is handed back as it came: client identifier (RFC 6842 §3), UUID (rule 4; of any length, it
 * is the client's own), relay information (RFC 3046 §2.2), last.
 */
function echo(packet: DhcpPacket, asked: Asked): DhcpPacket {
  for (const code of ECHOED) {
    const value = asked.packet.options.get(code);
    if (value !== undefined) packet.options.set(code, value);
  }
  return packet;
}

/** Options copied from request to reply, in this order, behind all others. */
export const ECHOED: readonly number[] = [
  OPTION.clientIdentifier,
  OPTION.clientUuid,
  OPTION.relayAgent,
];
