import { FilterDevice } from '#block/mod.ts';
import type { BlockDevice, BlockDone } from '#block/mod.ts';
import { u8 } from '../bytes.ts';
import { readDevice } from '../device-io.ts';
import { PIECE_BYTES } from '../limits.ts';
import { ScsiError, Sense } from '../sense.ts';
import type { CommandBody } from '../table.ts';
import type { Task } from '../task.ts';
import { CompareDevice, firstDifference } from './compare-device.ts';

/** BYTCHK (SBC-3 §5.33): read only; compare with as much data; with one block, over and over. */
const ByteCheck = { NONE: 0, ALL: 1, ONE: 3 } as const;

function byteCheck(task: Task): number {
  const value = (u8(task.cdb, 1) >> 1) & 0x03;
  if (value === 2) throw ScsiError.invalidField(1, 2);
  return value;
}

/** MISCOMPARE; INFORMATION is the LBA of the block that differs. */
function miscompare(task: Task, offsetBytes: number): ScsiError {
  const information = Math.floor(offsetBytes / task.unit.blockBytes);
  return ScsiError.check(Sense.MISCOMPARE_DURING_VERIFY, { information });
}

/** VERIFY(10), (12), (16) (SBC-3 §5.33 to §5.36). */
export const verify: CommandBody = {
  begin(task) {
    const check = byteCheck(task);
    if (task.blocks === 0) task.good();
    else if (check === ByteCheck.NONE) task.wait();
    else if (check === ByteCheck.ONE) task.gatherExactly(task.unit.blockBytes, 1);
    else {
      const device = new CompareDevice(task.unit.reader);
      task.carried = device;
      task.receiveBlocks(device);
    }
  },
  finish(task) {
    if (task.carried instanceof CompareDevice) {
      const { mismatchBytes } = task.carried;
      if (mismatchBytes >= 0) throw miscompare(task, mismatchBytes);
      return undefined;
    }
    const one = byteCheck(task) === ByteCheck.ONE ? Buffer.from(task.parameters) : null;
    return readAll(task, one);
  },
};

/** Reads every block, and compares each with `pattern` when there is one. */
async function readAll(task: Task, pattern: Buffer | null): Promise<void> {
  const { unit } = task;
  const end = task.offsetBytes + task.lengthBytes;
  for (let at = task.offsetBytes; at < end; at += PIECE_BYTES) {
    await unit.pieces.use(end - at, async (piece) => {
      task.checkpoint();
      await readDevice(unit.reader, at, piece);
      if (pattern === null) return;
      for (let block = 0; block < piece.length; block += unit.blockBytes) {
        const difference = firstDifference(piece, block, pattern, 0, unit.blockBytes);
        if (difference >= 0) throw miscompare(task, at + block);
      }
    });
  }
}

/**
 * WRITE AND VERIFY(10), (12), (16) (SBC-3 §5.45): on stable media before GOOD. What is read back
 * comes from the page cache, as from any disk's own cache; it proves the path, not the platter.
 */
export const writeAndVerify: CommandBody = {
  begin(task) {
    const check = byteCheck(task);
    if (check === ByteCheck.ONE) throw ScsiError.invalidField(1, 2);
    if (check === ByteCheck.NONE) {
      task.receiveBlocks();
      return;
    }
    const compare = new CompareDevice(task.unit.reader);
    task.carried = compare;
    task.receiveBlocks(new WriteThenCompareDevice(task.unit.writer, compare));
  },
  async finish(task) {
    await task.unit.flush();
    if (task.carried instanceof CompareDevice) {
      const { mismatchBytes } = task.carried;
      if (mismatchBytes >= 0) throw miscompare(task, mismatchBytes);
    } else {
      await readAll(task, null);
    }
  },
};

/** Writes, then compares what was written with what was sent. */
class WriteThenCompareDevice extends FilterDevice {
  readonly #compare: CompareDevice;

  constructor(inner: BlockDevice, compare: CompareDevice) {
    super(inner);
    this.#compare = compare;
  }

  override tryWrite(): boolean {
    return false;
  }

  override write(
    offset: number,
    from: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void {
    this.inner.write(offset, from, at, lengthBytes, (error) => {
      if (error === null) this.#compare.write(offset, from, at, lengthBytes, done);
      else done(error);
    });
  }
}
