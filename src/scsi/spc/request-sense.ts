import { u8 } from '../bytes.ts';
import { Sense, encodeSense } from '../sense.ts';
import type { CommandBody } from '../table.ts';

const DESC = 0x01;

/**
 * REQUEST SENSE (SPC-4 §6.39): a pending unit attention, which this clears; else what stands
 * against using the medium; else nothing. Always GOOD.
 */
export const requestSense: CommandBody = {
  begin(task) {
    const { unit, nexus, cdb } = task;
    const descriptor = (u8(cdb, 1) & DESC) !== 0;
    const attention = unit.attentions.take(nexus);
    const obstacle = unit.medium.obstacle;
    const code = attention ?? obstacle?.sense ?? Sense.NONE;
    const details = attention === undefined ? (obstacle?.details ?? {}) : {};
    task.reply(encodeSense(code, details, descriptor));
  },
};
