import { InternalError } from '#base/mod.ts';

/**
 * The 16 bytes of a GUID as GPT stores them: the first three groups little-endian, the rest as
 * written (UEFI 2.10 appendix A). Throws InternalError for text that is no GUID.
 */
export function encodeGuid(text: string): Uint8Array {
  const hex = text.replaceAll('-', '');
  if (!/^[0-9a-f]{32}$/i.test(hex)) throw new InternalError(`"${text}" is not a GUID`);
  const b = Buffer.from(hex, 'hex');
  b.subarray(0, 4).reverse();
  b.subarray(4, 6).reverse();
  b.subarray(6, 8).reverse();
  return new Uint8Array(b);
}

/** The text of the 16 bytes at `at`, upper case. */
export function decodeGuid(bytes: Uint8Array, at = 0): string {
  const b = Buffer.from(bytes.subarray(at, at + 16));
  b.subarray(0, 4).reverse();
  b.subarray(4, 6).reverse();
  b.subarray(6, 8).reverse();
  const hex = b.toString('hex').toUpperCase();
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    hex.slice(12, 16),
    hex.slice(16, 20),
    hex.slice(20),
  ].join('-');
}
