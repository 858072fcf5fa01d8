import { parseIpv4 } from '#base/mod.ts';
import type { Options } from './raw.ts';

/** A one-byte option, or undefined when absent or of another length. */
export function getU8(options: Options, code: number): number | undefined {
  const v = options.get(code);
  return v?.length === 1 ? v[0]! : undefined;
}

/** A two-byte big-endian option, or undefined. */
export function getU16(options: Options, code: number): number | undefined {
  const v = options.get(code);
  return v?.length === 2 ? v[0]! * 256 + v[1]! : undefined;
}

/** A four-byte big-endian option (also one IPv4 address), or undefined. */
export function getU32(options: Options, code: number): number | undefined {
  const v = options.get(code);
  return v?.length === 4 ? u32At(v, 0) : undefined;
}

/** A list of IPv4 addresses as numbers; undefined when absent, empty or not a multiple of four. */
export function getIpv4List(options: Options, code: number): number[] | undefined {
  const v = options.get(code);
  if (v === undefined || v.length === 0 || v.length % 4 !== 0) return undefined;
  return Array.from({ length: v.length / 4 }, (_, n) => u32At(v, n * 4));
}

/**
 * A text option as Latin-1 (every byte survives), cut at the first NUL: clients terminate or do not
 * (RFC 2132 §2 says servers must not count on it). Undefined when absent or empty.
 */
export function getText(options: Options, code: number): string | undefined {
  const v = options.get(code);
  if (v === undefined) return undefined;
  return cString(v) || undefined;
}

/** Latin-1 text up to the first NUL or the end. */
export function cString(bytes: Uint8Array): string {
  const nul = bytes.indexOf(0);
  const length = nul < 0 ? bytes.length : nul;
  return Buffer.from(bytes.buffer, bytes.byteOffset, length).toString('latin1');
}

/** The big-endian number of four bytes at `at`. */
export function u32At(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0
  );
}

/** One byte as an option value. */
export function u8(value: number): Uint8Array {
  return Uint8Array.of(value & 255);
}

/** Two big-endian bytes as an option value. */
export function u16(value: number): Uint8Array {
  return Uint8Array.of((value >>> 8) & 255, value & 255);
}

/** Four big-endian bytes as an option value. */
export function u32(value: number): Uint8Array {
  return Uint8Array.of(value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255);
}

/** IPv4 addresses as an option value; texts that are no dotted quad are left out. */
export function ipv4List(addresses: readonly string[]): Uint8Array {
  const numbers = addresses.map((a) => parseIpv4(a)).filter((n) => n !== undefined);
  return Buffer.concat(numbers.map((n) => u32(n)));
}

/** Text as an option value, without a terminator (RFC 2132 §2). */
export function text(value: string): Uint8Array {
  return Buffer.from(value, 'latin1');
}

/** Text with a NUL behind it: "some PXE ROMs have bugs" that need one in 66 and 67 (dnsmasq). */
export function terminated(value: string): Uint8Array {
  return Buffer.from(`${value}\0`, 'latin1');
}
