import { u32, u8 } from '../bytes.ts';
import { ScsiError, Sense } from '../sense.ts';
import type { CommandBody } from '../table.ts';

/** Address or number type (MMC-6 table 497). */
const By = { LBA: 0, TRACK: 1, SESSION: 2 } as const;
/** Data track, recorded uninterrupted; data mode 1. */
const TRACK_MODE = 0x04;
const DATA_MODE = 0x01;
/** LRA_V: the last recorded address is given. */
const LAST_ADDRESS_VALID = 0x02;

/** READ TRACK INFORMATION (MMC-6 §6.23): the one track there is, by address, track or session. */
export const readTrackInformation: CommandBody = {
  begin(task) {
    const { cdb, unit } = task;
    const by = u8(cdb, 1) & 0x03;
    const wanted = u32(cdb, 2);
    if (by > By.SESSION) throw ScsiError.invalidField(1, 1);
    if (by === By.LBA && wanted >= unit.blocks) throw ScsiError.check(Sense.LBA_OUT_OF_RANGE);
    if (by !== By.LBA && wanted !== 1) throw ScsiError.invalidField(2);
    const data = Buffer.alloc(36);
    data.writeUInt16BE(data.length - 2, 0);
    data.set([1, 1, 0, TRACK_MODE, DATA_MODE, LAST_ADDRESS_VALID], 2);
    data.writeUInt32BE(unit.blocks, 24);
    data.writeUInt32BE(unit.blocks - 1, 28);
    task.reply(data);
  },
};
