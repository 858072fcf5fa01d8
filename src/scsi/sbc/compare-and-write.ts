import type { BlockDevice } from '#block/mod.ts';
import { readDevice, writeDevice } from '../device-io.ts';
import { compareBlocksMax } from '../limits.ts';
import { ScsiError, Sense } from '../sense.ts';
import type { CommandBody } from '../table.ts';
import type { Task } from '../task.ts';
import { firstDifference } from './compare-device.ts';
import { holdRange } from './hold-range.ts';
import { settleWrite } from './read-write.ts';

const COUNT_BYTE = 13;

/**
 * COMPARE AND WRITE (SBC-3 §5.3): the first half of the data is compared, the second written, and
 * no other write to these blocks comes between (hostile case 31).
 */
export const compareAndWrite: CommandBody = {
  begin(task) {
    if (task.blocks > compareBlocksMax(task.unit.blockBytes)) {
      throw ScsiError.invalidField(COUNT_BYTE);
    }
    task.gatherExactly(2 * task.lengthBytes, COUNT_BYTE);
    if (task.blocks === 0) task.good();
  },
  async finish(task) {
    await holdRange(task, (device) => exchange(task, device));
    await settleWrite(task);
  },
};

async function exchange(task: Task, device: BlockDevice): Promise<void> {
  const data = task.parameters;
  const stored = Buffer.allocUnsafe(task.lengthBytes);
  await readDevice(device, task.offsetBytes, stored);
  const information = firstDifference(stored, 0, data, 0, stored.length);
  // INFORMATION is here the offset in the data, not an LBA (SBC-3 §5.3.1).
  if (information >= 0) throw ScsiError.check(Sense.MISCOMPARE_DURING_VERIFY, { information });
  await writeDevice(device, task.offsetBytes, data.subarray(stored.length));
}
