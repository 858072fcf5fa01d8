import { ScsiError } from '../sense.ts';
import type { CommandBody } from '../table.ts';
import { holdRange } from './hold-range.ts';

const COUNT_BYTE = 12;

/**
 * WRITE ATOMIC(16) (SBC-4 §5.50): all blocks or none, through process death and power loss, by way
 * of a log that units without one do not have. Atomic boundaries are not in the row.
 */
export const writeAtomic: CommandBody = {
  begin(task) {
    if (task.blocks > task.unit.atomicBlocksMax) throw ScsiError.invalidField(COUNT_BYTE);
    task.gatherExactly(task.lengthBytes, COUNT_BYTE);
    if (task.blocks === 0) task.good();
  },
  async finish(task) {
    const log = task.unit.options.atomicLog;
    if (log === undefined) throw ScsiError.invalidField(0);
    const data = Uint8Array.from(task.parameters);
    await holdRange(task, (device) => log.write(device, task.offsetBytes, data));
  },
};
