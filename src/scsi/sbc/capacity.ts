import { putU64 } from '../bytes.ts';
import type { CommandBody } from '../table.ts';

/** READ CAPACITY(10) (SBC-3 §5.15): a disk too large for it says FFFFFFFFh, "ask with (16)". */
export const readCapacity10: CommandBody = {
  begin(task) {
    const data = Buffer.alloc(8);
    data.writeUInt32BE(Math.min(task.unit.blocks - 1, 0xffffffff), 0);
    data.writeUInt32BE(task.unit.blockBytes, 4);
    task.reply(data);
  },
};

/** READ CAPACITY(16) (SBC-3 §5.16): 32 bytes, no protection information. */
export const readCapacity16: CommandBody = {
  begin(task) {
    const { unit } = task;
    const data = Buffer.alloc(32);
    putU64(data, unit.blocks - 1, 0);
    data.writeUInt32BE(unit.blockBytes, 8);
    data[13] = Math.log2(unit.physicalBlockBytes / unit.blockBytes);
    // LBPME and LBPRZ: thin, and what is unmapped reads as zeros.
    if (unit.thin) data[14] = 0xc0;
    task.reply(data);
  },
};
