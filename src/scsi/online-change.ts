import { InternalError, invariant } from '#base/mod.ts';
import { BlockError } from '#block/mod.ts';
import type { BlockDevice } from '#block/mod.ts';
import type { LogicalUnit } from './unit.ts';

/** Makes the device that takes over from `old`, which nobody else uses meanwhile. */
export type MakeDevice = (old: BlockDevice) => Promise<BlockDevice>;

/** `LogicalUnit.swapDevice`: answers `done` once. */
export function swapDevice(
  unit: LogicalUnit,
  make: MakeDevice,
  done: (error: Error | null) => void,
): void {
  swap(unit, make).then(
    () => {
      done(null);
    },
    (e: unknown) => {
      done(e instanceof Error ? e : new InternalError('no device was made', { cause: e }));
    },
  );
}

/**
 * Puts another device in the place of a unit's own (an overlay over it: an online snapshot).
 *
 * What had been acknowledged is in the old device, and on stable media, before `make` is called;
 * nothing is written to it afterwards. A WRITE that was under way may lie half in one and half in
 * the other: it was not acknowledged, and reads as it was written.
 */
async function swap(unit: LogicalUnit, make: MakeDevice): Promise<void> {
  const { medium } = unit;
  if (medium.failed || medium.sanitizeProgress !== null) {
    throw new BlockError('failed', 'the disk is failed, or being sanitized', 0);
  }
  await unit.gate.fence('hold', async (old) => {
    if (!unit.readOnly) await unit.flush(old);
    const next = await make(old);
    invariant(next.blockBytes === unit.blockBytes, 'a device with the same blocks');
    invariant(next.sizeBytes >= old.sizeBytes, 'a device that is no smaller');
    unit.gate.replace(next);
  });
  unit.capacityChanged();
}
