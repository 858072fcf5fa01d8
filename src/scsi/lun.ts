import { u16, u8 } from './bytes.ts';

/** The REPORT LUNS well-known logical unit (SPC-4 §8.2), as `decodeLun` returns it. */
export const REPORT_LUNS_LUN = 0xc101;

/** LUNs of one target: single-level addressing, and no initiator wants more disks than this. */
export const LUNS_MAX = 256;

/**
 * The number of an eight-byte single-level LUN (SAM-5 §4.7): peripheral addressing on bus 0, flat
 * space, or the REPORT LUNS well-known unit; -1 for anything else, which no unit has.
 */
export function decodeLun(bytes: Uint8Array, at = 0): number {
  for (let i = 2; i < 8; i++) if (u8(bytes, at + i) !== 0) return -1;
  const first = u8(bytes, at);
  const second = u8(bytes, at + 1);
  if (first === 0) return second;
  if (first >> 6 === 1) return ((first & 0x3f) << 8) | second;
  return u16(bytes, at) === REPORT_LUNS_LUN ? REPORT_LUNS_LUN : -1;
}

/** Writes a LUN as REPORT LUNS shows it: peripheral addressing, all of ours are below 256. */
export function encodeLun(lun: number, into: Buffer, at: number): void {
  into.fill(0, at, at + 8);
  into.writeUInt16BE(lun, at);
}
