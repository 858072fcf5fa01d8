import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { type Compilable } from 'kysely';
import { invariant } from '#base/mod.ts';
import { storeError } from './store-error.ts';

/**
 * The one file that knows node:sqlite.
 *
 * Why synchronous: a boot decision reads, decides and commits; with `await` between these steps two
 * machines could both be told that an image is free. SQLite is in this process, a read costs
 * microseconds and a commit one fsync, so there is nothing to wait for that the thread could use.
 * Why kysely all the same: it builds and types the queries (a wrong column does not compile) and
 * its compiler is synchronous. Only its runner is not, so `all`, `get` and `run` here take what it
 * compiled. A PostgreSQL store would compile the same queries, and serve decisions from memory.
 */
export class Database {
  readonly #db: DatabaseSync;
  readonly #path: string;
  readonly #statements = new Map<string, StatementSync>();
  #depth = 0;

  /**
   * Opens (and creates) the file; `:memory:` for one that is never written.
   * Throws EnvironmentError.
   */
  constructor(path: string, busyTimeoutMs = 0) {
    this.#path = path;
    this.#db = this.#guard(
      () => new DatabaseSync(path, { timeout: busyTimeoutMs, enableForeignKeyConstraints: true }),
    );
  }

  get path(): string {
    return this.#path;
  }

  /** Runs SQL without parameters: pragmas and migrations. */
  exec(sql: string): void {
    this.#guard(() => {
      this.#db.exec(sql);
    });
  }

  /** The first column of the first row of a pragma. */
  pragma(text: string): unknown {
    const row = this.#guard(() => this.#db.prepare(`PRAGMA ${text}`).get());
    return row === undefined ? undefined : Object.values(row)[0];
  }

  /** All rows of a query. */
  all<Row>(query: Compilable<Row>): Row[] {
    const { sql, parameters } = query.compile();
    // The row type is what kysely derived from the query; STRICT tables hold no other types.
    return this.#guard(() => this.#prepare(sql).all(...bindable(parameters)) as Row[]);
  }

  /** The first row of a query. */
  get<Row>(query: Compilable<Row>): Row | undefined {
    const { sql, parameters } = query.compile();
    return this.#guard(() => this.#prepare(sql).get(...bindable(parameters)) as Row | undefined);
  }

  /** Runs a change; the rows it touched and the last row id. */
  run(query: Compilable): { changes: number; lastId: number } {
    const { sql, parameters } = query.compile();
    const result = this.#guard(() => this.#prepare(sql).run(...bindable(parameters)));
    return { changes: Number(result.changes), lastId: Number(result.lastInsertRowid) };
  }

  /**
   * All of `work` or nothing; durable (synchronous=FULL) when the outermost one returns. An inner
   * one is a savepoint: when it throws and its caller goes on, only the inner part is undone.
   */
  transaction<T>(work: () => T): T {
    const name = `level${this.#depth}`;
    this.exec(this.#depth === 0 ? 'BEGIN IMMEDIATE' : `SAVEPOINT ${name}`);
    this.#depth += 1;
    try {
      const result = work();
      invariant(!(result instanceof Promise), 'a transaction must not be asynchronous');
      this.exec(this.#depth === 1 ? 'COMMIT' : `RELEASE ${name}`);
      this.#depth -= 1;
      return result;
    } catch (e) {
      this.#depth -= 1;
      // A full disk ends the whole transaction by itself.
      if (this.#db.isTransaction)
        this.exec(this.#depth === 0 ? 'ROLLBACK' : `ROLLBACK TO ${name}; RELEASE ${name}`);
      throw e;
    }
  }

  /** Writes the log back into the file and lets go of it. Idempotent. */
  close(): void {
    if (!this.#db.isOpen) return;
    this.#statements.clear();
    this.#guard(() => {
      this.#db.close();
    });
  }

  // Queries are built from a fixed set of shapes, so this stays small.
  #prepare(sql: string): StatementSync {
    const known = this.#statements.get(sql);
    if (known !== undefined) return known;
    const statement = this.#db.prepare(sql);
    this.#statements.set(sql, statement);
    return statement;
  }

  #guard<T>(work: () => T): T {
    try {
      return work();
    } catch (e) {
      throw storeError(e, this.#path);
    }
  }
}

type Bindable = string | number | bigint | null | Uint8Array;

function bindable(parameters: readonly unknown[]): Bindable[] {
  return parameters.map((value) => {
    if (value === undefined || value === null) return null;
    if (typeof value === 'boolean') return value ? 1 : 0;
    invariant(
      typeof value === 'string' || typeof value === 'number' || value instanceof Uint8Array,
      `a ${typeof value} cannot be stored`,
    );
    return value;
  });
}
