import type { DhcpClient, BootStage } from './policy.ts';
import { getText, getU16, getU8 } from './options/basic.ts';
import {
  clientArchitecture,
  clientIdentifier,
  clientUuid,
  HTTP_CLIENT,
  isIpxe,
  PXE_CLIENT,
  userClasses,
} from './options/client.ts';
import { OPTION } from './options/codes.ts';
import { ETHERNET, type DhcpPacket } from './packet.ts';

/** What one packet says about its sender, read once. */
export type ClientFacts = {
  /** Option 53; 0 for BOOTP, which has none; undefined when present and malformed. */
  readonly type: number | undefined;
  readonly mac: string;
  /** The name under which leases are kept. */
  readonly key: string;
  readonly clientId: string | undefined;
  readonly uuid: string | undefined;
  readonly hostName: string | undefined;
  readonly stage: BootStage;
  readonly arch: number | undefined;
  readonly vendorClass: string | undefined;
  readonly userClass: readonly string[];
  /** Option 55, raw; undefined when the client did not say what it wants. */
  readonly wanted: Uint8Array | undefined;
  /** Largest DHCP message the client takes, without IP and UDP headers. */
  readonly limitBytes: number;
};

/** IPv4 and UDP headers, which option 57 and MTUs include. */
const IP_UDP_BYTES = 28;
/** RFC 2131 §2: every client takes an IP datagram of 576 bytes; no option 57 may say less. */
const DEFAULT_DATAGRAM_BYTES = 576;
const ETHERNET_MTU_BYTES = 1500;

const HEX: readonly string[] = Array.from({ length: 256 }, (_, n) =>
  n.toString(16).padStart(2, '0'),
);

/** The hardware address as text; any `hlen` from 1 to 16. */
export function hardwareAddress(packet: DhcpPacket): string {
  let text = '';
  for (let n = 0; n < packet.hlen; n++) {
    text += n === 0 ? HEX[packet.chaddr[n]!]! : `:${HEX[packet.chaddr[n]!]!}`;
  }
  return text;
}

/**
 * Reads the facts of a request. `identity` decides what a lease hangs on: by default the MAC, since
 * the firmware, iPXE and the system of one machine send three different client identifiers.
 */
export function readFacts(
  packet: DhcpPacket,
  identity: 'mac' | 'client-id' = 'mac',
  mtuBytes = ETHERNET_MTU_BYTES,
): ClientFacts {
  const { options } = packet;
  const mac = hardwareAddress(packet);
  const clientId = clientIdentifier(options);
  const vendorClass = getText(options, OPTION.vendorClass);
  const userClass = userClasses(options);
  const byMac = (identity === 'mac' && isEthernet(packet)) || clientId === undefined;
  return {
    type: options.has(OPTION.messageType) ? getU8(options, OPTION.messageType) : 0,
    mac,
    key: byMac ? mac : `id:${clientId}`,
    clientId,
    uuid: clientUuid(options),
    hostName: getText(options, OPTION.hostName),
    stage: stageOf(vendorClass, userClass),
    arch: clientArchitecture(options),
    vendorClass,
    userClass,
    wanted: options.get(OPTION.parameterRequestList),
    limitBytes: replyLimit(getU16(options, OPTION.maximumMessageSize), mtuBytes),
  };
}

function isEthernet(packet: DhcpPacket): boolean {
  return packet.htype === ETHERNET && packet.hlen === 6;
}

/**
 * iPXE is known by its user class alone: option 175 also comes from an iPXE that plays vendor
 * firmware, and keying on it would hand that one a script it cannot run.
 */
export function stageOf(vendorClass: string | undefined, userClass: readonly string[]): BootStage {
  if (isIpxe(userClass)) return 'ipxe';
  if (vendorClass === undefined) return 'none';
  if (vendorClass.startsWith(HTTP_CLIENT)) return 'http-client';
  if (vendorClass.startsWith(PXE_CLIENT)) return 'firmware';
  return 'none';
}

/** Largest DHCP message for a client that sent `option57` on a link of `mtuBytes`. */
export function replyLimit(option57: number | undefined, mtuBytes: number): number {
  const allowed = Math.max(option57 ?? 0, DEFAULT_DATAGRAM_BYTES);
  return Math.min(allowed, Math.max(mtuBytes, DEFAULT_DATAGRAM_BYTES)) - IP_UDP_BYTES;
}

/** The client as the policy knows it. */
export function clientOf(
  facts: ClientFacts,
  networkInterface: string,
  relay: string | undefined,
): DhcpClient {
  return {
    mac: facts.mac,
    interface: networkInterface,
    ...(facts.clientId === undefined ? {} : { clientId: facts.clientId }),
    ...(facts.uuid === undefined ? {} : { uuid: facts.uuid }),
    ...(facts.hostName === undefined ? {} : { hostName: facts.hostName }),
    ...(relay === undefined ? {} : { relay }),
  };
}

/** True when the client asks for the option, or sent no list at all (RFC 2131 §4.3.1). */
export function wants(facts: ClientFacts, code: number): boolean {
  return facts.wanted === undefined || facts.wanted.includes(code);
}
