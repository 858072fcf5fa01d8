import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CounterDevice, ErrorDevice } from '#block/mod.ts';
import type { BlockErrorKind, BlockOperation } from '#block/mod.ts';
import type { UnitOptions } from '#scsi/mod.ts';
import { bench } from './scsi-bench.ts';
import type { Bench } from './scsi-bench.ts';
import { Initiator, hex } from './scsi-initiator.ts';

/** A unit whose flushes are counted. */
function counted(options: Partial<UnitOptions> = {}): Bench & { readonly counter: CounterDevice } {
  let counter: CounterDevice | undefined;
  const b = bench(options, (memory) => (counter = new CounterDevice(memory)));
  assert.ok(counter !== undefined);
  return { ...b, counter };
}

const out = Buffer.alloc(512, 1);
const WRITE = '2a 00 00 00 00 00 00 00 01 00';
const WRITE_FUA = '2a 08 00 00 00 00 00 00 01 00';

test('1_cache-bits: WCE and DPOFUA are always shown, and WCE is as configured', async () => {
  for (const [cache, wce] of [
    ['writeback', 0x04],
    ['writethrough', 0x00],
  ] as const) {
    const { one } = bench({ cache });
    const mode = (await one.run(hex('1a 08 08 00 ff 00'))).data;
    assert.equal(mode[4], 0x08);
    assert.equal((mode[6] ?? 0) & 0x04, wce);
    assert.equal((mode[2] ?? 0) & 0x10, 0x10);
    const changeable = (await one.run(hex('1a 08 48 00 ff 00'))).data;
    assert.equal((changeable[6] ?? 0) & 0x04, 0x04);
  }
});

test('2_write: GOOD without a flush while WCE is set', async () => {
  const { one, counter } = counted();
  await one.run(hex(WRITE), { out });
  assert.equal(counter.flushes, 0);
});

test('3_write: FUA, WRITE AND VERIFY and WCE = 0 flush before GOOD', async () => {
  const { one, counter } = counted();
  await one.run(hex(WRITE_FUA), { out });
  assert.equal(counter.flushes, 1);
  await one.run(hex('2e 00 00 00 00 00 00 00 01 00'), { out });
  assert.equal(counter.flushes, 2);
  for (const cdb of [
    WRITE,
    '0a 00 00 00 01 00',
    '41 00 00 00 00 00 00 00 01 00',
    '8b 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00',
    '93 01 00 00 00 00 00 00 00 00 00 00 00 08 00 00',
  ]) {
    const through = counted({ cache: 'writethrough' });
    const ended = await through.one.run(hex(cdb), { out });
    assert.deepEqual([ended.status, through.counter.flushes], [0, 1], cdb);
  }
});

test('3_read: FUA flushes before it reads', async () => {
  const { one, counter } = counted();
  await one.run(hex(WRITE), { out });
  const ended = await one.run(hex('28 08 00 00 00 00 00 00 01 00'));
  assert.ok(ended.data.equals(out));
  assert.equal(counter.flushes, 1);
});

test('1_mode-select: switching WCE off flushes, holds for writes, and is told to others', async () => {
  const { one, set, counter } = counted();
  const two = new Initiator(set, 'iqn.2026-11.org.polyboot:two');
  await one.run(hex(WRITE), { out });
  const off = Buffer.concat([Buffer.alloc(4), hex('08 12'), Buffer.alloc(18)]);
  assert.equal((await one.run(hex('15 10 00 00 18 00'), { out: off })).status, 0);
  assert.equal(counter.flushes, 1);
  await one.run(hex(WRITE), { out });
  assert.equal(counter.flushes, 2);
  assert.equal((await two.run(hex('00 00 00 00 00 00'))).sense, '6/2a/01');
  assert.equal((await one.run(hex('00 00 00 00 00 00'))).status, 0);
});

test('4_synchronize-cache: flushes whatever the range and IMMED', async () => {
  for (const cdb of [
    '35 00 00 00 00 00 00 00 00 00',
    '35 02 00 00 00 10 00 00 01 00',
    '91 02 00 00 00 00 00 00 00 01 00 00 00 01 00 00',
  ]) {
    const { one, counter } = counted();
    assert.equal((await one.run(hex(cdb))).status, 0);
    assert.equal(counter.flushes, 1, cdb);
  }
});

