import { u8 } from '../bytes.ts';
import { ScsiError } from '../sense.ts';
import type { CommandBody } from '../table.ts';

const POLLED = 0x01;
/** Notification class 4, media; also its bit in the class masks (MMC-6 §6.7). */
const MEDIA = 0x04;
const MEDIA_BIT = 0x10;
const NEA = 0x80;
const MEDIA_PRESENT = 0x02;
const TRAY_OPEN = 0x01;

/** GET EVENT STATUS NOTIFICATION (MMC-6 §6.7), polled: whether there is a medium. */
export const getEventStatus: CommandBody = {
  begin(task) {
    const { cdb, unit } = task;
    if ((u8(cdb, 1) & POLLED) === 0) throw ScsiError.invalidField(1, 0);
    const wanted = (u8(cdb, 4) & MEDIA_BIT) !== 0;
    const header = Buffer.from([0, wanted ? 4 + 2 : 2, wanted ? MEDIA : NEA, MEDIA_BIT]);
    const status = unit.medium.loaded ? MEDIA_PRESENT : TRAY_OPEN;
    // "No change": what changed is told by unit attention.
    const event = Buffer.from([0, status, 0, 0]);
    task.reply(wanted ? Buffer.concat([header, event]) : header);
  },
};
