import type { CommandBody } from '../table.ts';

/** TEST UNIT READY (SPC-4 §6.47): the row's need of a medium says it all. */
export const testUnitReady: CommandBody = {
  begin(task) {
    task.good();
  },
};
