import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { FakeClock, silentLog } from '#base/mod.ts';
import { type CommitOutcome, LeaseJournal } from './journal.ts';
import { type JournalFile, type JournalStore, PathStore } from './journal-file.ts';
import {
  JOURNAL_HEAD,
  type JournalRecord,
  readRecords,
  RECORD_BYTES,
  writeRecord,
} from './journal-record.ts';

function record(n: number, over: Partial<JournalRecord> = {}): JournalRecord {
  return {
    kind: 'lease',
    address: 0x0a4d0000 + n,
    seconds: 600,
    expiresWallMs: 1_700_000_000_000 + n,
    client: `52:54:00:00:00:${n.toString(16).padStart(2, '0')}`,
    mac: '52:54:00:00:00:01',
    hostName: n % 2 === 0 ? undefined : `host${n}`,
    ...over,
  };
}

function image(records: readonly JournalRecord[]): Buffer {
  const bytes = Buffer.alloc(JOURNAL_HEAD.length + records.length * RECORD_BYTES);
  JOURNAL_HEAD.copy(bytes);
  let at = JOURNAL_HEAD.length;
  for (const one of records) at = writeRecord(bytes, at, one);
  return bytes.subarray(0, at);
}

function committed(journal: LeaseJournal, one: JournalRecord): Promise<CommitOutcome> {
  return new Promise((resolve) => {
    journal.append(one, resolve);
  });
}

/** A store in memory whose writes can fail, as a full or read-only disk does. */
class FaultyStore implements JournalStore {
  content = Buffer.alloc(0);
  failing = false;
  writes = 0;
  replaced = 0;

  async read(): Promise<Buffer | undefined> {
    return this.content.length === 0 ? undefined : this.content;
  }

  async replace(parts: AsyncIterable<Uint8Array>): Promise<JournalFile> {
    const all: Uint8Array[] = [];
    for await (const part of parts) all.push(part);
    if (this.failing) throw new RangeError('ENOSPC');
    this.content = Buffer.concat(all);
    this.replaced += 1;
    return {
      write: async (bytes, position) => {
        if (this.failing) throw new RangeError('ENOSPC');
        this.writes += 1;
        const grown = Buffer.alloc(Math.max(this.content.length, position + bytes.length));
        this.content.copy(grown);
        grown.set(bytes, position);
        this.content = grown;
      },
      close: async () => undefined,
    };
  }

  get records(): readonly JournalRecord[] {
    return readRecords(this.content)?.records ?? [];
  }
}

test('an answer that fails keeps neither the others nor later leases from theirs', async () => {
  const store = new FaultyStore();
  const { journal } = await LeaseJournal.open(store, new FakeClock(), silentLog);
  await journal.start(() => []);
  journal.append(record(1), () => {
    throw new RangeError('no such interface any more');
  });
  assert.equal(await committed(journal, record(2)), 'durable');
  assert.equal(await committed(journal, record(3)), 'durable');
  await journal.close();
  assert.equal(store.records.length, 3);
});

test('records: every prefix of a journal gives the whole records in it', () => {
  const all = [record(1), record(2), record(3, { kind: 'abandon', client: '', mac: '' })];
  const bytes = image(all);
  assert.deepEqual(readRecords(bytes), { records: all, endBytes: bytes.length, torn: false });
  let seen = 0;
  for (let length = JOURNAL_HEAD.length; length <= bytes.length; length++) {
    const contents = readRecords(bytes.subarray(0, length));
    assert.ok(contents !== undefined && contents.records.length >= seen);
    seen = contents.records.length;
    assert.deepEqual(contents.records, all.slice(0, seen));
  }
  assert.equal(seen, 3);
  assert.equal(readRecords(bytes.subarray(0, 4)), undefined);
});

test('records: a torn or damaged tail ends the journal and loses nothing before it', () => {
  const bytes = Buffer.concat([image([record(1), record(2)]), Buffer.alloc(64)]);
  const second = image([record(1)]).length;
  for (let at = second; at < image([record(1), record(2)]).length; at++) {
    const damaged = Buffer.from(bytes);
    damaged[at] = (damaged[at] ?? 0) ^ 0x55;
    const contents = readRecords(damaged);
    assert.deepEqual(contents?.records, [record(1)], `byte ${at}`);
    assert.equal(contents.torn, true);
  }
});

