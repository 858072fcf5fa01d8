import { u8 } from '../bytes.ts';
import { ScsiError, Sense } from '../sense.ts';
import type { CommandBody } from '../table.ts';
import type { Task } from '../task.ts';

const POWER_CONDITION = 0xf0;
const NO_FLUSH = 0x04;
const LOEJ = 0x02;
const START = 0x01;

/**
 * START STOP UNIT (SBC-3 §5.25). Power conditions other than START_VALID ask for idle or standby:
 * from there the next access wakes a disk by itself, so nothing is to be seen of them here.
 */
export const startStop: CommandBody = {
  begin(task) {
    const { unit } = task;
    if (unit.medium.sanitizeProgress !== null) unit.checkReady();
    const flags = u8(task.cdb, 4);
    if ((flags & POWER_CONDITION) !== 0) {
      task.good();
      return;
    }
    const starts = (flags & START) !== 0;
    const moves = (flags & LOEJ) !== 0;
    if (moves && !unit.removable) throw ScsiError.invalidField(4, 1);
    if (moves && !starts && unit.medium.prevented) {
      throw ScsiError.check(Sense.MEDIUM_REMOVAL_PREVENTED);
    }
    // A stop without a flush would only lose data that we still could keep.
    if (!starts && (flags & NO_FLUSH) === 0 && !unit.readOnly) task.wait();
    else change(task, starts, moves);
  },
  async finish(task) {
    await task.unit.flush();
    const flags = u8(task.cdb, 4);
    change(task, (flags & START) !== 0, (flags & LOEJ) !== 0);
  },
};

function change(task: Task, starts: boolean, moves: boolean): void {
  const { unit } = task;
  const { medium } = unit;
  if (moves && medium.loaded !== starts) {
    medium.loaded = starts;
    if (starts) unit.attentions.establishForAll(Sense.MEDIUM_MAY_HAVE_CHANGED, task.nexus);
  }
  medium.started = starts || moves;
  unit.update();
  task.good();
}
