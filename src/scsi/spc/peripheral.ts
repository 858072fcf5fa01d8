import type { LogicalUnit } from '../unit.ts';

/** Peripheral device types (SPC-4 table 130). */
const DIRECT_ACCESS = 0x00;
const CD_ROM = 0x05;

/** Byte 0 of INQUIRY data and VPD pages: qualifier 0, the unit is there. */
export function peripheral(unit: LogicalUnit): number {
  return unit.kind === 'cdrom' ? CD_ROM : DIRECT_ACCESS;
}
