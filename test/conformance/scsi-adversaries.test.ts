import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeClock } from '#base/mod.ts';
import { DelayDevice, MemoryDevice, ReadOnlyDevice } from '#block/mod.ts';
import { EMPTY_UNIT_STATE, LogicalUnit, LogicalUnitSet, parseUnitState } from '#scsi/mod.ts';
import type { Nexus, UnitState, UnitStateStore } from '#scsi/mod.ts';
import { IDENTITY, TARGET_NAME, bench } from './scsi-bench.ts';
import { Initiator, hex } from './scsi-initiator.ts';
import type { Ended } from './scsi-initiator.ts';

const TWO = 'iqn.2026-11.org.polyboot:two';
const NO_KEY = '00'.repeat(8);
const KEY_A = '00000000000000aa';
const KEY_B = '00000000000000bb';

function prOut(
  who: Initiator,
  action: number,
  type: number,
  key: string,
  actionKey: string,
  flags = 0,
): Promise<Ended> {
  const cdb = hex('5f 00 00 00 00 00 00 00 18 00');
  cdb[1] = action;
  cdb[2] = type;
  const out = Buffer.concat([hex(key), hex(actionKey), Buffer.alloc(8)]);
  out[20] = flags;
  return who.run(cdb, { out });
}

const write10 = (who: Initiator, lba = 0): Promise<Ended> => {
  const cdb = hex('2a 00 00 00 00 00 00 00 01 00');
  cdb.writeUInt32BE(lba, 2);
  return who.run(cdb, { out: Buffer.alloc(512, 0x77) });
};
const read10 = (who: Initiator): Promise<Ended> => who.run(hex('28 00 00 00 00 00 00 00 01 00'));
const ready = (who: Initiator): Promise<Ended> => who.run(hex('00 00 00 00 00 00'));

test('30_lba-overflow: LBA and length that wrap around 64 bits are out of range', async () => {
  const { one } = bench();
  for (const lba of [
    'ffffffffffffffff',
    'fffffffffffffff8',
    '7fffffffffffffff',
    '0040000000000000',
  ]) {
    for (const opcode of ['88', '8a', '8f', '90', '91', '93', '89', '8b', '8e']) {
      const ended = await one.run(hex(`${opcode}00${lba}000000080000`), {
        out: Buffer.alloc(8192),
      });
      assert.equal(ended.sense, '5/21/00', `${opcode} ${lba}`);
    }
  }
});

test('30_zero-length: moves nothing and succeeds, even a WRITE', async () => {
  const { one, memory } = bench();
  for (const cdb of ['28 00 00 00 00 00 00 00 00 00', '2a 00 00 00 00 00 00 00 00 00']) {
    assert.equal((await one.run(hex(cdb))).status, 0);
  }
  assert.equal(memory.extentAt(0, memory.sizeBytes).state, 'hole');
});

test('30_too-long: beyond MAXIMUM TRANSFER LENGTH is INVALID FIELD, and Block Limits says how much', async () => {
  const set = new LogicalUnitSet();
  const device = new MemoryDevice({ sizeBytes: 64 * 1024 * 1024 });
  set.add(0, new LogicalUnit({ device, identity: IDENTITY }));
  const one = new Initiator(set);
  const limits = await one.run(hex('12 01 b0 00 ff 00'));
  const most = limits.data.readUInt32BE(8);
  const cdb = hex('88 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00');
  cdb.writeUInt32BE(most + 1, 10);
  assert.equal((await one.run(cdb)).sense, '5/24/00');
  cdb.writeUInt32BE(most, 10);
  assert.equal((await one.run(cdb)).data.length, most * 512);
});

test('30_service-action: an unknown one is INVALID FIELD at byte 1', async () => {
  const { one } = bench();
  for (const opcode of ['5e', '5f', '9e', 'a3', '48', '83', '84']) {
    const ended = await one.run(hex(`${opcode}1e${'00'.repeat(14)}`));
    assert.equal(ended.sense, '5/24/00', opcode);
    assert.equal(ended.raw[17], 1);
  }
});

