import { u8 } from '../bytes.ts';
import type { CommandBody } from '../table.ts';

const REPD = 0x80;
/** ABORT TASK, ABORT TASK SET, CLEAR TASK SET, LOGICAL UNIT RESET, TARGET RESET (SPC-4 §6.36). */
const FUNCTIONS = 0x80 | 0x40 | 0x10 | 0x08 | 0x02;

/** REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS: those of RFC 7143 §11.5.1 that the target has. */
export const reportSupportedTmf: CommandBody = {
  begin(task) {
    const extended = (u8(task.cdb, 2) & REPD) !== 0;
    const data = Buffer.alloc(extended ? 16 : 4);
    data[0] = FUNCTIONS;
    if (extended) data[3] = 0x0c;
    task.reply(data);
  },
};
