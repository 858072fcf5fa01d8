import { setImmediate } from 'node:timers/promises';
import { putU64 } from '../bytes.ts';
import { LBA_STATUS_DESCRIPTORS_MAX, LBA_STATUS_PER_TURN_MAX } from '../limits.ts';
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

type Run = { readonly lba: number; readonly blocks: number; readonly hole: boolean };

/**
 * GET LBA STATUS (SBC-3 §5.4): where there is data, and where none. A device answers for one extent
 * at once, so that many of them take several turns of the event loop; whoever wants more than one
 * answer can say asks again from where it ends.
 */
export const getLbaStatus: CommandBody = {
  begin(task) {
    if (task.allocationBytes < HEADER_BYTES + DESCRIPTOR_BYTES) throw ScsiError.invalidField(10);
    task.wait();
  },
  async finish(task) {
    const room = Math.floor((task.allocationBytes - HEADER_BYTES) / DESCRIPTOR_BYTES);
    const most = Math.min(room, LBA_STATUS_DESCRIPTORS_MAX);
    const runs: Run[] = [];
    let lba = task.lba;
    while (lba < task.unit.blocks && runs.length < most) {
      if (runs.length > 0 && runs.length % LBA_STATUS_PER_TURN_MAX === 0) await nextTurn(task);
      task.checkpoint();
      const run = runFrom(task, lba);
      runs.push(run);
      lba += run.blocks;
    }
    task.reply(encode(runs));
  },
};

/** Between two turns the device may be taken away, for another one or to be sanitized. */
async function nextTurn(task: Task): Promise<void> {
  await setImmediate();
  await new Promise<void>((resolve, reject) => {
    task.unit.gate.whenOpen(task.command, (refusal) => {
      if (refusal === null) resolve();
      else reject(refusal);
    });
  });
}

function runFrom({ unit }: Task, lba: number): Run {
  const blocks = Math.min(unit.blocks - lba, RUN_BLOCKS_MAX);
  const extent = unit.reader.extentAt(lba * unit.blockBytes, blocks * unit.blockBytes);
  return { lba, blocks: extent.lengthBytes / unit.blockBytes, hole: extent.state === 'hole' };
}

function encode(runs: readonly Run[]): Buffer {
  const data = Buffer.alloc(HEADER_BYTES + DESCRIPTOR_BYTES * runs.length);
  data.writeUInt32BE(data.length - 4, 0);
  runs.forEach((run, i) => {
    const at = HEADER_BYTES + DESCRIPTOR_BYTES * i;
    putU64(data, run.lba, at);
    data.writeUInt32BE(run.blocks, at + 8);
    data[at + 12] = run.hole ? DEALLOCATED : MAPPED;
  });
  return data;
}