test('30_alloclen: every allocation length from 0 on cuts the same data', async () => {
  const { one } = bench();
  const commands = [
    ['12 00 00', '00'],
    ['12 01 00', '00'],
    ['12 01 83', '00'],
    ['12 01 b0', '00'],
  ] as const;
  for (const [head, tail] of commands) {
    const full = (await one.run(hex(`${head} 00ff ${tail}`))).data;
    for (let length = 0; length <= full.length + 2; length++) {
      const cut = await one.run(hex(`${head} ${length.toString(16).padStart(4, '0')} ${tail}`));
      assert.equal(cut.status, 0);
      assert.ok(cut.data.equals(full.subarray(0, length)));
    }
  }
  for (let length = 0; length < 70; length++) {
    const sense = await one.run(hex(`1a 00 3f 00 ${length.toString(16).padStart(2, '0')} 00`));
    assert.ok(sense.data.length <= length);
  }
});

test('30_unknown-lun: INQUIRY says 7Fh, REPORT LUNS works on LUN 0, all else is refused', async () => {
  const set = new LogicalUnitSet();
  const one = new Initiator(set);
  assert.equal((await one.run(hex('12 00 00 00 ff 00'))).data[0], 0x7f);
  assert.equal((await one.run(hex('12 00 00 00 ff 00'), { lun: 5 })).data[0], 0x7f);
  assert.equal((await one.run(hex('00 00 00 00 00 00'))).sense, '5/25/00');
  assert.equal((await one.run(hex('28 00 00 00 00 00 00 00 01 00'), { lun: -1 })).sense, '5/25/00');
  const luns = hex('a0 00 00 00 00 00 00 00 00 ff 00 00');
  assert.equal((await one.run(luns)).data.readUInt32BE(0), 0);
  assert.equal((await one.run(luns, { lun: 0xc101 })).status, 0);
  assert.equal((await one.run(hex('12 00 00 00 ff 00'), { lun: 0xc101 })).data[0], 0x1e);
  assert.equal((await one.run(hex('00 00 00 00 00 00'), { lun: 0xc101 })).status, 0);
  assert.equal((await one.run(hex('28 00 00 00 00 00'), { lun: 0xc101 })).sense, '5/20/00');
  assert.equal((await one.run(luns, { lun: 7 })).sense, '5/25/00');
  const sense = await one.run(hex('03 00 00 00 12 00'), { lun: 7 });
  assert.deepEqual([sense.status, sense.data[2], sense.data[12]], [0, 5, 0x25]);
});

test('30_report-luns: shows the units, whoever asks; a new one is told by unit attention', async () => {
  const { set, one } = bench();
  const luns = hex('a0 00 00 00 00 00 00 00 00 ff 00 00');
  const device = new MemoryDevice({ sizeBytes: 1024 * 1024 });
  set.add(3, new LogicalUnit({ device, identity: { ...IDENTITY, naa: '3000000000000002' } }));
  const data = (await one.run(luns)).data;
  assert.equal(
    data.toString('hex'),
    `00000010 00000000 ${NO_KEY} 0003${'00'.repeat(6)}`.replaceAll(' ', ''),
  );
  assert.equal((await ready(one)).sense, '6/3f/0e');
  assert.equal((await one.run(hex('00 00 00 00 00 00'), { lun: 3 })).sense, '6/29/00');
});

test('31_compare-and-write_atomic: two at once, one wins, even when the disk is slow', async () => {
  const clock = new FakeClock();
  const { one, set } = bench(
    {},
    (memory) => new DelayDevice(memory, clock, { readMs: 5, writeMs: 5 }),
  );
  const two = new Initiator(set, TWO);
  const cdb = hex('89 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00');
  const swap = (who: Initiator, fill: number): Promise<Ended> =>
    who.run(cdb, { out: Buffer.concat([Buffer.alloc(512), Buffer.alloc(512, fill)]) });
  const both = Promise.all([swap(one, 1), swap(two, 2)]);
  for (let i = 0; i < 12; i++) {
    clock.advance(5);
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }
  const ended = await both;
  assert.deepEqual(
    ended.map((e) => e.sense),
    ['', 'e/1d/00'],
  );
});

