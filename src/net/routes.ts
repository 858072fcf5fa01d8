import { readFileSync } from 'node:fs';

const RTF_UP = 0x1;
const RTF_REJECT = 0x200;

/**
 * The interfaces that carry a default route, IPv4 or IPv6, of this network namespace: where a
 * stranger's DHCP server very likely answers already.
 */
export function defaultRouteInterfaces(): string[] {
  return parseDefaultRoutes(read('/proc/net/route'), read('/proc/net/ipv6_route'));
}

/** The same from the text of the two tables (proc(5)). */
export function parseDefaultRoutes(ipv4: string, ipv6: string): string[] {
  const names = new Set<string>();
  for (const line of ipv4.split('\n').slice(1)) {
    // Iface Destination Gateway Flags RefCnt Use Metric Mask …
    const [name = '', destination, , flags = '0', , , , mask] = line.trim().split(/\s+/);
    if (destination === '00000000' && mask === '00000000' && usable(flags)) names.add(name);
  }
  for (const line of ipv6.split('\n')) {
    // destination prefix source prefix next-hop metric refcnt use flags iface
    const fields = line.trim().split(/\s+/);
    const anywhere = /^0{32}$/.test(fields[0] ?? '') && fields[1] === '00';
    if (anywhere && usable(fields[8] ?? '0')) names.add(fields[9] ?? '');
  }
  return [...names].filter((n) => n !== '' && n !== 'lo');
}

function usable(hexFlags: string): boolean {
  const flags = Number.parseInt(hexFlags, 16);
  return (flags & RTF_UP) !== 0 && (flags & RTF_REJECT) === 0;
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // a kernel without IPv6
  }
}
