/** The REPORT LUNS well-known logical unit (SPC-4 §8.2), by the number that transports give it. */
export const REPORT_LUNS_LUN = 0xc101;

/** LUNs of one target: single-level addressing, and no initiator wants more disks than this. */
export const LUNS_MAX = 256;

/** Writes a LUN as REPORT LUNS shows it: peripheral addressing, all of ours are below 256. */
export function encodeLun(lun: number, into: Buffer, at: number): void {
  into.fill(0, at, at + 8);
  into.writeUInt16BE(lun, at);
}
