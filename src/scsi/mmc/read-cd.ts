import { u8 } from '../bytes.ts';
import { ScsiError, Sense } from '../sense.ts';
import type { CommandBody } from '../table.ts';

/** Expected sector types (MMC-6 table 351): any, or mode 1. */
const ANY = 0;
const MODE_1 = 2;
/** Main channel selection, byte 9: user data, and what else of the sector. */
const USER_DATA = 0x10;
const REST_OF_SECTOR = 0xee;

/**
 * READ CD (MMC-6 §6.20): user data of mode 1, all that an ISO image has. Sync, headers, EDC and
 * sub-channels are not in it, and not made up.
 */
export const readCd: CommandBody = {
  begin(task) {
    const type = (u8(task.cdb, 1) >> 2) & 0x07;
    const parts = u8(task.cdb, 9);
    if (type !== ANY && type !== MODE_1) throw ScsiError.check(Sense.ILLEGAL_MODE_FOR_THIS_TRACK);
    if ((parts & REST_OF_SECTOR) !== 0) throw ScsiError.check(Sense.ILLEGAL_MODE_FOR_THIS_TRACK);
    if ((parts & USER_DATA) === 0) task.good();
    else task.sendBlocks();
  },
};
