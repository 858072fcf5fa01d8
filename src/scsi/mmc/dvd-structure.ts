import { u8 } from '../bytes.ts';
import { ScsiError, Sense } from '../sense.ts';
import type { CommandBody } from '../table.ts';
import type { LogicalUnit } from '../unit.ts';
import { isDvd } from './configuration.ts';

/** Format codes (MMC-6 table 382). */
const Format = { PHYSICAL: 0x00, COPYRIGHT: 0x01, MANUFACTURING: 0x04, LIST: 0xff } as const;

/** READ DVD STRUCTURE (MMC-6 §6.22): one layer, no copy protection. */
export const readDvdStructure: CommandBody = {
  begin(task) {
    const { cdb, unit } = task;
    if ((u8(cdb, 1) & 0x0f) !== 0) throw ScsiError.invalidField(1, 3);
    if (!isDvd(unit)) throw ScsiError.check(Sense.INCOMPATIBLE_FORMAT);
    if (u8(cdb, 6) !== 0) throw ScsiError.invalidField(6);
    const body = structure(unit, u8(cdb, 7));
    const header = Buffer.alloc(4);
    header.writeUInt16BE(body.length + 2, 0);
    task.reply(Buffer.concat([header, body]));
  },
};

function structure(unit: LogicalUnit, format: number): Buffer {
  switch (format) {
    case Format.PHYSICAL:
      return physical(unit);
    case Format.COPYRIGHT:
      return Buffer.alloc(4);
    case Format.MANUFACTURING:
      return Buffer.alloc(2048);
    case Format.LIST:
      return Buffer.concat([entry(0x00, 2052), entry(0x01, 8), entry(0x04, 2052)]);
    default:
      throw ScsiError.invalidField(7);
  }
}

/** DVD-ROM version 1, 120 mm, one embossed layer from sector 0 to the last. */
function physical(unit: LogicalUnit): Buffer {
  const data = Buffer.alloc(2048);
  data.set([0x01, 0x0f, 0x01, 0x00], 0);
  data.writeUInt32BE(unit.blocks - 1, 8);
  data.writeUInt32BE(unit.blocks - 1, 12);
  return data;
}

/** A structure that can be read (RDS), and its length. */
function entry(format: number, length: number): Buffer {
  return Buffer.from([format, 0x40, length >> 8, length & 0xff]);
}
