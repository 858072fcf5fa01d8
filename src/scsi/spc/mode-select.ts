import { u16, u32, u64, u8 } from '../bytes.ts';
import { ScsiError, Sense } from '../sense.ts';
import type { CommandBody } from '../table.ts';
import type { Task } from '../task.ts';

const PF = 0x10;
const SP = 0x01;
const LONG_LBA = 0x01;

/** MODE SELECT(6) and (10) (SPC-4 §6.9, §6.10). SP is in the rows of units that can save. */
function modeSelect(lengthAt: number, headerBytes: number): CommandBody {
  const lengthOf = (task: Task): number =>
    headerBytes === 4 ? u8(task.cdb, lengthAt) : u16(task.cdb, lengthAt);
  return {
    begin(task) {
      const length = lengthOf(task);
      // Without PF the pages are vendor specific, and we have none of those.
      if (length > 0 && (u8(task.cdb, 1) & PF) === 0) throw ScsiError.invalidField(1, 4);
      if (length === 0) task.good();
      else task.gatherList(length, lengthAt);
    },
    finish: (task) => apply(task, headerBytes),
  };
}

export const modeSelect6: CommandBody = modeSelect(4, 4);
export const modeSelect10: CommandBody = modeSelect(7, 8);

function apply(task: Task, headerBytes: number): Promise<void> {
  const { unit } = task;
  const list = Uint8Array.from(task.parameters);
  if (list.length < headerBytes) throw ScsiError.check(Sense.PARAMETER_LIST_LENGTH);
  const descriptorBytes = headerBytes === 4 ? u8(list, 3) : u16(list, 6);
  const long = headerBytes === 8 && (u8(list, 4) & LONG_LBA) !== 0;
  checkDescriptor(task, list, headerBytes, descriptorBytes, long);
  const from = headerBytes + descriptorBytes;
  return unit.selectModes(task.nexus, list, from, (u8(task.cdb, 1) & SP) !== 0);
}

/** A block descriptor may repeat what is, and change nothing. */
function checkDescriptor(
  task: Task,
  list: Uint8Array,
  at: number,
  length: number,
  long: boolean,
): void {
  const lengthField = at === 4 ? 3 : 6;
  if (length === 0) return;
  if (length !== (long ? 16 : 8)) throw ScsiError.invalidParameter(lengthField);
  if (at + length > list.length) throw ScsiError.check(Sense.PARAMETER_LIST_LENGTH);
  const blocks = long ? u64(list, at) : u32(list, at);
  const blockBytes = long ? u32(list, at + 12) : u32(list, at + 4) % 2 ** 24;
  const most = long ? task.unit.blocks : Math.min(task.unit.blocks, 0xffffffff);
  if (blocks !== 0 && blocks !== most) throw ScsiError.invalidParameter(at);
  if (blockBytes !== task.unit.blockBytes) throw ScsiError.invalidParameter(at + (long ? 12 : 5));
}