test('31_compare-and-write_against-write: a plain WRITE waits for it, and wins afterwards', async () => {
  const clock = new FakeClock();
  const { one, set, memory } = bench(
    {},
    (inner) => new DelayDevice(inner, clock, { readMs: 5, writeMs: 5 }),
  );
  const two = new Initiator(set, TWO);
  const cdb = hex('89 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00');
  const swapping = one.run(cdb, { out: Buffer.concat([Buffer.alloc(512), Buffer.alloc(512, 1)]) });
  const writing = write10(two);
  for (let i = 0; i < 12; i++) {
    clock.advance(5);
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }
  assert.deepEqual([(await swapping).status, (await writing).status], [0, 0]);
  const stored = Buffer.alloc(512);
  memory.tryRead(0, stored, 0, 512);
  assert.ok(stored.every((b) => b === 0x77));
});

test('31_compare-and-write_miscompare: says the offset, and writes nothing', async () => {
  const { one, memory } = bench();
  const out = Buffer.alloc(4 * 512);
  out[700] = 1;
  const ended = await one.run(hex('89 00 00 00 00 00 00 00 00 00 00 00 00 02 00 00'), { out });
  assert.equal(ended.sense, 'e/1d/00');
  assert.equal(ended.raw.readUInt32BE(3), 700);
  assert.equal(memory.extentAt(0, memory.sizeBytes).state, 'hole');
});

test('31_write-same_unmap-ndob: zeros, with and without a block', async () => {
  const { one, memory } = bench();
  memory.load(Buffer.alloc(256 * 1024, 9));
  assert.equal((await one.run(hex('93 09 00 00 00 00 00 00 00 00 00 00 00 80 00 00'))).status, 0);
  assert.equal(memory.extentAt(0, 64 * 1024).state, 'hole');
  const cdb = hex('93 08 00 00 00 00 00 00 00 80 00 00 00 80 00 00');
  assert.equal((await one.run(cdb, { out: Buffer.alloc(512) })).status, 0);
  assert.equal(memory.extentAt(64 * 1024, 64 * 1024).state, 'hole');
  assert.equal((await one.run(cdb, { out: Buffer.alloc(1024) })).sense, '5/24/00');
  const anchor = hex('93 18 00 00 00 00 00 00 00 00 00 00 00 08 00 00');
  assert.equal((await one.run(anchor, { out: Buffer.alloc(512) })).sense, '5/24/00');
});

test('31_unmap_descriptors: overlap is fine; too many, too long or too far is refused whole', async () => {
  const { one, memory } = bench();
  memory.load(Buffer.alloc(256 * 1024, 9));
  const unmap = (ranges: readonly (readonly [number, number])[]): Promise<Ended> => {
    const out = Buffer.alloc(8 + 16 * ranges.length);
    out.writeUInt16BE(out.length - 2, 0);
    out.writeUInt16BE(out.length - 8, 2);
    ranges.forEach(([lba, blocks], i) => {
      out.writeBigUInt64BE(BigInt(lba), 8 + 16 * i);
      out.writeUInt32BE(blocks, 16 + 16 * i);
    });
    const cdb = hex('42 00 00 00 00 00 00 00 00 00');
    cdb.writeUInt16BE(out.length, 7);
    return one.run(cdb, { out });
  };
  assert.equal(
    (
      await unmap([
        [0, 8],
        [1_000_000_000, 8],
      ])
    ).sense,
    '5/21/00',
  );
  assert.equal((await unmap(Array.from({ length: 257 }, () => [0, 8] as const))).sense, '5/26/00');
  assert.equal((await unmap([[0, 0xffffffff]])).sense, '5/21/00');
  assert.equal(memory.extentAt(0, 64 * 1024).state, 'data');
  assert.equal(
    (
      await unmap([
        [0, 200],
        [100, 156],
      ])
    ).status,
    0,
  );
  const stored = Buffer.alloc(256 * 512);
  memory.tryRead(0, stored, 0, stored.length);
  assert.ok(stored.every((b) => b === 0));
  const short = hex('42 00 00 00 00 00 00 00 07 00');
  assert.equal((await one.run(short, { out: Buffer.alloc(7) })).sense, '5/1a/00');
});

