import { OPTION } from './options/codes.ts';
import { type DhcpPacket, packetBytes } from './packet.ts';

/**
 * Options in the order in which they are given up when a reply is larger than the client takes:
 * first what repeats the header, then comfort, then what a client can guess or ask for again. What
 * is not listed is never dropped: message type, identifiers, lease time, mask, PXE and iPXE, relay.
 */
const EXPENDABLE: readonly number[] = [
  OPTION.tftpServerName,
  OPTION.ntpServers,
  OPTION.domainName,
  OPTION.hostName,
  OPTION.interfaceMtu,
  OPTION.broadcastAddress,
  OPTION.rebindingTime,
  OPTION.renewalTime,
  OPTION.message,
  OPTION.dnsServers,
  OPTION.clientIdentifier,
  OPTION.router,
  OPTION.clientUuid,
];

/**
 * Drops options until the packet fits `limitBytes`, and returns the codes dropped, or undefined
 * when
 * even the bare reply is too large (then nothing may be sent). Option 67 goes only while the header
 * carries the same name.
 */
export function fitPacket(packet: DhcpPacket, limitBytes: number): number[] | undefined {
  const dropped: number[] = [];
  let length = packetBytes(packet);
  if (length <= limitBytes) return dropped;
  const order = packet.file === '' ? EXPENDABLE : [OPTION.bootFileName as number, ...EXPENDABLE];
  for (const code of order) {
    if (!packet.options.delete(code)) continue;
    dropped.push(code);
    length = packetBytes(packet);
    if (length <= limitBytes) return dropped;
  }
  return undefined;
}
