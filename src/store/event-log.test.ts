import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { silentLog } from '#base/mod.ts';
import { openEventLog, SqliteEventLog, UNSAVED_MAX, type EventRecord } from './event-log.ts';
import { EVENT_MIGRATIONS } from './migrations.ts';
import { openStore } from './open.ts';

const event = (n: number): Omit<EventRecord, 'id'> => ({
  atMs: 1_700_000_000_000 + n,
  boot: `boot-${n % 3}`,
  mac: '52:54:00:12:34:56',
  stage: 'script',
  facts: { n, url: 'http://10.0.0.1/script', ok: true },
});

function file(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'polyboot-events-'));
  t.after(() => {
    rmSync(path, { recursive: true, force: true });
  });
  return join(path, 'events.db');
}

test('events come back in order, from any number on', (t) => {
  const { log, close } = openEventLog(file(t));
  const problem = { what: 'w', why: 'y', todo: 't' };
  const ids = [
    log.append(event(1)),
    log.append({ ...event(2), machine: 'p4', stage: 'stopped', problem }),
    log.append(event(3)),
  ];
  assert.deepEqual(ids, [1, 2, 3]);
  assert.deepEqual(log.after(0, 10), [
    { id: 1, ...event(1) },
    { id: 2, ...event(2), machine: 'p4', stage: 'stopped', problem },
    { id: 3, ...event(3) },
  ]);
  assert.deepEqual(
    log.after(1, 1).map((e) => e.id),
    [2],
  );
  assert.deepEqual(
    log.tail(2).map((e) => e.id),
    [2, 3],
  );
  assert.deepEqual(log.after(3, 10), []);
  close();
});

test('numbers go on after a restart, also when all events were pruned', (t) => {
  const path = file(t);
  const first = openEventLog(path);
  for (let n = 0; n < 5; n += 1) first.log.append(event(n));
  assert.equal(first.log.prune(5), 5);
  assert.equal(first.log.lastId(), 5);
  first.close();
  const second = openEventLog(path);
  assert.equal(second.log.lastId(), 5);
  assert.equal(second.log.append(event(6)), 6);
  second.close();
});

test('old events leave by themselves', () => {
  const log = new SqliteEventLog(openStore(':memory:', EVENT_MIGRATIONS, 'NORMAL'), silentLog, 100);
  for (let n = 0; n < 2_500; n += 1) log.append(event(n));
  const kept = log.after(0, 10_000);
  assert.equal(kept[0]?.id, 1_901);
  assert.equal(kept.at(-1)?.id, 2_500);
});

test('disk full while logging: events wait in memory, bounded, and are written later', (t) => {
  const db = openStore(file(t), EVENT_MIGRATIONS, 'NORMAL');
  const log = new SqliteEventLog(db);
  log.append(event(0));
  db.pragma(`max_page_count = ${Number(db.pragma('page_count'))}`);
  let last = 0;
  for (let n = 1; n <= UNSAVED_MAX + 500; n += 1) last = log.append(event(n));
  assert.equal(last, UNSAVED_MAX + 501);
  const told = log.after(last - UNSAVED_MAX, 10_000);
  assert.equal(told.length, UNSAVED_MAX);
  assert.equal(told.at(-1)?.id, last);
  assert.deepEqual(
    log.tail(3).map((e) => e.id),
    [last - 2, last - 1, last],
  );
  db.pragma('max_page_count = 1000000');
  log.append(event(0));
  const again = new SqliteEventLog(db);
  assert.equal(again.lastId(), last + 1);
  assert.equal(again.tail(UNSAVED_MAX)[0]?.id, last + 2 - UNSAVED_MAX);
  db.close();
});

test('a damaged event log is set aside and never stops the server', (t) => {
  const path = file(t);
  writeFileSync(path, 'not a database at all, '.repeat(500));
  const { log, close } = openEventLog(path);
  assert.equal(log.append(event(1)), 1);
  close();
  assert.ok(existsSync(`${path}.damaged`));
});
