import { ScsiError, Status } from '../sense.ts';
import type { CommandBody } from '../table.ts';

/** RESERVE(6), (10) (SPC-2 §7.21): the whole unit, for this session. */
export const reserve: CommandBody = {
  begin(task) {
    // A registration may be on its way to stable media, and it excludes this.
    if (task.unit.changing) throw ScsiError.status(Status.RESERVATION_CONFLICT);
    task.unit.reservations.reserveLegacy(task.nexus);
    task.unit.update();
    task.good();
  },
};

/** RELEASE(6), (10) (SPC-2 §7.16). */
export const release: CommandBody = {
  begin(task) {
    task.unit.reservations.releaseLegacy(task.nexus);
    task.unit.update();
    task.good();
  },
};
