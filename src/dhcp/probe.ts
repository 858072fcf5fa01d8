import { randomBytes } from 'node:crypto';
import {
  type Clock,
  DecodeError,
  EnvironmentError,
  formatIpv4,
  systemClock,
  UserError,
} from '#base/mod.ts';
import { defaultRouteInterfaces, UdpSocket } from '#net/mod.ts';
import type { DhcpNetwork } from './config.ts';
import { CLIENT_PORT, SERVER_PORT } from './deliver.ts';
import { getU32, getU8, text, u16, u8 } from './options/basic.ts';
import { PXE_CLIENT } from './options/client.ts';
import { MESSAGE, OPTION } from './options/codes.ts';
import {
  BOOT_REPLY,
  BOOT_REQUEST,
  BROADCAST_FLAG,
  decodePacket,
  emptyPacket,
  encodePacket,
} from './packet.ts';
import { markProbe } from './probe-mark.ts';

/** A DHCP or proxyDHCP server that answered. Addresses are dotted quads. */
export type FoundServer = {
  readonly server: string;
  /** The address it offered; absent for a proxy. */
  readonly offered?: string;
  readonly proxy: boolean;
  /** Latin-1 text as sent. */
  readonly bootFile?: string;
};

/**
 * Servers answer within milliseconds; ISC pings the address first (1 s), dnsmasq too (3 s, its
 * PING_WAIT), and either may be busy.
 */
const PROBE_MS = 3500;
/** Asked again in between: the first DISCOVER of a fresh port is often lost. */
const REPEAT_MS = 700;

/**
 * The DISCOVER of a probe: a random, locally administered MAC, the broadcast flag, and a mark by
 * which our own server on this host knows it and is silent.
 */
export function probeDiscover(xid: number, mac: Uint8Array): Buffer {
  const packet = emptyPacket(BOOT_REQUEST);
  packet.xid = xid;
  packet.flags = BROADCAST_FLAG;
  packet.chaddr = mac;
  packet.options.set(OPTION.messageType, u8(MESSAGE.discover));
  packet.options.set(OPTION.parameterRequestList, Uint8Array.of(1, 3, 6, 54, 66, 67));
  // A proxy answers PXE clients only.
  packet.options.set(OPTION.vendorClass, text(`${PXE_CLIENT}:Arch:00000:UNDI:002001`));
  packet.options.set(OPTION.clientArchitecture, u16(0));
  markProbe(packet);
  return encodePacket(packet);
}

/** The server behind an OFFER to our probe, or undefined when the bytes are something else. */
export function readProbeOffer(bytes: Uint8Array, xid: number): FoundServer | undefined {
  try {
    const packet = decodePacket(bytes);
    const type = getU8(packet.options, OPTION.messageType);
    if (packet.op !== BOOT_REPLY || packet.xid !== xid || type !== MESSAGE.offer) return undefined;
    const server = getU32(packet.options, OPTION.serverIdentifier) ?? packet.siaddr;
    if (server === 0) return undefined;
    return {
      server: formatIpv4(server),
      proxy: packet.yiaddr === 0,
      ...(packet.yiaddr === 0 ? {} : { offered: formatIpv4(packet.yiaddr) }),
      ...(packet.file === '' ? {} : { bootFile: packet.file }),
    };
  } catch (e) {
    if (e instanceof DecodeError) return undefined;
    throw e;
  }
}

/**
 * Asks on an interface who serves DHCP there, and returns all that answered within 3.5 seconds.
 * Takes no lease: nothing is requested, and the offer lapses. `enough` ends the wait early. Throws
 * EnvironmentError when port 68 or the interface cannot be used.
 */
export async function probeServers(
  networkInterface: string,
  options: { readonly clock?: Clock; readonly enough?: (found: FoundServer) => boolean } = {},
): Promise<FoundServer[]> {
  const clock = options.clock ?? systemClock;
  const found = new Map<string, FoundServer>();
  const seed = randomBytes(10);
  const xid = seed.readUInt32BE(0);
  const mac = seed.subarray(4, 10);
  mac[0] = (mac[0]! & 0xfc) | 0x02;
  let finish: () => void = () => undefined;
  const ended = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const socket = UdpSocket.open(
    {
      family: 4,
      interface: networkInterface,
      port: CLIENT_PORT,
      broadcast: true,
      reuseAddress: true,
    },
    {
      onMessage: (bytes) => {
        const server = readProbeOffer(bytes, xid);
        if (server === undefined) return;
        found.set(`${server.server} ${server.proxy}`, server);
        if (options.enough?.(server) === true) finish();
      },
    },
  );
  const ask = (): void => {
    socket.send(probeDiscover(xid, mac), SERVER_PORT, '255.255.255.255');
  };
  ask();
  const timers = [
    clock.after(REPEAT_MS, ask),
    clock.after(2 * REPEAT_MS, ask),
    clock.after(PROBE_MS, finish),
  ];
  await ended;
  for (const cancel of timers) cancel();
  await socket.close();
  return [...found.values()];
}

/**
 * Safe by default: throws UserError `conflict` when the network must not have us as its DHCP
 * server, because another one answers there or because the host's default route leaves by it.
 * `force` in the configuration overrides; servers that are proxies only do not count.
 */
export async function assertMayServe(network: DhcpNetwork): Promise<void> {
  if (network.force === true) return;
  const name = network.interface;
  if (defaultRouteInterfaces().includes(name)) {
    throw new UserError('conflict', 'dhcp-default-route', {
      what: `will not be a DHCP server on ${name}`,
      why: 'the default route leaves by it, so that network has a router that gives addresses',
      todo: 'use proxy mode there, or say force if it is truly meant',
    });
  }
  const real = (found: FoundServer): boolean =>
    !found.proxy && found.server !== network.serverAddress;
  const others = (await probe(name, real)).filter(real);
  const first = others[0];
  if (first === undefined) return;
  throw new UserError('conflict', 'dhcp-other-server', {
    what: `will not be a DHCP server on ${name}`,
    why: `${first.server} answers there already (it offered ${first.offered ?? 'an address'})`,
    todo: 'use proxy mode there, stop the other server, or say force if it is truly meant',
  });
}

async function probe(
  name: string,
  enough: (found: FoundServer) => boolean,
): Promise<FoundServer[]> {
  try {
    return await probeServers(name, { enough });
  } catch (e) {
    // Something holds port 68: a DHCP client, so this network has a server.
    if (e instanceof EnvironmentError && e.code === 'EADDRINUSE') {
      throw new UserError('conflict', 'dhcp-client-running', {
        what: `will not be a DHCP server on ${name}`,
        why: 'a DHCP client runs on it, so another server gives the addresses there',
        todo: `give ${name} a fixed address, use proxy mode, or say force`,
      });
    }
    throw e;
  }
}
