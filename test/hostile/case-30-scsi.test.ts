import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MemoryDevice, ReadOnlyDevice } from '#block/mod.ts';
import { BLOCK_BYTES } from './raw-initiator.ts';
import type { RawInitiator, RawResult } from './raw-initiator.ts';
import { DISK_BYTES, HeldDevice, marked, rig, until } from './rig.ts';

const BLOCKS = DISK_BYTES / BLOCK_BYTES;
const RESERVATION_CONFLICT = 0x18;

function hex(text: string): number[] {
  return [...Buffer.from(text.replaceAll(' ', ''), 'hex')];
}

function u32(value: number): string {
  return value.toString(16).padStart(8, '0');
}

/** Runs a CDB with data out, data in, or none. */
async function run(
  peer: RawInitiator,
  cdb: string,
  more: { readonly out?: Uint8Array; readonly readBytes?: number; readonly lun?: number } = {},
): Promise<RawResult> {
  const { out, readBytes } = more;
  const tag = peer.issue(hex(cdb), {
    lun: more.lun ?? 0,
    read: readBytes !== undefined,
    write: out !== undefined,
    expectedLengthBytes: readBytes ?? out?.length ?? 0,
  });
  return peer.result(tag, out);
}

function sense(result: RawResult): string {
  const [key, asc, ascq] = [result.sense[2], result.sense[12], result.sense[13]];
  return [(key ?? 0) & 15, asc ?? 0, ascq ?? 0].map((n) => n.toString(16)).join('/');
}

test('hostile case 30: ranges that wrap or end behind the disk', async (t) => {
  const r = await rig(t);
  const peer = await r.enter();
  const beyond: readonly string[] = [
    `28 00 ${u32(BLOCKS)} 00 0001 00`,
    `28 00 ${u32(BLOCKS - 1)} 00 0002 00`,
    `28 00 ffffffff 00 ffff 00`,
    `88 00 ffffffffffffffff 00000001 00 00`,
    `88 00 fffffffffffffff0 00000020 00 00`,
    `8f 00 00000000 ${u32(BLOCKS)} 00000001 00 00`,
  ];
  for (const cdb of beyond) {
    const result = await run(peer, cdb, { readBytes: 1024 });
    assert.deepEqual([result.status, sense(result)], [2, '5/21/0'], cdb);
    assert.equal(result.data.length, 0);
  }
  const nothing = await run(peer, `28 00 ${u32(BLOCKS)} 00 0000 00`, { readBytes: 0 });
  assert.ok(nothing.status === 0 || sense(nothing) === '5/21/0');
});

test('hostile case 30: residuals when header and CDB differ, on the wire', async (t) => {
  const r = await rig(t);
  const peer = await r.enter();
  const two = '28 00 00000000 00 0002 00';
  const cases: readonly [readBytes: number, sent: number, residual: string, count: number][] = [
    [1024, 1024, 'none', 0],
    [4096, 1024, 'underflow', 3072],
    [512, 512, 'overflow', 512],
    [1, 1, 'overflow', 1023],
    [0, 0, 'overflow', 1024],
  ];
  for (const [readBytes, sent, residual, count] of cases) {
    const got = await run(peer, two, { readBytes });
    assert.deepEqual(
      [got.status, got.data.length, got.residual, got.residualBytes],
      [0, sent, residual, count],
      `${readBytes} expected`,
    );
  }
  for (const length of [0, 1, 4, 5, 36, 255]) {
    const inquiry = await run(peer, `12 00 00 00 ${u32(length).slice(6)} 00`, { readBytes: 300 });
    assert.equal(inquiry.data.length, Math.min(length, inquiry.data.length));
    assert.equal(inquiry.data.length + inquiry.residualBytes, 300);
  }
});

test('hostile case 30: a LUN that is not there', async (t) => {
  const r = await rig(t);
  const peer = await r.enter();
  const inquiry = await run(peer, '12 00 00 00 24 00', { readBytes: 36, lun: 9 });
  assert.deepEqual([inquiry.status, inquiry.data[0]], [0, 0x7f]);
  const luns = await run(peer, 'a0 00 00 00 00 00 00000100 00 00', { readBytes: 256, lun: 9 });
  assert.ok(luns.status === 0 || sense(luns) === '5/25/0');
  const read = await run(peer, '28 00 00000000 00 0001 00', { readBytes: 512, lun: 9 });
  assert.equal(sense(read), '5/25/0');
});

