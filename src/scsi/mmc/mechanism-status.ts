import type { CommandBody } from '../table.ts';

const DOOR_OPEN = 0x10;

/** MECHANISM STATUS (MMC-6 §6.8): a single drive, no changer. */
export const mechanismStatus: CommandBody = {
  begin(task) {
    const data = Buffer.alloc(8);
    data[1] = task.unit.medium.loaded ? 0 : DOOR_OPEN;
    task.reply(data);
  },
};
