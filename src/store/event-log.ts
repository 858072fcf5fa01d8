import { renameSync, rmSync } from 'node:fs';
import type { Selectable } from 'kysely';
import { EnvironmentError, messageOf, silentLog, type Explanation, type Log } from '#base/mod.ts';
import type { Database } from './database.ts';
import { EVENT_MIGRATIONS } from './migrations.ts';
import { openStore } from './open.ts';
import { queryBuilder, type EventTables } from './tables.ts';

/** One stage of one boot, as it is kept. `boot` is shared by all events of one power-on. */
export type EventRecord<Stage extends string = string> = {
  readonly id: number;
  readonly atMs: number;
  readonly boot: string;
  readonly machine?: string;
  readonly mac: string;
  readonly stage: Stage;
  readonly facts: Readonly<Record<string, string | number | boolean>>;
  readonly problem?: Explanation;
};

/** The story of all boots, newest last; numbers grow and never come again. */
export interface EventLog<Stage extends string = string> {
  /** Keeps the event and gives it its number. Never throws for the disk's sake. */
  append(event: Omit<EventRecord<Stage>, 'id'>): number;
  /** At most `limit` events after number `id`, oldest first. */
  after(id: number, limit: number): EventRecord<Stage>[];
  /** The newest `limit` events, oldest first. */
  tail(limit: number): EventRecord<Stage>[];
  /** Number of the newest event; 0 when there was none. */
  lastId(): number;
  /** Forgets events until number `id`; how many went. */
  prune(id: number): number;
}

/** Events kept: a hundred thousand are 10,000 boots and about 30 MB. */
export const EVENTS_MAX = 100_000;
/** Old events go in batches, so that a boot pays for a deletion once in a thousand events. */
const PRUNE_EVERY = 1_000;
/** Events held in memory while the disk takes none. */
export const UNSAVED_MAX = 1_000;

type Row = Selectable<EventTables['events']>;

/**
 * Events in a file of their own: their writes need no fsync (a power cut may cost the last ones),
 * and a full disk or a damaged file costs the story, never the state or a boot (hostile case 48).
 */
export class SqliteEventLog<Stage extends string = string> implements EventLog<Stage> {
  readonly #db: Database;
  readonly #query = queryBuilder<EventTables>();
  readonly #log: Log;
  readonly #eventsMax: number;
  #unsaved: EventRecord<Stage>[] = [];
  #lastId: number;

  constructor(db: Database, log: Log = silentLog, eventsMax = EVENTS_MAX) {
    this.#db = db;
    this.#log = log;
    this.#eventsMax = eventsMax;
    this.#lastId = this.#sequence();
  }

  append(event: Omit<EventRecord<Stage>, 'id'>): number {
    this.#lastId += 1;
    this.#unsaved.push({ id: this.#lastId, ...event });
    try {
      this.#save();
    } catch (e) {
      if (!(e instanceof EnvironmentError)) throw e;
      if (this.#unsaved.length > UNSAVED_MAX) this.#unsaved.shift();
      this.#log.error({ why: messageOf(e), unsaved: this.#unsaved.length }, 'event not written');
    }
    return this.#lastId;
  }

  after(id: number, limit: number): EventRecord<Stage>[] {
    const query = this.#query.selectFrom('events').selectAll().where('id', '>', id);
    const saved = this.#db.all(query.orderBy('id').limit(limit)).map((row) => this.#event(row));
    return [...saved, ...this.#unsaved.filter((event) => event.id > id)].slice(0, limit);
  }

  tail(limit: number): EventRecord<Stage>[] {
    const query = this.#query.selectFrom('events').selectAll().orderBy('id', 'desc').limit(limit);
    const saved = this.#db.all(query).map((row) => this.#event(row));
    return [...saved.toReversed(), ...this.#unsaved].slice(-limit);
  }

  lastId(): number {
    return this.#lastId;
  }

  prune(id: number): number {
    return this.#db.run(this.#query.deleteFrom('events').where('id', '<=', id)).changes;
  }

  #save(): void {
    this.#db.transaction(() => {
      for (const event of this.#unsaved)
        this.#db.run(this.#query.insertInto('events').values(rowOf(event)));
    });
    this.#unsaved = [];
    if (this.#lastId % PRUNE_EVERY === 0) this.prune(this.#lastId - this.#eventsMax);
  }

  /** The last number given, also when its event is pruned. */
  #sequence(): number {
    const query = queryBuilder<{ sqlite_sequence: { name: string; seq: number } }>()
      .selectFrom('sqlite_sequence')
      .select('seq')
      .where('name', '=', 'events');
    return this.#db.get(query)?.seq ?? 0;
  }

  #event(row: Row): EventRecord<Stage> {
    return {
      id: row.id,
      atMs: row.at_ms,
      boot: row.boot,
      ...(row.machine === null ? {} : { machine: row.machine }),
      mac: row.mac,
      // Only `append` writes here, and it takes nothing but these types.
      stage: row.stage as Stage,
      facts: JSON.parse(row.facts) as EventRecord['facts'],
      ...(row.problem === null ? {} : { problem: JSON.parse(row.problem) as Explanation }),
    };
  }
}

/** The log in `path`. A damaged file is set aside as `<path>.damaged` and a new one begun. */
export function openEventLog<Stage extends string = string>(
  path: string,
  log: Log = silentLog,
): { log: SqliteEventLog<Stage>; close: () => void } {
  const db = openOrBegin(path, log);
  return {
    log: new SqliteEventLog<Stage>(db, log),
    close: () => {
      db.close();
    },
  };
}

function openOrBegin(path: string, log: Log): Database {
  try {
    return openStore(path, EVENT_MIGRATIONS, 'NORMAL');
  } catch (e) {
    if (!(e instanceof EnvironmentError) || e.code !== 'store-corrupt') throw e;
    log.warn({ path, why: e.message }, 'the event log is damaged: set aside, a new one begun');
    renameSync(path, `${path}.damaged`);
    for (const part of ['-wal', '-shm']) rmSync(`${path}${part}`, { force: true });
    return openStore(path, EVENT_MIGRATIONS, 'NORMAL');
  }
}

function rowOf(event: EventRecord): Row {
  return {
    id: event.id,
    at_ms: Math.round(event.atMs),
    boot: event.boot,
    machine: event.machine ?? null,
    mac: event.mac,
    stage: event.stage,
    facts: JSON.stringify(event.facts),
    problem: event.problem === undefined ? null : JSON.stringify(event.problem),
  };
}