/** An EXTENDED COPY of 4 blocks from LBA 0 of one unit to LBA 8 of another. */
function copyList(from: string, to: string): Buffer {
  const header = Buffer.alloc(16);
  header.writeUInt16BE(64, 2);
  header.writeUInt32BE(28, 8);
  const device = (naa: string): Buffer => {
    const d = Buffer.alloc(32);
    d.set([0xe4, 0, 0, 0, 0x01, 0x03, 0, 8], 0);
    hex(naa).copy(d, 8);
    return d;
  };
  const segment = Buffer.alloc(28);
  segment.set([0x02, 0, 0, 0x18, 0, 0, 0, 1], 0);
  segment.writeUInt16BE(4, 10);
  segment.writeUInt32BE(8, 24);
  return Buffer.concat([header, device(from), device(to), segment]);
}

test('31_extended-copy_rights: only units of this target, and both must allow it', async () => {
  const { one, set, memory } = bench();
  memory.load(Buffer.alloc(4 * 512, 0x33));
  const naaTwo = '3000000000000002';
  const second = new MemoryDevice({ sizeBytes: 1024 * 1024 });
  const unitTwo = new LogicalUnit({ device: second, identity: { ...IDENTITY, naa: naaTwo } });
  const cdb = hex('83 00 00 00 00 00 00 00 00 00 00 00 00 6c 00 00');
  const copy = (): Promise<Ended> => one.run(cdb, { out: copyList(IDENTITY.naa, naaTwo) });

  // The second unit is there, but behind a target that this initiator did not log in to.
  const elsewhere = new LogicalUnitSet();
  elsewhere.add(0, unitTwo);
  assert.equal((await copy()).sense, 'a/0d/02');
  assert.equal(second.extentAt(0, second.sizeBytes).state, 'hole');

  elsewhere.remove(0);
  set.add(1, unitTwo);
  assert.equal((await ready(one)).sense, '6/3f/0e');
  assert.equal((await copy()).status, 0);
  const stored = Buffer.alloc(4 * 512);
  second.tryRead(8 * 512, stored, 0, stored.length);
  assert.ok(stored.every((b) => b === 0x33));

  // Reserved by another: no.
  const two = new Initiator(set, TWO);
  await two.run(hex('00 00 00 00 00 00'), { lun: 1 });
  assert.equal((await two.run(hex('16 00 00 00 00 00'), { lun: 1 })).status, 0);
  assert.equal((await copy()).sense, 'a/0d/02');
  await two.run(hex('17 00 00 00 00 00'), { lun: 1 });
  assert.equal((await copy()).status, 0);
});

test('32_reserve: register, reserve, and who may do what', async () => {
  const { one, set } = bench();
  const two = new Initiator(set, TWO);
  assert.equal((await prOut(one, 0, 0, NO_KEY, KEY_A)).status, 0);
  assert.equal((await prOut(one, 1, 5, KEY_A, NO_KEY)).status, 0);
  assert.equal((await write10(two)).status, 0x18);
  assert.equal((await read10(two)).status, 0);
  assert.equal((await prOut(two, 0, 0, NO_KEY, KEY_B)).status, 0);
  assert.equal((await write10(two)).status, 0);
  assert.equal((await prOut(two, 1, 5, KEY_B, NO_KEY)).status, 0x18);
  assert.equal((await prOut(two, 2, 5, KEY_B, NO_KEY)).status, 0);
  assert.equal((await prOut(one, 2, 5, KEY_B, NO_KEY)).status, 0x18);
  assert.equal((await prOut(one, 2, 1, KEY_A, NO_KEY)).sense, '5/26/04');
  assert.equal((await prOut(one, 2, 5, KEY_A, NO_KEY)).status, 0);
  assert.equal((await ready(two)).sense, '6/2a/04');
});

