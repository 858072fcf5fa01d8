import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test, type TestContext } from 'node:test';
import { EnvironmentError, InternalError } from '#base/mod.ts';
import { run } from '../../test/lab/process.ts';
import { STATE_MIGRATIONS } from './migrations.ts';
import { openState } from './mod.ts';
import { openStore } from './open.ts';

const ONE = [{ name: 'one', sql: "CREATE TABLE t (a TEXT) STRICT; INSERT INTO t VALUES ('kept')" }];
const TWO = [...ONE, { name: 'two', sql: 'ALTER TABLE t ADD COLUMN b INTEGER' }];

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'polyboot-store-'));
  t.after(() => {
    rmSync(path, { recursive: true, force: true });
  });
  return path;
}

const environment = (code: string, text: RegExp) => (e: unknown) => {
  assert.ok(e instanceof EnvironmentError, String(e));
  assert.equal(e.code, code);
  assert.match(e.message, text);
  return true;
};

function rows(path: string): unknown {
  const db = new DatabaseSync(path, { readOnly: true });
  try {
    return db.prepare('SELECT * FROM t').all();
  } finally {
    db.close();
  }
}

test('a new file is private, in WAL mode, and synchronous', (t) => {
  const path = join(folder(t), 'deep', 'state.db');
  const db = openStore(path, STATE_MIGRATIONS);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.equal(statSync(`${path}-wal`).mode & 0o777, 0o600);
  assert.equal(statSync(join(path, '..')).mode & 0o777, 0o700);
  assert.equal(db.pragma('journal_mode'), 'wal');
  assert.equal(db.pragma('synchronous'), 2);
  assert.equal(db.pragma('foreign_keys'), 1);
  assert.equal(db.pragma('user_version'), STATE_MIGRATIONS.length);
  db.close();
  db.close();
});

test('state locked by another polyboot is refused, and says who has it', async (t) => {
  const path = join(folder(t), 'state.db');
  const held = openState(path);
  const script = `
    import { openState } from '${join(import.meta.dirname, 'mod.ts')}';
    try { openState('${path}'); console.log('opened'); }
    catch (e) { console.log(e.code, e.message); }`;
  const said = await run(process.execPath, ['--input-type=module-typescript', '-e', script]);
  held.close();
  assert.match(said, /^store-locked/);
  assert.match(said, new RegExp(`in use by \\S+ \\(process ${process.pid}\\)`));
  openState(path).close();
});

test('state that is damaged is refused, wherever the damage is', (t) => {
  const path = join(folder(t), 'state.db');
  writeFileSync(path, 'this is no database, it is a letter to a friend\n'.repeat(100));
  assert.throws(() => openState(path), environment('store-corrupt', /damaged or is no polyboot/));

  rmSync(path);
  openState(path).close();
  const whole = readFileSync(path);
  for (const [from, to] of [
    [100, 4096],
    [4096, 4196],
    [whole.length - 4096, whole.length],
  ] as const) {
    const broken = Buffer.from(whole);
    broken.fill(0xa5, from, to);
    writeFileSync(path, broken);
    assert.throws(() => openState(path), environment('store-corrupt', /apply lab\.yaml/));
  }
  writeFileSync(path, whole.subarray(0, 4096 * 3 + 100));
  assert.throws(() => openState(path), environment('store-corrupt', /damaged/));
  writeFileSync(path, whole);
  openState(path).close();
});

test('an SQLite file of another program is left alone', (t) => {
  const path = join(folder(t), 'other.db');
  const other = new DatabaseSync(path);
  other.exec("CREATE TABLE t (a); INSERT INTO t VALUES ('theirs')");
  other.close();
  assert.throws(() => openState(path), environment('store-corrupt', /another program/));
  assert.deepEqual(rows(path), [Object.assign(Object.create(null), { a: 'theirs' })]);
});

test('state of a newer polyboot is refused and stays as it is', (t) => {
  const path = join(folder(t), 'state.db');
  openStore(path, TWO).close();
  const before = readFileSync(path);
  assert.throws(
    () => openStore(path, ONE),
    environment('store-newer', /newer polyboot[\s\S]*version 2, this program knows 1/),
  );
  assert.deepEqual(readFileSync(path), before);
});

test('a migration keeps the data and leaves a copy of the file as it was', (t) => {
  const path = join(folder(t), 'state.db');
  openStore(path, ONE).close();
  const db = openStore(path, TWO);
  assert.equal(db.pragma('user_version'), 2);
  db.close();
  assert.deepEqual(rows(path), [Object.assign(Object.create(null), { a: 'kept', b: null })]);
  assert.deepEqual(rows(`${path}.before-v2`), [Object.assign(Object.create(null), { a: 'kept' })]);
  openStore(`${path}.before-v2`, ONE).close();
});

test('a migration that fails changes nothing', (t) => {
  const path = join(folder(t), 'state.db');
  openStore(path, ONE).close();
  const bad = [...TWO, { name: 'bad', sql: 'CREATE TABLE u (a); INSERT INTO nowhere VALUES (1)' }];
  assert.throws(() => openStore(path, bad), InternalError);
  const db = openStore(path, ONE);
  assert.equal(db.pragma('user_version'), 1);
  db.close();
});

test('a folder that cannot be made is said so', (t) => {
  const path = folder(t);
  writeFileSync(join(path, 'file'), '');
  assert.throws(
    () => openState(join(path, 'file', 'state.db')),
    environment('store-access', /ENOTDIR|EEXIST/),
  );
  assert.throws(() => openState(path), environment('store-access', /cannot be opened/));
});

test('a full disk refuses the change, keeps the rest, and works again after', (t) => {
  const state = join(folder(t), 'state.db');
  const db = openStore(state, ONE);
  db.pragma(`max_page_count = ${Number(db.pragma('page_count')) + 2}`);
  const big = 'x'.repeat(100_000);
  assert.throws(
    () => {
      db.transaction(() => {
        db.exec("INSERT INTO t VALUES ('small')");
        db.exec(`INSERT INTO t VALUES ('${big}')`);
      });
    },
    environment('store-full', /disk that holds .* is full/),
  );
  db.pragma('max_page_count = 1000000');
  db.transaction(() => {
    db.exec("INSERT INTO t VALUES ('after')");
  });
  db.close();
  assert.deepEqual(rows(state), [
    Object.assign(Object.create(null), { a: 'kept' }),
    Object.assign(Object.create(null), { a: 'after' }),
  ]);
});

test('a transaction that turns out asynchronous is undone', (t) => {
  const path = join(folder(t), 'state.db');
  const db = openStore(path, ONE);
  assert.throws(() => {
    void db.transaction(async () => {
      db.exec("INSERT INTO t VALUES ('half')");
      await Promise.resolve();
    });
  }, InternalError);
  db.close();
  assert.deepEqual(rows(path), [Object.assign(Object.create(null), { a: 'kept' })]);
});
