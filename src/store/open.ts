import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, renameSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { EnvironmentError, errnoOf, messageOf } from '#base/mod.ts';
import { Database } from './database.ts';
import type { Migration } from './migrations.ts';
import { storeCorrupt } from './store-error.ts';

/** "PLYB": in the header of every file of ours, so that no other program's is mistaken for one. */
const APPLICATION_ID = 0x504c5942;

/** Another process gets this long to finish (a backup, a polyboot that is just ending). */
export const BUSY_TIMEOUT_MS = 2_000;

const IN_MEMORY = ':memory:';

/**
 * Opens a file of ours for this process alone, brought to the newest schema.
 *
 * `synchronous` FULL: a commit is on the disk when it returns (durability contract 10). NORMAL: it
 * survives the death of the process, not of the power.
 *
 * Throws EnvironmentError: `store-locked`, `store-corrupt`, `store-newer`, `store-access`,
 * `store-full` (hostile case 48). Before a migration the file is copied to `<path>.before-v<n>`.
 */
export function openStore(
  path: string,
  migrations: readonly Migration[],
  synchronous: 'FULL' | 'NORMAL' = 'FULL',
  busyTimeoutMs: number = BUSY_TIMEOUT_MS,
): Database {
  if (path !== IN_MEMORY) createPrivate(path);
  const db = new Database(path, busyTimeoutMs);
  try {
    // EXCLUSIVE: the index in memory (machines) is right only while nobody else writes the file.
    db.pragma('locking_mode = EXCLUSIVE');
    checkOurs(db);
    db.pragma('journal_mode = WAL');
    db.pragma(`synchronous = ${synchronous}`);
    db.pragma('trusted_schema = OFF');
    checkWhole(db);
    migrate(db, migrations);
    // A lock on the file is taken by the first write, not by the pragma.
    db.transaction(() => {
      db.pragma(`application_id = ${APPLICATION_ID}`);
    });
    return db;
  } catch (e) {
    db.close();
    throw e;
  }
}

function createPrivate(path: string): void {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    if (existsSync(path)) return;
    // CHAP secrets live here: for the owner's eyes only. SQLite gives its log the same mode.
    closeSync(openSync(path, 'a', 0o600));
    syncFolder(dirname(path));
  } catch (e) {
    throw new EnvironmentError(
      'store-access',
      {
        what: `the state file ${path} cannot be made`,
        why: errnoOf(e) === undefined ? messageOf(e) : `${errnoOf(e)}: ${messageOf(e)}`,
        todo: 'check that its folder exists and who owns it (polyboot usually runs as root)',
      },
      { cause: e },
    );
  }
}

// Before anything is written: another program's file stays byte for byte as it is.
function checkOurs(db: Database): void {
  const fresh = db.pragma('application_id') === 0 && db.pragma('schema_version') === 0;
  if (!fresh && db.pragma('application_id') !== APPLICATION_ID)
    throw storeCorrupt(db.path, 'it is an SQLite file of another program');
}

function checkWhole(db: Database): void {
  const verdict = db.pragma('quick_check(1)');
  if (verdict !== 'ok') throw storeCorrupt(db.path, String(verdict));
}

function migrate(db: Database, migrations: readonly Migration[]): void {
  const version = Number(db.pragma('user_version'));
  if (version > migrations.length) throw newer(db.path, version, migrations.length);
  if (version === migrations.length) return;
  if (version > 0) backUp(db, `${db.path}.before-v${migrations.length}`);
  db.transaction(() => {
    for (const { sql } of migrations.slice(version)) db.exec(sql);
    db.pragma(`user_version = ${migrations.length}`);
    db.pragma(`application_id = ${APPLICATION_ID}`);
  });
}

/** A consistent copy beside the file, complete before it has its name. */
function backUp(db: Database, to: string): void {
  if (db.path === IN_MEMORY) return;
  const partial = `${to}.partial`;
  rmSync(partial, { force: true });
  db.exec(`VACUUM INTO '${partial.replaceAll("'", "''")}'`);
  const fd = openSync(partial, 'r+');
  fsyncSync(fd);
  closeSync(fd);
  renameSync(partial, to);
  syncFolder(dirname(to));
}

function syncFolder(path: string): void {
  const fd = openSync(path, 'r');
  fsyncSync(fd);
  closeSync(fd);
}

function newer(path: string, version: number, known: number): EnvironmentError {
  return new EnvironmentError('store-newer', {
    what: `the state file ${path} was written by a newer polyboot`,
    why: `its schema has version ${version}, this program knows ${known}`,
    todo: `start the newer one, or go back to the copy it made before: ${path}.before-v${version}`,
  });
}
