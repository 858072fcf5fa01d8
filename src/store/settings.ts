import type { Database } from './database.ts';
import { queryBuilder, type StateTables } from './tables.ts';

/** Small facts that outlive the process, by name: the instance's id, the last address pool … */
export interface SettingsStore {
  get(key: string): string | undefined;
  /** Durable when it returns. Undefined forgets the key. */
  set(key: string, value: string | undefined): void;
}

/** Settings in the state file. */
export class SqliteSettings implements SettingsStore {
  readonly #db: Database;
  readonly #query = queryBuilder<StateTables>();

  constructor(db: Database) {
    this.#db = db;
  }

  get(key: string): string | undefined {
    return this.#db.get(this.#query.selectFrom('settings').select('value').where('key', '=', key))
      ?.value;
  }

  set(key: string, value: string | undefined): void {
    if (value === undefined) {
      this.#db.run(this.#query.deleteFrom('settings').where('key', '=', key));
      return;
    }
    this.#db.run(
      this.#query
        .insertInto('settings')
        .values({ key, value })
        .onConflict((on) => on.column('key').doUpdateSet({ value })),
    );
  }
}

/** Settings of a run that keeps nothing. */
export class MemorySettings implements SettingsStore {
  readonly #values = new Map<string, string>();

  get(key: string): string | undefined {
    return this.#values.get(key);
  }

  set(key: string, value: string | undefined): void {
    if (value === undefined) this.#values.delete(key);
    else this.#values.set(key, value);
  }
}