test('records: 100,000 mutated journals give records or none, and never throw', () => {
  const clean = image([record(1), record(2), record(3)]);
  let state = 99;
  const random = (below: number): number => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return (state >>> 8) % below;
  };
  let whole = 0;
  for (let n = 0; n < 100_000; n++) {
    const bytes = Buffer.from(clean);
    bytes[random(bytes.length)] = random(256);
    if (readRecords(bytes)?.records.length === 3) whole += 1;
  }
  assert.ok(whole > 100 && whole < 2000, `${whole} unharmed`);
});

test('group commit: what is appended in one turn is one write', async () => {
  const store = new FaultyStore();
  const { journal } = await LeaseJournal.open(store, new FakeClock(), silentLog);
  await journal.start(() => []);
  const outcomes = await Promise.all(
    Array.from({ length: 500 }, (_, n) => committed(journal, record(n))),
  );
  assert.ok(outcomes.every((o) => o === 'durable'));
  assert.equal(store.writes, 1);
  assert.equal(store.records.length, 500);
  await journal.close();
  assert.equal(await committed(journal, record(1)), 'failed');
});

test('adversary 8: a full disk means no lease, and service goes on when there is room', async () => {
  const store = new FaultyStore();
  const clock = new FakeClock();
  const { journal } = await LeaseJournal.open(store, clock, silentLog);
  const live = [record(7)];
  await journal.start(() => live);
  store.failing = true;
  assert.equal(await committed(journal, record(1)), 'failed');
  store.failing = false;
  assert.equal(await committed(journal, record(2)), 'failed', 'not before the retry time');
  clock.advance(1000);
  assert.equal(await committed(journal, record(3)), 'durable');
  assert.equal(store.replaced, 2, 'a whole new generation, not the old one');
  assert.deepEqual(store.records, [record(7), record(3)]);
});

test('compaction keeps what is live and nothing else', async () => {
  const store = new FaultyStore();
  const { journal } = await LeaseJournal.open(store, new FakeClock(), silentLog);
  const live = [record(1), record(2)];
  await journal.start(() => live);
  for (let round = 0; round < 4 && store.replaced === 1; round++) {
    const batch = Array.from({ length: 30_000 }, (_, n) => committed(journal, record(n & 1)));
    await Promise.all(batch);
  }
  await journal.close();
  assert.equal(store.replaced, 2);
  assert.deepEqual(store.records.slice(0, 2), live);
  // At most the round that was under way is behind them.
  assert.ok(store.records.length <= 30_002, `${store.records.length} records`);
});

test('a real file: reopened it gives the records back; a foreign file is refused', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pb-journal-'));
  t.after(() => {
    rmSync(folder, { recursive: true });
  });
  const path = join(folder, 'leases');
  const first = await LeaseJournal.open(new PathStore(path), new FakeClock(), silentLog);
  assert.deepEqual(first.records, []);
  await first.journal.start(() => []);
  assert.equal(await committed(first.journal, record(1)), 'durable');
  // As after kill -9: read while the first one never closed.
  assert.deepEqual(readRecords(readFileSync(path))?.records, [record(1)]);
  await first.journal.close();
  const second = await LeaseJournal.open(new PathStore(path), new FakeClock(), silentLog);
  assert.deepEqual(second.records, [record(1)]);
  await second.journal.start(() => second.records);
  assert.equal(await committed(second.journal, record(2)), 'durable');
  await second.journal.close();
  assert.deepEqual(readRecords(readFileSync(path))?.records, [record(1), record(2)]);
  assert.equal(statSync(path).mode & 0o007, 0);
  writeFileSync(path, 'something else entirely');
  await assert.rejects(LeaseJournal.open(new PathStore(path), new FakeClock(), silentLog), {
    code: 'dhcp-journal',
  });
  const nowhere = new PathStore(join(folder, 'missing', 'leases'));
  const none = await LeaseJournal.open(nowhere, new FakeClock(), silentLog);
  await assert.rejects(
    none.journal.start(() => []),
    { code: 'dhcp-journal' },
  );
});
