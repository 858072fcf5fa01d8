import type { ImageRepository } from '#images/mod.ts';
import type { MachineRepository } from '#machines/mod.ts';
import { SqliteImageRepository } from './image-repository.ts';
import { SqliteMachineRepository } from './machine-repository.ts';
import { STATE_MIGRATIONS } from './migrations.ts';
import { openStore } from './open.ts';
import { SqliteSettings, type SettingsStore } from './settings.ts';

/** Everything that must be right after kill -9, in one file. */
export type StateStore = {
  readonly machines: MachineRepository;
  readonly images: ImageRepository;
  readonly settings: SettingsStore;
  /** Idempotent. */
  close(): void;
};

/**
 * Opens (or makes) the state file for this process alone; `:memory:` keeps nothing.
 * Throws EnvironmentError: see `openStore`.
 */
export function openState(path: string): StateStore {
  const db = openStore(path, STATE_MIGRATIONS);
  return {
    machines: new SqliteMachineRepository(db),
    images: new SqliteImageRepository(db),
    settings: new SqliteSettings(db),
    close: () => {
      db.close();
    },
  };
}
