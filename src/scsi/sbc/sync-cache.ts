import type { CommandBody } from '../table.ts';

/**
 * SYNCHRONIZE CACHE(10), (16) (SBC-3 §5.31): the range is widened to the whole disk, and IMMED is
 * taken as 0, so GOOD always means what it says (durability contract, point 4).
 */
export const synchronizeCache: CommandBody = {
  begin(task) {
    if (task.unit.readOnly) task.good();
    else task.wait();
  },
  finish: (task) => task.unit.flush(),
};
