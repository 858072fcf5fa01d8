import { u16, u8 } from '../bytes.ts';
import { ScsiError } from '../sense.ts';
import type { CommandBody } from '../table.ts';
import type { LogicalUnit } from '../unit.ts';

/** Profiles (MMC-6 table 93). */
const CD_ROM = 0x0008;
const DVD_ROM = 0x0010;
/** What fits on a CD: 80 minutes of 75 frames a second. */
const CD_BLOCKS_MAX = 80 * 60 * 75;

/** A feature: code, flags (version, persistent 02h, current 01h), body. */
type Feature = { readonly code: number; readonly flags: number; readonly body: readonly number[] };

const RequestType = { ALL: 0, CURRENT: 1, ONE: 2 } as const;

/** GET CONFIGURATION (MMC-6 §6.6): features in ascending order. */
export const getConfiguration: CommandBody = {
  begin(task) {
    const { cdb, unit } = task;
    const type = u8(cdb, 1) & 0x03;
    if (type === 3) throw ScsiError.invalidField(1, 1);
    const from = u16(cdb, 2);
    const chosen = featuresOf(unit).filter((f) => {
      if (type === RequestType.ONE) return f.code === from;
      return f.code >= from && (type === RequestType.ALL || (f.flags & 0x01) !== 0);
    });
    const header = Buffer.alloc(8);
    header.writeUInt16BE(unit.medium.loaded ? profileOf(unit) : 0, 6);
    const data = Buffer.concat([header, ...chosen.map(encode)]);
    data.writeUInt32BE(data.length - 4, 0);
    task.reply(data);
  },
};

/** Whether what is in the drive is too large for a CD. */
export function isDvd(unit: LogicalUnit): boolean {
  return unit.blocks > CD_BLOCKS_MAX;
}

function profileOf(unit: LogicalUnit): number {
  return isDvd(unit) ? DVD_ROM : CD_ROM;
}

function encode(feature: Feature): Buffer {
  const bytes = Buffer.from([0, 0, feature.flags, feature.body.length, ...feature.body]);
  bytes.writeUInt16BE(feature.code, 0);
  return bytes;
}

function featuresOf(unit: LogicalUnit): Feature[] {
  const profile = unit.medium.loaded ? profileOf(unit) : 0;
  const cd = profile === CD_ROM ? 1 : 0;
  const dvd = profile === DVD_ROM ? 1 : 0;
  return [
    // Profile list: each with "current".
    { code: 0x0000, flags: 0x03, body: [0, CD_ROM, cd, 0, 0, DVD_ROM, dvd, 0] },
    // Core: physical interface "SCSI family".
    { code: 0x0001, flags: 0x0b, body: [0, 0, 0, 1, 0x01, 0, 0, 0] },
    // Morphing: none of it.
    { code: 0x0002, flags: 0x07, body: [0x02, 0, 0, 0] },
    // Removable medium: a tray that ejects, loads and locks.
    { code: 0x0003, flags: 0x03, body: [0x39, 0, 0, 0] },
    // Random readable: 2048-byte blocks, one to a unit.
    { code: 0x0010, flags: 0x01, body: [0, 0, 8, 0, 0, 1, 0, 0] },
    { code: 0x001e, flags: 0x08 | cd, body: [0, 0, 0, 0] },
    { code: 0x001f, flags: 0x08 | dvd, body: [0, 0, 0, 0] },
  ];
}
