import { DecodeError } from './errors.ts';

/** A MAC address as lower-case `aa:bb:cc:dd:ee:ff`. */
export function formatMac(bytes: Uint8Array): string {
  return Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join(':');
}

/**
 * Any usual spelling (`AA-BB-…`, `aabb.ccdd.eeff`, bare hex) → lower-case with colons, or
 * undefined.
 */
export function normalizeMac(text: string): string | undefined {
  const hex = text.trim().toLowerCase().replaceAll(/[:.-]/g, '');
  if (!/^[0-9a-f]{12}$/.test(hex)) return undefined;
  return hex.match(/../g)?.join(':');
}

/** The six bytes of a normalised MAC address. */
export function macBytes(mac: string): Uint8Array {
  const normal = normalizeMac(mac);
  if (normal === undefined) throw new DecodeError('mac', `"${mac}" is not a MAC address`, 0);
  return Buffer.from(normal.replaceAll(':', ''), 'hex');
}

/** "10.0.0.1" → 0x0a000001, or undefined when it is no dotted quad. */
export function parseIpv4(text: string): number | undefined {
  const parts = text.split('.');
  if (parts.length !== 4) return undefined;
  let value = 0;
  for (const part of parts) {
    if (!/^(0|[1-9]\d{0,2})$/.test(part)) return undefined;
    const byte = Number(part);
    if (byte > 255) return undefined;
    value = value * 256 + byte;
  }
  return value;
}

/** 0x0a000001 → "10.0.0.1". */
export function formatIpv4(value: number): string {
  return `${value >>> 24}.${(value >>> 16) & 255}.${(value >>> 8) & 255}.${value & 255}`;
}

/** "10.0.0.0/24" → network, mask and broadcast as numbers, or undefined. */
export function parseCidr(
  text: string,
):
  | { address: number; prefix: number; mask: number; network: number; broadcast: number }
  | undefined {
  const [ip, bits, more] = text.split('/');
  const address = parseIpv4(ip ?? '');
  if (address === undefined || more !== undefined || !/^\d{1,2}$/.test(bits ?? ''))
    return undefined;
  const prefix = Number(bits);
  if (prefix > 32) return undefined;
  const mask = prefix === 0 ? 0 : (0xffffffff << (32 - prefix)) >>> 0;
  const network = (address & mask) >>> 0;
  return { address, prefix, mask, network, broadcast: (network | ~mask) >>> 0 };
}
