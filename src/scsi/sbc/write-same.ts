import { u8 } from '../bytes.ts';
import { discardDevice, writeDevice, zeroDevice } from '../device-io.ts';
import { PIECE_BYTES, WRITE_SAME_BLOCKS_MAX } from '../limits.ts';
import { ScsiError } from '../sense.ts';
import type { CommandBody } from '../table.ts';
import type { Task } from '../task.ts';
import { settleWrite } from './read-write.ts';

const UNMAP = 0x08;
const NDOB = 0x01;
const WRITE_SAME_16 = 0x93;

/** WRITE SAME(10), (16) (SBC-3 §5.47, §5.48). A count of zero reaches to the last block. */
export const writeSame: CommandBody = {
  begin(task) {
    const flags = u8(task.cdb, 1);
    if ((flags & UNMAP) !== 0 && !task.unit.thin) throw ScsiError.invalidField(1, 3);
    if (task.blocks > WRITE_SAME_BLOCKS_MAX) throw ScsiError.invalidField(countByte(task));
    if (task.blocks === 0) task.good();
    else if ((flags & NDOB) !== 0) task.wait();
    else task.gatherExactly(task.unit.blockBytes, countByte(task));
  },
  async finish(task) {
    const { unit, offsetBytes, lengthBytes } = task;
    if ((u8(task.cdb, 1) & UNMAP) !== 0) {
      // Whatever the block says: whoever sets UNMAP means it, and LIO and tgt do the same.
      await discardDevice(unit.writer, offsetBytes, lengthBytes);
    } else {
      const block = Buffer.from(task.parameters);
      if (block.every((b) => b === 0)) await zeroDevice(unit.writer, offsetBytes, lengthBytes);
      else await fill(task, block);
    }
    await settleWrite(task);
  },
};

function countByte(task: Task): number {
  return u8(task.cdb, 0) === WRITE_SAME_16 ? 10 : 7;
}

async function fill(task: Task, block: Buffer): Promise<void> {
  const { unit, offsetBytes, lengthBytes } = task;
  for (let done = 0; done < lengthBytes; done += PIECE_BYTES) {
    await unit.pieces.use(lengthBytes - done, (piece) => {
      task.checkpoint();
      return writeDevice(unit.writer, offsetBytes + done, piece.fill(block));
    });
  }
}
