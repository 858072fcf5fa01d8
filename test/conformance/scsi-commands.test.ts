import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { ErrorDevice, FilterDevice } from '#block/mod.ts';
import type { BlockExtent } from '#block/mod.ts';
import { LogicalUnitSet, LogicalUnit, Phase, ScsiCommand } from '#scsi/mod.ts';
import { IDENTITY, TARGET_NAME, bench } from './scsi-bench.ts';
import { Initiator, hex } from './scsi-initiator.ts';
import type { Ended } from './scsi-initiator.ts';

const KEY_A = '00000000000000aa';
const KEY_B = '00000000000000bb';
const NO_KEY = '00'.repeat(8);
const TWO = 'iqn.2026-11.org.polyboot:two';
const THREE = 'iqn.2026-11.org.polyboot:three';
const EJECT = hex('1b 00 00 00 02 00');

/** A disk whose every other block is a hole, which counts how often it is asked in one turn. */
class Striped extends FilterDevice {
  mostPerTurn = 0;
  #thisTurn = 0;

  override extentAt(offsetBytes: number): BlockExtent {
    if (this.#thisTurn === 0) {
      void setImmediate().then(() => {
        this.#thisTurn = 0;
      });
    }
    this.#thisTurn += 1;
    this.mostPerTurn = Math.max(this.mostPerTurn, this.#thisTurn);
    const state = (offsetBytes / this.blockBytes) % 2 === 0 ? 'data' : 'hole';
    return { lengthBytes: this.blockBytes, state };
  }
}

test('get-lba-status_many: thousands of extents in several turns, as many as there is room for', async () => {
  let striped: Striped | undefined;
  const { one } = bench({}, (memory) => (striped = new Striped(memory)));
  const cdb = hex('9e 12 00 00 00 00 00 00 00 01 00 00 00 00 00 00');
  cdb.writeUInt32BE(8 + 16 * 1000 + 5, 10);
  const data = (await one.run(cdb)).data;
  assert.equal(data.length, 8 + 16 * 1000);
  assert.deepEqual([data.readUInt32BE(12), data.readUInt32BE(16), data[20]], [1, 1, 1]);
  assert.deepEqual([data.readUInt32BE(28), data.readUInt32BE(32), data[36]], [2, 1, 0]);
  await setImmediate();
  cdb.writeUInt32BE(0xffffffff, 10);
  assert.equal((await one.run(cdb)).data.length, 8 + 16 * 4095);
  assert.ok(striped !== undefined && striped.mostPerTurn <= 64, `${striped?.mostPerTurn} per turn`);
});

test('get-lba-status_abort: between two turns it stops when it is given up', async () => {
  const b = bench({}, (memory) => new Striped(memory));
  const command = new ScsiCommand();
  command.cdb.set(hex('9e 12 00 00 00 00 00 00 00 00 00 00 ff ff 00 00'));
  command.cdbBytes = 16;
  command.nexus = b.one;
  b.set.begin(command);
  assert.equal(command.phase, Phase.WAIT);
  const ended = new Promise((resolve) => {
    b.set.finish(command, resolve);
  });
  b.set.abandon(command);
  await ended;
  assert.equal(command.status, 0x40);
});

test('mode-sense_control: TST says one task set per nexus, and cannot be changed', async () => {
  const { one } = bench();
  assert.equal((await one.run(hex('1a 08 0a 00 ff 00'))).data[6], 0x20);
  assert.equal((await one.run(hex('1a 08 4a 00 ff 00'))).data[6], 0x04);
  const shared = hex('00 00 00 00 0a 0a 00 10 00 00 00 00 00 00 00 00');
  assert.equal((await one.run(hex('15 10 00 00 10 00'), { out: shared })).sense, '5/26/00');
});

test('mode-select_sp: refused, at its bit, by a unit that cannot save', async () => {
  const { one } = bench();
  const list = Buffer.concat([Buffer.alloc(4), hex('08 12'), Buffer.alloc(18)]);
  const ended = await one.run(hex('15 11 00 00 18 00'), { out: list });
  assert.deepEqual([ended.sense, ended.raw[15], ended.raw[17]], ['5/24/00', 0xc8, 1]);
  assert.equal((await one.run(hex('1a 00 c8 00 ff 00'))).sense, '5/39/00');
});

test('send-diagnostic_self-test: reads the disk, and says when it cannot', async () => {
  let broken = false;
  const { one } = bench(
    {},
    (memory) => new ErrorDevice(memory, (o) => (o === 'read' && broken ? 'io' : null)),
  );
  assert.equal((await one.run(hex('1d 04 00 00 00 00'))).status, 0);
  broken = true;
  assert.equal((await one.run(hex('1d 04 00 00 00 00'))).sense, '4/3e/03');
  assert.equal((await one.run(hex('1d 00 00 00 00 00'))).status, 0);
  assert.equal((await one.run(hex('1d 04 00 00 08 00'))).sense, '5/24/00');
});

test('prevent-allow_reserved: anyone may allow, only the holder may prevent', async () => {
  const { one, set } = bench({ removable: true });
  const two = new Initiator(set, TWO);
  await prOut(two, 0, 0, NO_KEY, KEY_A);
  await prOut(two, 1, 1, KEY_A, NO_KEY);
  assert.equal((await one.run(hex('1e 00 00 00 01 00'))).status, 0x18);
  assert.equal((await one.run(hex('1e 00 00 00 00 00'))).status, 0);
  assert.equal((await two.run(hex('1e 00 00 00 01 00'))).status, 0);
});

// Persistent reservations beyond one nexus.

function prOut(
  who: Initiator,
  action: number,
  type: number,
  key: string,
  actionKey: string,
  tail: Buffer = Buffer.alloc(8),
): Promise<Ended> {
  const out = Buffer.concat([hex(key), hex(actionKey), tail]);
  const cdb = hex('5f 00 00 00 00 00 00 00 00 00');
  cdb[1] = action;
  cdb[2] = type;
  cdb.writeUInt32BE(out.length, 5);
  return who.run(cdb, { out });
}

/** The rest of a parameter list with flags, and TransportIDs where there are any. */
function tailOf(flags: number, ports: readonly string[] = []): Buffer {
  const fixed = Buffer.alloc(8);
  fixed[4] = flags;
  if ((flags & 0x08) === 0) return fixed;
  const ids = ports.map((port) => {
    const id = Buffer.alloc(4 + Math.ceil((port.length + 1) / 4) * 4);
    id[0] = 0x45;
    id.writeUInt16BE(id.length - 4, 2);
    id.write(port, 4);
    return id;
  });
  const list = Buffer.concat(ids);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(list.length);
  return Buffer.concat([fixed, length, list]);
}

async function keys(who: Initiator): Promise<number> {
  const data = (await who.run(hex('5e 00 00 00 00 00 00 00 ff 00'))).data;
  return data.readUInt32BE(4) / 8;
}

test('register_spec-i-pt: registers others that need not be logged in, all or none', async () => {
  const { one, set } = bench();
  const two = new Initiator(set, TWO);
  const three = `${THREE},i,0x00023d000001`;
  assert.equal(
    (await prOut(one, 0, 0, NO_KEY, KEY_A, tailOf(0x08, [two.initiatorPort, three]))).status,
    0,
  );
  assert.equal(await keys(one), 3);
  assert.equal((await prOut(two, 1, 5, KEY_A, NO_KEY)).status, 0);
  const late = new Initiator(set, THREE);
  const write = hex('2a 00 00 00 00 00 00 00 01 00');
  assert.equal((await late.run(write, { out: Buffer.alloc(512) })).status, 0);

  const four = new Initiator(set, 'iqn.2026-11.org.polyboot:four');
  const conflicting = tailOf(0x08, ['iqn.2026-11.org.polyboot:five,i,0x000000000001', three]);
  assert.equal((await prOut(four, 0, 0, NO_KEY, KEY_B, conflicting)).status, 0x18);
  assert.equal(await keys(one), 3);
});

test('register_spec-i-pt: bad lists are refused, and where it has no business', async () => {
  const { one } = bench();
  const whole = tailOf(0x08, [`${TWO},i,0x00023d000001`]);
  for (let length = 8; length < whole.length; length++) {
    const ended = await prOut(one, 0, 0, NO_KEY, KEY_A, whole.subarray(0, length));
    assert.equal(ended.sense, '5/1a/00', `${length}`);
  }
  for (const byte of [12, 14]) {
    const bad = Buffer.from(whole);
    bad[byte] = 0xff;
    assert.equal((await prOut(one, 0, 0, NO_KEY, KEY_A, bad)).sense, '5/26/00', `${byte}`);
  }
  assert.equal(await keys(one), 0);
  // REGISTER AND IGNORE does not have it, nor may one who is registered already.
  assert.equal((await prOut(one, 6, 0, NO_KEY, KEY_A, tailOf(0x08))).sense, '5/1a/00');
  assert.equal(
    (await prOut(one, 6, 0, NO_KEY, KEY_A, tailOf(0x08).subarray(0, 8))).sense,
    '5/26/00',
  );
  await prOut(one, 0, 0, NO_KEY, KEY_A);
  assert.equal((await prOut(one, 0, 0, KEY_A, KEY_B, whole)).sense, '5/26/00');
  // Without the flag the list has 24 bytes.
  const long = Buffer.concat([tailOf(0), Buffer.alloc(8)]);
  assert.equal((await prOut(one, 0, 0, KEY_A, KEY_B, long)).sense, '5/1a/00');
});

test('register_all-tg-pt: one registration for every port, and all of them go together', async () => {
  const set = new LogicalUnitSet({ targetName: TARGET_NAME, targetPorts: [1, 2, 3] });
  set.add(0, new LogicalUnit({ identity: IDENTITY, device: bench().memory }));
  const [one, other] = [new Initiator(set), new Initiator(set, undefined, 3)];
  assert.equal((await prOut(one, 0, 0, NO_KEY, KEY_A, tailOf(0x04))).status, 0);
  assert.equal(await keys(one), 3);
  assert.equal((await prOut(other, 1, 1, KEY_A, NO_KEY)).status, 0);
  const write = hex('2a 00 00 00 00 00 00 00 01 00');
  assert.equal((await one.run(write, { out: Buffer.alloc(512) })).status, 0x18);
  assert.equal((await prOut(one, 0, 0, KEY_A, KEY_B, tailOf(0x04))).status, 0);
  assert.equal((await prOut(other, 2, 1, KEY_A, NO_KEY)).status, 0x18);
  assert.equal((await prOut(other, 2, 1, KEY_B, NO_KEY)).status, 0);
  assert.equal((await prOut(one, 0, 0, KEY_B, NO_KEY, tailOf(0x04))).status, 0);
  assert.equal(await keys(one), 0);
});

test('report-capabilities: SPEC_I_PT and ALL_TG_PT always, APTPL only where it is kept', async () => {
  const { one } = bench();
  const data = (await one.run(hex('5e 02 00 00 00 00 00 00 ff 00'))).data;
  assert.deepEqual([...data], [0, 8, 0x0c, 0x80, 0xea, 0x01, 0, 0]);
});

// CD-ROM.

test('read-track-information: by address, track and session; one track is all there is', async () => {
  const { one, unit } = bench({ kind: 'cdrom' });
  for (const [by, at] of [
    [0, 7],
    [1, 1],
    [2, 1],
  ] as const) {
    const cdb = hex('52 00 00 00 00 00 00 00 ff 00');
    cdb[1] = by;
    cdb.writeUInt32BE(at, 2);
    const data = (await one.run(cdb)).data;
    assert.equal(data.readUInt16BE(0), 34);
    assert.deepEqual([...data.subarray(2, 8)], [1, 1, 0, 4, 1, 2]);
    assert.deepEqual([data.readUInt32BE(8), data.readUInt32BE(24)], [0, unit.blocks]);
  }
  assert.equal((await one.run(hex('52 01 00 00 00 02 00 00 ff 00'))).sense, '5/24/00');
  assert.equal((await one.run(hex('52 03 00 00 00 01 00 00 ff 00'))).sense, '5/24/00');
  assert.equal((await one.run(hex('52 00 ff 00 00 00 00 00 ff 00'))).sense, '5/21/00');
});

test('read-cd: user data as READ gives it; raw sectors and audio are refused', async () => {
  const { one, memory } = bench({ kind: 'cdrom' });
  memory.load(Buffer.from(Array.from({ length: 4096 }, (_, i) => i % 253)));
  const read = await one.run(hex('28 00 00 00 00 00 00 00 02 00'));
  for (const type of ['00', '08']) {
    const ended = await one.run(hex(`be ${type} 00000000 000002 10 00 00`));
    assert.ok(ended.data.equals(read.data) && ended.data.length === 4096);
  }
  assert.equal((await one.run(hex('be 00 00000000 000001 f8 00 00'))).sense, '5/64/00');
  assert.equal((await one.run(hex('be 04 00000000 000001 10 00 00'))).sense, '5/64/00');
  assert.equal((await one.run(hex('be 00 00000000 000001 00 00 00'))).status, 0);
  assert.equal((await one.run(hex('be 00 00000000 000001 10 01 00'))).sense, '5/24/00');
});

test('read-toc_full: format 2 has the lead-in entries in minutes', async () => {
  const { one } = bench({ kind: 'cdrom' });
  const data = (await one.run(hex('43 02 02 00 00 00 01 00 ff 00'))).data;
  assert.deepEqual([data.readUInt16BE(0), data[2], data[3]], [46, 1, 1]);
  const points = [0, 1, 2, 3].map((i) => data.subarray(4 + 11 * i, 15 + 11 * i));
  assert.deepEqual(
    points.map((p) => p[3]),
    [0xa0, 0xa1, 0xa2, 1],
  );
  // 2048 blocks and two seconds are 29 s and 23 frames.
  assert.deepEqual([...(points[2]?.subarray(8) ?? [])], [0, 29, 23]);
  assert.deepEqual([...(points[3]?.subarray(8) ?? [])], [0, 2, 0]);
  assert.equal((await one.run(hex('43 02 02 00 00 00 02 00 ff 00'))).sense, '5/24/00');
  assert.equal((await one.run(hex('43 02 05 00 00 00 00 00 ff 00'))).sense, '5/24/00');
});

test('read-dvd-structure: of a DVD its size; of a CD that it is none', async () => {
  const { one, unit } = bench({ kind: 'cdrom' }, undefined, 2 ** 30);
  const data = (await one.run(hex('ad 00 00 00 00 00 00 00 0f ff 00 00'))).data;
  assert.deepEqual([data.length, data.readUInt16BE(0)], [2052, 2050]);
  assert.equal(data.readUInt32BE(12), unit.blocks - 1);
  assert.equal((await one.run(hex('ad 00 00 00 00 00 00 01 00 ff 00 00'))).data.length, 8);
  assert.equal((await one.run(hex('ad 00 00 00 00 00 00 ff 00 ff 00 00'))).data.length, 16);
  assert.equal((await one.run(hex('ad 00 00 00 00 00 00 02 00 ff 00 00'))).sense, '5/24/00');
  assert.equal((await one.run(hex('ad 00 00 00 00 00 01 00 00 ff 00 00'))).sense, '5/24/00');
  const cd = bench({ kind: 'cdrom' });
  assert.equal((await cd.one.run(hex('ad 00 00 00 00 00 00 00 0f ff 00 00'))).sense, '5/30/02');
  await cd.one.run(EJECT);
  assert.equal((await cd.one.run(hex('ad 00 00 00 00 00 00 00 0f ff 00 00'))).sense, '2/3a/02');
});

test('inquiry_vpd-b0: every limit is what the commands hold to', async () => {
  const { one } = bench();
  const page = (await one.run(hex('12 01 b0 00 ff 00'))).data;
  const [compare, transfer, prefetch] = [page[5] ?? 0, page.readUInt32BE(8), page.readUInt32BE(16)];
  const [unmap, descriptors] = [page.readUInt32BE(20), page.readUInt32BE(24)];
  const same = Number(page.readBigUInt64BE(36));
  assert.deepEqual([compare, transfer, prefetch], [255, 0x10000, 0x10000]);
  assert.deepEqual([unmap, descriptors, same], [1024 * 1024, 256, 4 * 1024 * 1024]);
  assert.equal(page.readUInt32BE(44), 0, 'no atomic writes without a log');
  assert.equal(page.readUInt32BE(32) >>> 31, 1, 'the unmap alignment is valid');
});
