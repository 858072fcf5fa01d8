import { u8 } from '../bytes.ts';
import { readDevice } from '../device-io.ts';
import { PIECE_BYTES } from '../limits.ts';
import { Status } from '../sense.ts';
import { TRANSFER_BLOCKS_MAX } from '../table.ts';
import type { CommandBody } from '../table.ts';
import type { Task } from '../task.ts';

const IMMED = 0x02;

/**
 * PRE-FETCH(10), (16) (SBC-3 §5.9, §5.10): reads the blocks into the page cache. CONDITION MET says
 * that all of them are there; GOOD that there were more than we read ahead, or that others are read
 * already: what nobody waits for is bounded too.
 */
export const preFetch: CommandBody = {
  begin(task) {
    if ((u8(task.cdb, 1) & IMMED) === 0) {
      task.wait();
      return;
    }
    if (task.unit.pieces.full) return task.good();
    task.good(fits(task) ? Status.CONDITION_MET : Status.GOOD);
    // Nobody waits, and the READ that follows tells what went wrong.
    fetch(task).catch(() => undefined);
  },
  async finish(task) {
    await fetch(task);
    task.good(fits(task) ? Status.CONDITION_MET : Status.GOOD);
  },
};

function fits(task: Task): boolean {
  return task.blocks <= TRANSFER_BLOCKS_MAX;
}

async function fetch(task: Task): Promise<void> {
  const { unit, offsetBytes } = task;
  const length = Math.min(task.blocks, TRANSFER_BLOCKS_MAX) * unit.blockBytes;
  for (let done = 0; done < length; done += PIECE_BYTES) {
    await unit.pieces.use(length - done, (piece) => {
      task.checkpoint();
      return readDevice(unit.reader, offsetBytes + done, piece);
    });
  }
}
