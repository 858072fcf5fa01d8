import { putU64 } from '../bytes.ts';
import { LBA_STATUS_DESCRIPTORS_MAX } from '../limits.ts';
import { ScsiError } from '../sense.ts';
import type { CommandBody } from '../table.ts';
import type { Task } from '../task.ts';

const HEADER_BYTES = 8;
const DESCRIPTOR_BYTES = 16;
/**
 * How far one descriptor looks: 16 GiB of 512 bytes. A device may have to walk its tables for that,
 * and adjacent descriptors may say the same (SBC-3 §5.4.3.1).
 */
const RUN_BLOCKS_MAX = 32 * 1024 * 1024;

const MAPPED = 0;
const DEALLOCATED = 1;

/**
 * GET LBA STATUS (SBC-3 §5.4): where there is data, and where none. A bounded number of extents, so
 * that the event loop turns; whoever wants more asks again from where the answer ends.
 */
export const getLbaStatus: CommandBody = {
  begin(task) {
    const allocation = task.allocationBytes;
    if (allocation < HEADER_BYTES + DESCRIPTOR_BYTES) throw ScsiError.invalidField(10);
    const room = Math.floor((allocation - HEADER_BYTES) / DESCRIPTOR_BYTES);
    const runs = runsFrom(task, Math.min(room, LBA_STATUS_DESCRIPTORS_MAX));
    const data = Buffer.alloc(HEADER_BYTES + DESCRIPTOR_BYTES * runs.length);
    data.writeUInt32BE(data.length - 4, 0);
    runs.forEach((run, i) => {
      const at = HEADER_BYTES + DESCRIPTOR_BYTES * i;
      putU64(data, run.lba, at);
      data.writeUInt32BE(run.blocks, at + 8);
      data[at + 12] = run.hole ? DEALLOCATED : MAPPED;
    });
    task.reply(data);
  },
};

type Run = { readonly lba: number; readonly blocks: number; readonly hole: boolean };

function runsFrom(task: Task, most: number): Run[] {
  const { unit } = task;
  const runs: Run[] = [];
  for (let lba = task.lba; lba < unit.blocks && runs.length < most;) {
    const left = Math.min(unit.blocks - lba, RUN_BLOCKS_MAX);
    const extent = unit.reader.extentAt(lba * unit.blockBytes, left * unit.blockBytes);
    const blocks = extent.lengthBytes / unit.blockBytes;
    runs.push({ lba, blocks, hole: extent.state === 'hole' });
    lba += blocks;
  }
  return runs;
}
