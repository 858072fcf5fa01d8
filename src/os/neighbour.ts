import { closeSync } from 'node:fs';
import { UserError, macBytes, parseIpv4 } from '#base/mod.ts';
import { bindCall, check } from './libc.ts';
import { interfaceNameBytes } from './interface-name.ts';

/**
 * ARP entries by hand. A DHCP client that asked for a unicast answer cannot answer ARP yet: its
 * address is in the offer that we are about to send (RFC 2131 §4.1), so we write the entry first.
 */
const SIOCDARP = 0x8953;
const SIOCSARP = 0x8955;
const ATF_COM = 0x02;
const ARPHRD_ETHER = 1;
const AF_INET = 2;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;

const socket = bindCall('int socket(int family, int type, int protocol)');
const ioctl = bindCall('int ioctl(int fd, unsigned long request, void *argument)');

/**
 * Enters `ipv4` → `mac` in the neighbour table of `interfaceName`, as the kernel's own ARP would
 * (it ages). Needs CAP_NET_ADMIN. Throws UserError `invalid` for a bad address, EnvironmentError.
 */
export function setNeighbour(interfaceName: string, ipv4: string, mac: string): void {
  change(SIOCSARP, interfaceName, ipv4, macBytes(mac));
}

/**
 * Takes the entry of `ipv4` out of the table, so that the next packet to it asks anew: an entry
 * counts as complete for as long as nothing contradicts it. Needs CAP_NET_ADMIN. Throws UserError
 * `invalid` for a bad address, EnvironmentError (`ENXIO`: there was none).
 */
export function forgetNeighbour(interfaceName: string, ipv4: string): void {
  change(SIOCDARP, interfaceName, ipv4, new Uint8Array(0));
}

function change(request: number, interfaceName: string, ipv4: string, mac: Uint8Array): void {
  const address = parseIpv4(ipv4);
  if (address === undefined) {
    throw new UserError('invalid', 'ipv4', { what: `"${ipv4}" is no IPv4 address` });
  }
  // struct arpreq { sockaddr pa, ha; int flags; sockaddr netmask; char dev[16] }
  const entry = new Uint8Array(68);
  const view = new DataView(entry.buffer);
  view.setUint16(0, AF_INET, true);
  view.setUint32(4, address);
  view.setUint16(16, ARPHRD_ETHER, true);
  entry.set(mac, 18);
  view.setInt32(32, ATF_COM, true);
  entry.set(interfaceNameBytes(interfaceName), 52);
  const what = `cannot change ${ipv4} in the ARP table of ${interfaceName}`;
  const fd = check(socket()(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), what);
  try {
    check(ioctl()(fd, request, entry), what, 'run as root (CAP_NET_ADMIN)');
  } finally {
    closeSync(fd);
  }
}
