import { architecture } from '../architecture.ts';
import { cString } from './basic.ts';
import { OPTION } from './codes.ts';
import type { Options } from './raw.ts';

/** What a client says of itself: options 55, 60, 61, 77, 93, 94 and 97. */

/** RFC 4578 §2.3: a type byte (0) and the 16 bytes of the UUID. */
const UUID_OPTION_BYTES = 17;

/**
 * Option 77. RFC 3004 §4 counts each class with a length byte; iPXE and Etherboot send the bare
 * text, and some firmware sends a count that does not add up (metal3 446). The counted form is
 * taken when its counts fill the option exactly and none is empty, anything else is one bare class.
 */
export function userClasses(options: Options): readonly string[] {
  const v = options.get(OPTION.userClass);
  if (v === undefined || v.length === 0) return [];
  return countedClasses(v) ?? [cString(v)];
}

function countedClasses(v: Uint8Array): string[] | undefined {
  const classes: string[] = [];
  let at = 0;
  while (at < v.length) {
    const length = v[at]!;
    if (length === 0 || at + 1 + length > v.length) return undefined;
    classes.push(cString(v.subarray(at + 1, at + 1 + length)));
    at += 1 + length;
  }
  return classes;
}

/** True for the user class of iPXE or its predecessor gPXE, in either form of option 77. */
export function isIpxe(classes: readonly string[]): boolean {
  // Substrings, because a malformed count leaves a stray byte in front (boot facts 7 rule 11).
  return classes.some((c) => c.includes('iPXE') || c.includes('gPXE'));
}

/**
 * Option 93 (RFC 4578 §2.1), a list: the first value that the table knows, otherwise the first
 * value. Undefined when absent or shorter than one value.
 */
export function clientArchitecture(options: Options): number | undefined {
  const v = options.get(OPTION.clientArchitecture);
  if (v === undefined || v.length < 2) return undefined;
  for (let at = 0; at + 2 <= v.length; at += 2) {
    const value = v[at]! * 256 + v[at + 1]!;
    if (architecture(value) !== undefined) return value;
  }
  return v[0]! * 256 + v[1]!;
}

/**
 * Option 97 as `xxxxxxxx-xxxx-…` in wire order. Undefined when absent, empty (some ROMs), of a
 * wrong length or of a type other than 0: never a reason to refuse the client.
 */
export function clientUuid(options: Options): string | undefined {
  const v = options.get(OPTION.clientUuid);
  if (v?.length !== UUID_OPTION_BYTES || v[0] !== 0) return undefined;
  const hex = Buffer.from(v.subarray(1)).toString('hex');
  // Boards without an identity send zeros or ones; they would all be one machine (QEMU, cheap
  // boards).
  if (/^(0+|f+)$/.test(hex)) return undefined;
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    hex.slice(12, 16),
    hex.slice(16, 20),
    hex.slice(20),
  ].join('-');
}

/** Option 61 as hex, type byte included. RFC 2132 §9.14: at least two bytes. */
export function clientIdentifier(options: Options): string | undefined {
  const v = options.get(OPTION.clientIdentifier);
  if (v === undefined || v.length < 2) return undefined;
  return Buffer.from(v).toString('hex');
}

/**
 * Vendor classes that make a client a boot client. The digits behind are decimal (ARM64 = 00011).
 */
export const PXE_CLIENT = 'PXEClient';
/** Class of UEFI HTTP Boot. */
export const HTTP_CLIENT = 'HTTPClient';
