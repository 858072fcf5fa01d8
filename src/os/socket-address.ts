import { isIPv4 } from 'node:net';
import ipaddr from 'ipaddr.js';
import { UserError, parseIpv4 } from '#base/mod.ts';
import { interfaceIndex } from './interface-name.ts';

export const AF_INET = 2;
export const AF_INET6 = 10;

/**
 * The kernel's form of an address: sockaddr_in (16 bytes) or sockaddr_in6 (28). An IPv6 address may
 * carry its zone (`fe80::1%eth0`). Throws UserError `invalid` when `address` is no IP address.
 */
export function socketAddress(address: string, port: number): Uint8Array {
  return isIPv4(address) ? address4(address, port) : address6(address, port);
}

function address4(address: string, port: number): Uint8Array {
  const out = new Uint8Array(16);
  const view = new DataView(out.buffer);
  view.setUint16(0, AF_INET, true);
  view.setUint16(2, port);
  view.setUint32(4, parseIpv4(address) ?? 0);
  return out;
}

function address6(address: string, port: number): Uint8Array {
  const [ip = '', zone] = address.split('%');
  if (!ipaddr.IPv6.isValid(ip)) {
    throw new UserError('invalid', 'ip-address', { what: `"${address}" is no IP address` });
  }
  const out = new Uint8Array(28);
  const view = new DataView(out.buffer);
  view.setUint16(0, AF_INET6, true);
  view.setUint16(2, port);
  out.set(ipaddr.IPv6.parse(ip).toByteArray(), 8);
  if (zone !== undefined) {
    view.setUint32(24, /^\d+$/.test(zone) ? Number(zone) : interfaceIndex(zone), true);
  }
  return out;
}
