import { u8 } from '../bytes.ts';
import { ScsiError } from '../sense.ts';
import type { CommandBody } from '../table.ts';
import type { Task } from '../task.ts';

const TIME = 0x02;
/** READ TOC formats (MMC-6 §6.26.2). */
const Format = { TOC: 0, SESSION: 1, FULL: 2 } as const;
/** A data track, digital copy prohibited. */
const DATA_TRACK = 0x14;
const LEAD_OUT = 0xaa;
const FIRST_TRACK = 1;

/** READ TOC/PMA/ATIP (MMC-6 §6.26): one session with one data track. */
export const readToc: CommandBody = {
  begin(task) {
    const { cdb } = task;
    // Byte 9 has the format where SFF-8020 put it, before MMC moved it to byte 2.
    const format = u8(cdb, 2) & 0x0f || u8(cdb, 9) >> 6;
    const data = Buffer.concat([Buffer.from([0, 0, 1, 1]), ...descriptors(task, format)]);
    data.writeUInt16BE(data.length - 2, 0);
    task.reply(data);
  },
};

function descriptors({ cdb, unit }: Task, format: number): Buffer[] {
  const time = (u8(cdb, 1) & TIME) !== 0;
  const from = u8(cdb, 6);
  switch (format) {
    case Format.TOC:
      return tracksFrom(from, unit.blocks, time);
    case Format.SESSION:
      return [track(FIRST_TRACK, 0, time)];
    case Format.FULL:
      if (from > 1) throw ScsiError.invalidField(6);
      return fullToc(unit.blocks);
    default:
      throw ScsiError.invalidField(2, 3);
  }
}

/** The lead-in's own entries (MMC-6 table 493), always in minutes: tracks, lead-out, track 1. */
function fullToc(blocks: number): Buffer[] {
  const point = (number: number, at: Uint8Array): Buffer =>
    Buffer.from([1, DATA_TRACK, 0, number, 0, 0, 0, 0, ...at]);
  const only = Buffer.from([FIRST_TRACK, 0, 0]);
  return [
    point(0xa0, only),
    point(0xa1, only),
    point(0xa2, toMsf(blocks).subarray(1)),
    point(FIRST_TRACK, toMsf(0).subarray(1)),
  ];
}

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
