import { u8 } from '../bytes.ts';
import { ScsiError, Sense } from '../sense.ts';
import type { CommandBody } from '../table.ts';
import type { Task } from '../task.ts';

const POWER_CONDITION = 0xf0;
const LOEJ = 0x02;
const START = 0x01;

/**
 * START STOP UNIT (SBC-3 §5.25). Power conditions other than START_VALID ask for idle or standby:
 * from there the next access wakes a disk by itself, so nothing is to be seen of them here. Nor
 * does a stop leave the unit stopped: it flushes, which is what a guest that powers off wants, and
 * the next boot finds a disk that needs no button pressed.
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
    // A drive that is locked with its tray open stays open, too.
    if (moves && starts !== unit.medium.loaded && unit.medium.prevented) {
      throw ScsiError.check(Sense.MEDIUM_REMOVAL_PREVENTED);
    }
    // NO_FLUSH is a permission: what is flushed nevertheless cannot be lost.
    if (!starts && !unit.readOnly && unit.medium.loaded) task.wait();
    else move(task);
  },
  async finish(task) {
    await task.unit.flush();
    move(task);
  },
};

function move(task: Task): void {
  const { unit } = task;
  const flags = u8(task.cdb, 4);
  const loaded = (flags & START) !== 0;
  task.good();
  if ((flags & LOEJ) === 0 || unit.medium.loaded === loaded) return;
  unit.medium.loaded = loaded;
  if (loaded) unit.attentions.establishForAll(Sense.MEDIUM_MAY_HAVE_CHANGED, task.nexus);
  unit.update();
}