test('hostile case 31: COMPARE AND WRITE by two initiators at once: one wins', async (t) => {
  const memory = new MemoryDevice({ sizeBytes: DISK_BYTES });
  const disk = new HeldDevice(memory);
  disk.open = true;
  const r = await rig(t, { device: disk });
  const one = await r.enter({ initiator: 'iqn.2026-11.test:one' });
  const two = await r.enter({ initiator: 'iqn.2026-11.test:two' });
  const swap = (mark: number): Uint8Array =>
    Buffer.concat([marked(BLOCK_BYTES, 0), marked(BLOCK_BYTES, mark)]);
  disk.open = false;
  const cdb = '89 00 0000000000000000 000000 01 00 00';
  const both = [run(one, cdb, { out: swap(1) }), run(two, cdb, { out: swap(2) })];
  await until(() => disk.waiting.length > 0);
  disk.unlock();
  const statuses = (await Promise.all(both)).map((result) => [result.status, sense(result)]);
  assert.deepEqual(
    statuses.map(([status]) => Number(status)).toSorted((a, b) => a - b),
    [0, 2],
  );
  assert.ok(
    statuses.some(([, text]) => text === 'e/1d/0'),
    'the other one is told MISCOMPARE',
  );
  const on = await one.read(0, 1);
  assert.ok(on[0] === 1 || on[0] === 2);
});

const KEY = { one: '00000000000000a1', two: '00000000000000b2' };

/** PERSISTENT RESERVE OUT with its 24-byte list. */
function reserve(
  peer: RawInitiator,
  action: number,
  key: string,
  other: string,
): Promise<RawResult> {
  const out = Uint8Array.from(hex(`${key} ${other} 00000000 00 00 0000`));
  // Type 5: Write Exclusive, Registrants Only.
  return run(peer, `5f ${action.toString(16).padStart(2, '0')} 05 00 00 00000018 00`, { out });
}

test('hostile case 32: preempt and abort by another initiator: fenced on every write path', async (t) => {
  const memory = new MemoryDevice({ sizeBytes: DISK_BYTES });
  const disk = new HeldDevice(memory);
  disk.open = true;
  const r = await rig(t, { device: disk });
  const one = await r.enter({ initiator: 'iqn.2026-11.test:one' });
  const two = await r.enter({ initiator: 'iqn.2026-11.test:two' });
  const none = '0000000000000000';
  assert.equal((await reserve(one, 0, none, KEY.one)).status, 0);
  assert.equal((await reserve(two, 0, none, KEY.two)).status, 0);
  assert.equal((await reserve(one, 1, KEY.one, none)).status, 0);
  disk.open = false;
  one.write(8, marked(4096, 0x11));
  await until(() => disk.waiting.length > 0);
  const preempted = reserve(two, 5, KEY.two, KEY.one);
  await until(() => r.server.stats().counters['tasks-aborted'] > 0);
  disk.unlock();
  assert.equal((await preempted).status, 0);
  assert.equal(one.received.length, 0, 'no status for what was aborted');
  const told = await run(one, '00 00 00 00 00 00');
  assert.deepEqual([told.status, sense(told).split('/')[0]], [2, '6']);
  await one.settle();
  const block = marked(BLOCK_BYTES, 0x12);
  const writes: readonly [cdb: string, out: Uint8Array | undefined][] = [
    ['0a 00 00 00 01 00', block],
    ['2a 00 00000000 00 0001 00', block],
    ['aa 00 00000000 00000001 00 00', block],
    ['8a 00 0000000000000000 00000001 00 00', block],
    ['2e 00 00000000 00 0001 00', block],
    ['93 00 0000000000000000 00000001 00 00', block],
    [
      '42 00 00 00 00 00 00 0018 00',
      Uint8Array.from(hex('0016 0010 00000000 0000000000000000 00000001 00000000')),
    ],
    ['89 00 0000000000000000 000000 01 00 00', marked(1024, 0)],
  ];
  for (const [cdb, out] of writes) {
    const result = await run(one, cdb, out === undefined ? {} : { out });
    assert.equal(result.status, RESERVATION_CONFLICT, cdb);
  }
  const on = await two.read(0, 1);
  assert.ok(on.equals(Buffer.alloc(BLOCK_BYTES)));
});

test('hostile case 33: a read-only unit: WP is set, and every write is DATA PROTECT', async (t) => {
  const memory = new MemoryDevice({ sizeBytes: DISK_BYTES });
  const r = await rig(t, { device: new ReadOnlyDevice(memory) });
  const peer = await r.enter();
  const mode = await run(peer, '1a 00 3f 00 ff 00', { readBytes: 255 });
  assert.equal((mode.data[2] ?? 0) & 0x80, 0x80);
  const block = marked(BLOCK_BYTES, 1);
  const writes: readonly [string, Uint8Array][] = [
    ['0a 00 00 00 01 00', block],
    ['2a 00 00000000 00 0001 00', block],
    ['aa 00 00000000 00000001 00 00', block],
    ['8a 00 0000000000000000 00000001 00 00', block],
    ['2e 00 00000000 00 0001 00', block],
    ['41 00 00000000 00 0001 00', block],
    ['93 00 0000000000000000 00000001 00 00', block],
    [
      '42 00 00 00 00 00 00 0018 00',
      Uint8Array.from(hex('0016 0010 00000000 0000000000000000 00000001 00000000')),
    ],
    ['89 00 0000000000000000 000000 01 00 00', marked(1024, 0)],
    ['8b 00 0000000000000000 00000001 00 00', block],
  ];
  for (const [cdb, out] of writes) {
    const result = await run(peer, cdb, { out });
    assert.deepEqual([result.status, sense(result)], [2, '7/27/0'], cdb);
  }
});
