import type { CommandBody } from '../table.ts';

/** RESERVE(6), (10) (SPC-2 §7.21): the whole unit, for this session. */
export const reserve: CommandBody = {
  begin(task) {
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
