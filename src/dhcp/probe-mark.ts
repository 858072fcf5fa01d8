import { text } from './options/basic.ts';
import { OPTION } from './options/codes.ts';
import type { DhcpPacket } from './packet.ts';

/** Client identifier (RFC 2132 §9.14, type 0: no hardware address) of a search for servers. */
const PROBE_MARK = Buffer.concat([Uint8Array.of(0), text('polyboot looks for servers')]);

/** Marks a DISCOVER as a search for servers. */
export function markProbe(packet: DhcpPacket): void {
  packet.options.set(OPTION.clientIdentifier, PROBE_MARK);
}

/**
 * True for the search for servers of this very host, heard by itself: the kernel loops broadcasts
 * back. One of another host is answered like any client, so that it finds us.
 */
export function isOwnProbe(
  packet: DhcpPacket,
  from: string,
  ownAddresses: readonly string[],
): boolean {
  // From a relay on this host it is somebody else's.
  if (packet.giaddr !== 0 || !ownAddresses.includes(from)) return false;
  const mark = packet.options.get(OPTION.clientIdentifier);
  return mark !== undefined && PROBE_MARK.equals(mark);
}
