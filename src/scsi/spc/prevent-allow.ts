import { u8 } from '../bytes.ts';
import type { CommandBody } from '../table.ts';

/** PREVENT ALLOW MEDIUM REMOVAL (SPC-4 §6.13). */
export const preventAllow: CommandBody = {
  begin(task) {
    if ((u8(task.cdb, 4) & 0x01) !== 0) task.unit.medium.prevent(task.nexus);
    else task.unit.medium.allow(task.nexus);
    task.good();
  },
};
