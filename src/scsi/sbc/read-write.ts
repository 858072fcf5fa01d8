import { u8 } from '../bytes.ts';
import type { CommandBody } from '../table.ts';
import type { Task } from '../task.ts';
import { FlushFirstDevice } from './flush-first-device.ts';

const FUA = 0x08;

/** Force unit access; READ(6) and WRITE(6) have their LBA there instead. */
export function isFua(task: Task): boolean {
  return u8(task.row.cdb, 0) > 0x1f && (u8(task.cdb, 1) & FUA) !== 0;
}

/** A write is acknowledged when this is answered: at once, or from stable media (contract 2, 3). */
export function settleWrite(task: Task, force = false): Promise<void> | undefined {
  return force || task.unit.writeThrough || isFua(task) ? task.unit.flush() : undefined;
}

/** READ(6), READ(10), READ(12), READ(16) (SBC-3 §5.11 to §5.14). */
export const read: CommandBody = {
  begin(task) {
    const { unit } = task;
    if (isFua(task) && !unit.readOnly) {
      task.sendBlocks(new FlushFirstDevice(unit.reader, () => unit.flush()));
    } else {
      task.sendBlocks();
    }
  },
};

/** WRITE(6), WRITE(10), WRITE(12), WRITE(16) (SBC-3 §5.39 to §5.42). */
export const write: CommandBody = {
  begin(task) {
    task.receiveBlocks();
  },
  finish: (task) => settleWrite(task),
};
