import { FilterDevice } from '#block/mod.ts';
import type { BlockDevice, BlockDone, RangeLockDevice } from '#block/mod.ts';
import type { CommandBody } from '../table.ts';
import { settleWrite } from './read-write.ts';

/** ORWRITE(16) (SBC-3 §5.8): each block becomes the OR of what it was and what was sent. */
export const orWrite: CommandBody = {
  begin(task) {
    task.receiveBlocks(new OrDevice(task.unit.writer));
  },
  finish: (task) => settleWrite(task),
};

/** Ors data into the stored blocks, with the blocks locked while it does. */
class OrDevice extends FilterDevice {
  readonly #locks: RangeLockDevice;

  constructor(locks: RangeLockDevice) {
    super(locks);
    this.#locks = locks;
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
    this.#locks.exclusive(offset, lengthBytes, (device, release) => {
      orInto(device, offset, from.subarray(at, at + lengthBytes), (error) => {
        release();
        done(error);
      });
    });
  }
}

function orInto(device: BlockDevice, offset: number, data: Uint8Array, done: BlockDone): void {
  const stored = Buffer.allocUnsafe(data.length);
  device.read(offset, stored, 0, stored.length, (error) => {
    if (error !== null) {
      done(error);
      return;
    }
    for (let i = 0; i < stored.length; i++) stored[i] = (stored[i] ?? 0) | (data[i] ?? 0);
    device.write(offset, stored, 0, stored.length, done);
  });
}
