import { formatIpv4 } from '#base/mod.ts';
import { MESSAGE } from './options/codes.ts';
import { BROADCAST_FLAG, type DhcpPacket, ETHERNET } from './packet.ts';
import { hardwareAddress } from './facts.ts';

/** UDP ports of the protocol. */
export const SERVER_PORT = 67;
/** Port of the clients. */
export const CLIENT_PORT = 68;
/** PXE boot server ("BINL") port. */
export const BOOT_SERVER_PORT = 4011;

/** Where a reply goes. With `neighbour`, the address is put into the ARP table first. */
export type Destination = {
  readonly address: string;
  readonly port: number;
  /** MAC address of a client that cannot answer ARP yet. */
  readonly neighbour?: string;
};

const EVERYONE: Destination = { address: '255.255.255.255', port: CLIENT_PORT };

/**
 * Destination of a reply on port 67 (RFC 2131 §4.1, boot facts 7 rule 8): the relay; else the
 * client's own address when it has one; else broadcast when it asks for that, when its hardware is
 * not Ethernet or when no address is given away; else unicast by an ARP entry of our own making.
 */
export function destination(
  request: DhcpPacket,
  reply: { readonly yiaddr: number; readonly type: number },
): Destination {
  if (request.giaddr !== 0) return { address: formatIpv4(request.giaddr), port: SERVER_PORT };
  if (reply.type === MESSAGE.nak) return EVERYONE;
  if (request.ciaddr !== 0) return { address: formatIpv4(request.ciaddr), port: CLIENT_PORT };
  const broadcast = (request.flags & BROADCAST_FLAG) !== 0 || reply.yiaddr === 0;
  if (broadcast || request.htype !== ETHERNET || request.hlen !== 6) return EVERYONE;
  return {
    address: formatIpv4(reply.yiaddr),
    port: CLIENT_PORT,
    neighbour: hardwareAddress(request),
  };
}

/** Destination of a reply on port 4011: back to the client's own address and port. */
export function bootServerDestination(
  request: DhcpPacket,
  from: { readonly address: string; readonly port: number },
): Destination {
  if (request.ciaddr !== 0) return { address: formatIpv4(request.ciaddr), port: from.port };
  if (from.address !== '0.0.0.0') return { address: from.address, port: from.port };
  return EVERYONE;
}
