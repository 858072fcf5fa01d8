import { u16, u32, u64 } from '../bytes.ts';
import { discardDevice } from '../device-io.ts';
import { UNMAP_BLOCKS_MAX, UNMAP_DESCRIPTORS_MAX } from '../limits.ts';
import { ScsiError, Sense } from '../sense.ts';
import type { CommandBody } from '../table.ts';
import type { LogicalUnit } from '../unit.ts';
import { settleWrite } from './read-write.ts';

const HEADER_BYTES = 8;
const DESCRIPTOR_BYTES = 16;

type Range = { readonly lba: number; readonly blocks: number };

/** UNMAP (SBC-3 §5.32): every descriptor is checked before the first block is given back. */
export const unmap: CommandBody = {
  begin(task) {
    const length = u16(task.cdb, 7);
    if (length === 0) task.good();
    else task.gatherList(length, 7);
  },
  async finish(task) {
    const { unit } = task;
    for (const { lba, blocks } of parseUnmap(task.parameters, unit)) {
      if (blocks === 0) continue;
      task.checkpoint();
      await discardDevice(unit.writer, lba * unit.blockBytes, blocks * unit.blockBytes);
    }
    await settleWrite(task);
  },
};

/** Throws PARAMETER LIST LENGTH ERROR, INVALID FIELD IN PARAMETER LIST or LBA OUT OF RANGE. */
export function parseUnmap(list: Uint8Array, unit: LogicalUnit): Range[] {
  if (list.length < HEADER_BYTES) throw ScsiError.check(Sense.PARAMETER_LIST_LENGTH);
  const dataBytes = u16(list, 2);
  if (HEADER_BYTES + dataBytes > list.length) throw ScsiError.check(Sense.PARAMETER_LIST_LENGTH);
  const count = Math.floor(dataBytes / DESCRIPTOR_BYTES);
  if (count > UNMAP_DESCRIPTORS_MAX) throw ScsiError.invalidParameter(2);
  const ranges: Range[] = [];
  let total = 0;
  for (let i = 0; i < count; i++) {
    const at = HEADER_BYTES + DESCRIPTOR_BYTES * i;
    const range = { lba: u64(list, at), blocks: u32(list, at + 8) };
    // An empty range just past the last block is no error (SBC-3 §5.32.2).
    if (range.blocks > 0 || range.lba > unit.blocks) unit.checkRange(range.lba, range.blocks);
    total += range.blocks;
    if (total > UNMAP_BLOCKS_MAX) throw ScsiError.invalidParameter(at + 8);
    ranges.push(range);
  }
  return ranges;
}
