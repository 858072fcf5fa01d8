import { u8 } from '../bytes.ts';
import { ScsiError } from '../sense.ts';
import type { CommandBody } from '../table.ts';

const SUPPORTED_PAGES = 0x00;
const INFORMATIONAL_EXCEPTIONS = 0x2f;
const CUMULATIVE = 0x01;

/** LOG SENSE (SPC-4 §6.7): the list of pages, and "no informational exception". */
export const logSense: CommandBody = {
  begin(task) {
    const control = u8(task.cdb, 2) >> 6;
    const code = u8(task.cdb, 2) & 0x3f;
    if (control !== CUMULATIVE) throw ScsiError.invalidField(2, 7);
    if (u8(task.cdb, 3) !== 0) throw ScsiError.invalidField(3);
    task.reply(page(code));
  },
};

function page(code: number): Buffer {
  switch (code) {
    case SUPPORTED_PAGES:
      return Buffer.from([code, 0, 0, 2, SUPPORTED_PAGES, INFORMATIONAL_EXCEPTIONS]);
    case INFORMATIONAL_EXCEPTIONS:
      // Parameter 0: ASC and ASCQ zero, temperature unknown (SPC-4 §7.3.8).
      return Buffer.from([code, 0, 0, 8, 0, 0, 0x03, 4, 0, 0, 0xff, 0]);
    default:
      throw ScsiError.invalidField(2, 5);
  }
}
