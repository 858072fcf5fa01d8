import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { invariant } from '#base/mod.ts';
import { AtomicLogFile, StateFile } from '#block/mod.ts';
import type { AtomicLog, BlockDevice } from '#block/mod.ts';
import { parseUnitState } from './unit-state.ts';
import type { UnitStateStore } from './unit-state.ts';

/** What a unit keeps on stable media, open: `options` go into its `UnitOptions`. */
export type OpenUnitState = {
  readonly options: { readonly state: UnitStateStore; readonly atomicLog?: AtomicLog };
  /** After the unit's last command: waits for saves, lets go of the files. */
  readonly close: () => Promise<void>;
};

/**
 * Opens (or makes) what the unit of `name` keeps in `folder`: persistent reservations and saved
 * mode pages in `NAME.state`, and for a writable device the log of WRITE ATOMIC in `NAME.atomic`.
 * Call it before the device is served: it finishes on `device` an atomic write that a crash
 * interrupted. `name` must stay the same for the disk's life; letters, digits, dot, dash and
 * underline. Throws UserError `state-in-use`, EnvironmentError `state-damaged`, DecodeError,
 * BlockError, and what the file system says.
 */
export async function openUnitState(
  folder: string,
  name: string,
  device: BlockDevice,
): Promise<OpenUnitState> {
  invariant(/^[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}$/.test(name), 'a name that can be a file name');
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const file = await StateFile.open(join(folder, `${name}.state`), name);
  try {
    const state: UnitStateStore = {
      initial: parseUnitState(file.initial),
      save: (next, done) => {
        file.save(next, done);
      },
    };
    if (device.readOnly) return { options: { state }, close: () => file.close() };
    const atomicLog = await AtomicLogFile.open(join(folder, `${name}.atomic`), device);
    const close = async (): Promise<void> => {
      await atomicLog.close();
      await file.close();
    };
    return { options: { state, atomicLog }, close };
  } catch (e) {
    await file.close();
    throw e;
  }
}
