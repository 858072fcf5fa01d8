import { u8 } from '../bytes.ts';
import type { CommandBody } from '../table.ts';

const LISTS = 0x18;
const FORMAT = 0x07;

/** READ DEFECT DATA(10) (SBC-3 §5.17): an image has no defects; both lists are there and empty. */
export const readDefectData10: CommandBody = {
  begin(task) {
    const asked = u8(task.cdb, 2);
    task.reply(Buffer.from([0, asked & (LISTS | FORMAT), 0, 0]));
  },
};

/** READ DEFECT DATA(12) (SBC-3 §5.18). */
export const readDefectData12: CommandBody = {
  begin(task) {
    const asked = u8(task.cdb, 1);
    task.reply(Buffer.from([0, asked & (LISTS | FORMAT), 0, 0, 0, 0, 0, 0]));
  },
};
