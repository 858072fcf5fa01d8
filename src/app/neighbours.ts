import { readFileSync } from 'node:fs';
import { normalizeMac } from '#base/mod.ts';

/** Entry is complete (ATF_COM, linux/if_arp.h): the kernel has heard from it. */
const COMPLETE = 0x2;

/**
 * The MAC address that the kernel's neighbour table has for an IPv4 address, or undefined. Read
 * anew each time: it is asked once per script, and the table is a few lines.
 */
export function neighbourMac(address: string): string | undefined {
  return parseNeighbours(readTable()).get(address);
}

/** `/proc/net/arp` (proc(5)) → IPv4 address → MAC. Incomplete entries are left out. */
export function parseNeighbours(text: string): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const line of text.split('\n').slice(1)) {
    const [address = '', , flags = '0', mac = ''] = line.trim().split(/\s+/);
    const normal = normalizeMac(mac);
    if ((Number(flags) & COMPLETE) !== 0 && normal !== undefined) found.set(address, normal);
  }
  return found;
}

function readTable(): string {
  try {
    return readFileSync('/proc/net/arp', 'utf8');
  } catch {
    return ''; // no IPv4, or /proc not mounted
  }
}