test('4_failed-flush: MEDIUM ERROR once, then HARDWARE ERROR for good', async () => {
  let broken = true;
  const { one } = bench(
    {},
    (memory) =>
      new ErrorDevice(memory, (operation) => (operation === 'flush' && broken ? 'io' : null)),
  );
  assert.equal((await one.run(hex('35 00 00 00 00 00 00 00 00 00'))).sense, '3/0c/00');
  // The disk works again, but what was lost stays lost.
  broken = false;
  for (const cdb of [
    '35 00 00 00 00 00 00 00 00 00',
    WRITE,
    '28 00 00 00 00 00 00 00 01 00',
    '00 00 00 00 00 00',
  ]) {
    assert.equal((await one.run(hex(cdb), { out })).sense, '4/44/00', cdb);
  }
});

test('4_mode-select: a flush that fails leaves WCE as it was, and no later one is GOOD', async () => {
  const { one } = bench(
    {},
    (memory) => new ErrorDevice(memory, (o) => (o === 'flush' ? 'io' : null)),
  );
  const off = Buffer.concat([Buffer.alloc(4), hex('08 12'), Buffer.alloc(18)]);
  const select = hex('15 10 00 00 18 00');
  assert.equal((await one.run(select, { out: off })).sense, '3/0c/00');
  assert.equal((await one.run(hex('1a 08 08 00 ff 00'))).data[6], 0x04);
  for (let i = 0; i < 2; i++) {
    assert.equal((await one.run(select, { out: off })).sense, '4/44/00');
  }
});

test('errors: each kind has its sense, with the LBA', async () => {
  const cases: readonly [BlockOperation, BlockErrorKind, string, string][] = [
    ['read', 'io', '28 00 00 00 00 05 00 00 04 00', '3/11/00'],
    ['write', 'io', '2a 00 00 00 00 05 00 00 01 00', '3/0c/00'],
    ['write', 'no-space', '2a 00 00 00 00 05 00 00 01 00', '7/27/07'],
    ['write', 'read-only', '2a 00 00 00 00 05 00 00 01 00', '7/27/00'],
    ['read', 'failed', '28 00 00 00 00 05 00 00 01 00', '4/44/00'],
    ['read', 'gone', '28 00 00 00 00 05 00 00 01 00', '2/05/00'],
    ['zero', 'no-space', '41 00 00 00 00 05 00 00 01 00', '7/27/07'],
    ['read', 'io', '2f 00 00 00 00 05 00 00 01 00', '3/11/00'],
    ['read', 'io', '2f 02 00 00 00 05 00 00 01 00', '3/11/00'],
  ];
  for (const [operation, kind, cdb, sense] of cases) {
    const { one, memory } = bench(
      {},
      (inner) => new ErrorDevice(inner, (o) => (o === operation ? kind : null)),
    );
    const data = operation === 'zero' ? Buffer.alloc(512) : out;
    const ended = await one.run(hex(cdb), { out: data });
    assert.equal(ended.sense, sense, `${operation} ${kind}`);
    if (kind === 'io' || kind === 'no-space') {
      assert.equal(ended.raw[0], 0xf0);
      assert.equal(ended.raw.readUInt32BE(3), 5);
    }
    assert.equal(memory.extentAt(0, memory.sizeBytes).state, 'hole');
  }
});

test('errors: no-space harms nothing, and the unit goes on when there is room', async () => {
  let full = true;
  const { one } = bench(
    {},
    (memory) => new ErrorDevice(memory, (o) => (o === 'write' && full ? 'no-space' : null)),
  );
  assert.equal((await one.run(hex(WRITE), { out })).sense, '7/27/07');
  full = false;
  assert.equal((await one.run(hex(WRITE), { out })).status, 0);
  assert.ok((await one.run(hex('28 00 00 00 00 00 00 00 01 00'))).data.equals(out));
});