test('32_preempt: the loser is out, told, and cannot write; abort ends its commands', async () => {
  const aborted: string[] = [];
  const abortTasks = (nexus: Nexus): boolean => aborted.push(nexus.initiatorName) > 0;
  const { one, set } = bench({ abortTasks });
  const two = new Initiator(set, TWO);
  await prOut(one, 0, 0, NO_KEY, KEY_A);
  await prOut(two, 0, 0, NO_KEY, KEY_B);
  await prOut(one, 1, 3, KEY_A, NO_KEY);
  assert.equal((await prOut(two, 5, 3, KEY_B, KEY_A)).status, 0);
  assert.deepEqual(aborted, [one.initiatorName]);
  assert.equal((await ready(one)).sense, '6/2a/05');
  assert.equal((await ready(one)).sense, '6/2f/00');
  for (const cdb of [
    '2a 00 00 00 00 00 00 00 01 00',
    '28 00 00 00 00 00 00 00 01 00',
    '42 00 00 00 00 00 00 00 18 00',
    '41 00 00 00 00 00 00 00 01 00',
    '35 00 00 00 00 00 00 00 00 00',
    '15 10 00 00 18 00',
  ]) {
    assert.equal((await one.run(hex(cdb), { out: Buffer.alloc(512) })).status, 0x18, cdb);
  }
  assert.equal((await write10(two)).status, 0);
});

test('32_preempt-and-abort is refused where the transport cannot abort', async () => {
  const { one } = bench();
  await prOut(one, 0, 0, NO_KEY, KEY_A);
  assert.equal((await prOut(one, 5, 3, KEY_A, KEY_A)).sense, '5/24/00');
});

test('32_register-and-move: the heir holds it, the old holder is out, and back it comes', async () => {
  const { one, set } = bench();
  const two = new Initiator(set, TWO);
  const move = (who: Initiator, to: string, key: string, newKey: string): Promise<Ended> => {
    const out = Buffer.concat([hex(key), hex(newKey), Buffer.alloc(64)]);
    out.set([0x02, 0, 1, 0, 0, 0, 56, 0x45, 0, 0, 52], 17);
    out.write(to, 28);
    return who.run(hex('5f 07 00 00 00 00 00 00 50 00'), { out });
  };
  await prOut(one, 0, 0, NO_KEY, KEY_A);
  assert.equal((await move(one, two.initiatorPort, KEY_A, KEY_B)).status, 0x18);
  await prOut(one, 1, 3, KEY_A, NO_KEY);
  assert.equal((await move(one, 'iqn.bad', KEY_A, KEY_B)).sense, '5/26/00');
  assert.equal((await move(one, two.initiatorPort, KEY_A, NO_KEY)).sense, '5/26/00');
  assert.equal((await move(one, one.initiatorPort, KEY_A, KEY_B)).sense, '5/26/00');
  assert.equal((await move(one, two.initiatorPort, KEY_A, KEY_B)).status, 0);
  assert.deepEqual([(await write10(one)).status, (await write10(two)).status], [0x18, 0]);
  const full = (await two.run(hex('5e 03 00 00 00 00 00 00 ff 00'))).data;
  assert.ok(full.includes(two.initiatorPort) && !full.includes(one.initiatorPort));
  assert.equal((await move(two, one.initiatorPort, KEY_B, KEY_A)).status, 0);
  assert.deepEqual([(await write10(one)).status, (await write10(two)).status], [0, 0x18]);
});

