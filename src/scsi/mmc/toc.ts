import { u16, u8 } from '../bytes.ts';
import { ScsiError } from '../sense.ts';
import type { CommandBody } from '../table.ts';

const TIME = 0x02;
/** READ TOC formats (MMC-6 §6.26.2). */
const Format = { TOC: 0, SESSION: 1 } as const;
/** A data track, digital copy prohibited. */
const DATA_TRACK = 0x14;
const LEAD_OUT = 0xaa;
const FIRST_TRACK = 1;

/** READ TOC/PMA/ATIP (MMC-6 §6.26): one session with one data track. */
export const readToc: CommandBody = {
  begin(task) {
    const { cdb, unit } = task;
    const time = (u8(cdb, 1) & TIME) !== 0;
    // Byte 9 has the format where SFF-8020 put it, before MMC moved it to byte 2.
    const format = u8(cdb, 2) & 0x0f || u8(cdb, 9) >> 6;
    const from = u8(cdb, 6);
    const tracks =
      format === Format.SESSION
        ? [track(FIRST_TRACK, 0, time)]
        : tracksFrom(from, unit.blocks, time);
    if (format !== Format.TOC && format !== Format.SESSION) throw ScsiError.invalidField(2, 3);
    const data = Buffer.concat([Buffer.from([0, 0, 1, 1]), ...tracks]);
    data.writeUInt16BE(data.length - 2, 0);
    task.reply(data, u16(cdb, 7));
  },
};

function tracksFrom(from: number, blocks: number, time: boolean): Buffer[] {
  if (from > FIRST_TRACK && from !== LEAD_OUT) throw ScsiError.invalidField(6);
  const leadOut = track(LEAD_OUT, blocks, time);
  return from === LEAD_OUT ? [leadOut] : [track(FIRST_TRACK, 0, time), leadOut];
}

function track(number: number, lba: number, time: boolean): Buffer {
  const descriptor = Buffer.from([0, DATA_TRACK, number, 0, 0, 0, 0, 0]);
  if (time) toMsf(lba).copy(descriptor, 4);
  else descriptor.writeUInt32BE(Math.min(lba, 0xffffffff), 4);
  return descriptor;
}

/** Minutes, seconds and frames: 75 frames a second, LBA 0 at two seconds (MMC-6 §4.2.1). */
function toMsf(lba: number): Buffer {
  const frames = lba + 150;
  const minutes = Math.min(255, Math.floor(frames / (60 * 75)));
  return Buffer.from([0, minutes, Math.floor(frames / 75) % 60, frames % 75]);
}
