import { u8 } from '../bytes.ts';
import { readDevice } from '../device-io.ts';
import { ScsiError, Sense } from '../sense.ts';
import type { CommandBody } from '../table.ts';

const SELF_TEST = 0x04;

/**
 * SEND DIAGNOSTIC (SPC-4 §6.42): the default self-test reads the first and the last block. Other
 * tests and diagnostic pages there are none.
 */
export const sendDiagnostic: CommandBody = {
  begin(task) {
    if ((u8(task.cdb, 1) & SELF_TEST) === 0) task.good();
    else task.wait();
  },
  async finish({ unit }) {
    const block = Buffer.allocUnsafe(unit.blockBytes);
    try {
      await readDevice(unit.reader, 0, block);
      await readDevice(unit.reader, (unit.blocks - 1) * unit.blockBytes, block);
    } catch {
      throw ScsiError.check(Sense.FAILED_SELF_TEST);
    }
  },
};