test('32_clear: all registrations go, the others are told', async () => {
  const { one, set } = bench();
  const two = new Initiator(set, TWO);
  await prOut(one, 0, 0, NO_KEY, KEY_A);
  await prOut(two, 0, 0, NO_KEY, KEY_B);
  await prOut(one, 1, 8, KEY_A, NO_KEY);
  assert.equal((await prOut(one, 3, 0, KEY_A, NO_KEY)).status, 0);
  assert.equal((await ready(two)).sense, '6/2a/03');
  const keys = await one.run(hex('5e 00 00 00 00 00 00 00 ff 00'));
  assert.equal(keys.data.readUInt32BE(4), 0);
});

test('32_registrations outlive the session; RESERVE(6) does not', async () => {
  const { one, set } = bench();
  const two = new Initiator(set, TWO);
  await prOut(one, 0, 0, NO_KEY, KEY_A);
  await prOut(one, 1, 1, KEY_A, NO_KEY);
  one.logout();
  assert.equal((await write10(two)).status, 0x18);
  one.login();
  assert.equal((await write10(one)).status, 0);
  await prOut(one, 3, 0, KEY_A, NO_KEY);

  assert.equal((await one.run(hex('16 00 00 00 00 00'))).status, 0);
  assert.equal((await ready(two)).status, 0x18);
  one.logout();
  assert.equal((await ready(two)).status, 0);
});

test('32_aptpl: kept before it is acknowledged, refused where it cannot be kept', async () => {
  const plain = bench();
  assert.equal((await prOut(plain.one, 0, 0, NO_KEY, KEY_A, 0x01)).sense, '5/26/00');
  let saved: UnitState = EMPTY_UNIT_STATE;
  const store = (initial: UnitState): UnitStateStore => ({
    initial,
    save: (state, done) => {
      queueMicrotask(() => {
        saved = state;
        done(null);
      });
    },
  });
  const first = bench({ state: store(EMPTY_UNIT_STATE) });
  assert.equal((await prOut(first.one, 0, 0, NO_KEY, KEY_A, 0x01)).status, 0);
  assert.equal((await prOut(first.one, 1, 3, KEY_A, NO_KEY)).status, 0);
  const second = bench({
    state: store(parseUnitState(JSON.parse(JSON.stringify(saved)))),
  });
  const two = new Initiator(second.set, TWO);
  assert.equal((await write10(two)).status, 0x18);
  assert.equal((await write10(second.one)).status, 0);

  const broken = bench({
    state: { initial: EMPTY_UNIT_STATE, save: (_state, done) => done(new Error('disk full')) },
  });
  assert.equal((await prOut(broken.one, 0, 0, NO_KEY, KEY_A, 0x01)).sense, '4/44/00');
  // What could not be kept did not happen.
  assert.equal(broken.unit.reservations.registrations.length, 0);
  assert.equal((await prOut(broken.one, 0, 0, NO_KEY, KEY_A)).sense, '4/44/00');
});

test('33_read-only: WP is set, and every row that writes is DATA PROTECT', async () => {
  const { one, unit } = bench({}, (memory) => new ReadOnlyDevice(memory));
  const mode = await one.run(hex('1a 00 08 00 ff 00'));
  assert.equal((mode.data[2] ?? 0) & 0x80, 0x80);
  const writers = unit.commands.rows.filter((r) => r.writes);
  assert.ok(writers.length >= 15);
  for (const row of writers) {
    const cdb = Buffer.alloc(16);
    cdb[0] = row.cdb[0] ?? 0;
    cdb[1] = row.action >= 0 ? row.action : 0;
    assert.equal((await one.run(cdb)).sense, '7/27/00', row.name);
  }
});

test('target: VPD 83h names the unit, the port and the target', async () => {
  const { one } = bench();
  const page = (await one.run(hex('12 01 83 00 ff 00'))).data.toString('latin1');
  assert.ok(page.includes(`${TARGET_NAME},t,0x0001`));
  assert.ok(page.includes('SERIAL-1'));
});
