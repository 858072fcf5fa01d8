import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeClock } from '#base/mod.ts';
import { DelayDevice, ErrorDevice } from '#block/mod.ts';
import { Phase, ScsiCommand } from '#scsi/mod.ts';
import { bench } from './scsi-bench.ts';
import { Initiator, hex } from './scsi-initiator.ts';
import type { Ended } from './scsi-initiator.ts';

const TWO = 'iqn.2026-11.org.polyboot:two';
const ready = (who: Initiator): Promise<Ended> => who.run(hex('00 00 00 00 00 00'));
const EJECT = hex('1b 00 00 00 02 00');
const LOAD = hex('1b 00 00 00 03 00');
const PREVENT = hex('1e 00 00 00 01 00');

/** Lets callbacks and promises that are due run. */
function settle(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

test('sanitize_progress: the medium is not ready and says how far it is; INQUIRY still works', async () => {
  const clock = new FakeClock();
  const { one, set } = bench({}, (memory) => new DelayDevice(memory, clock, { writeMs: 10 }));
  const two = new Initiator(set, TWO);
  let over = false;
  const sanitizing = one
    .run(hex('48 01 00 00 00 00 00 00 05 00'), { out: hex('01 00 00 01 5a') })
    .then((ended) => {
      over = true;
      return ended;
    });
  await settle();
  const seen: number[] = [];
  for (;;) {
    const ended = await ready(two);
    if (over) break;
    assert.equal(ended.sense, '2/04/1b');
    seen.push(ended.raw.readUInt16BE(16));
    const asked = await two.run(hex('03 00 00 00 12 00'));
    assert.deepEqual(
      [asked.status, asked.data[2], asked.data[12], asked.data[13]],
      [0, 2, 4, 0x1b],
    );
    assert.equal((await two.run(hex('28 00 00 00 00 00 00 00 01 00'))).sense, '2/04/1b');
    assert.equal((await two.run(hex('1b 00 00 00 01 00'))).sense, '2/04/1b');
    assert.equal((await two.run(hex('48 02 00 00 00 00 00 00 00 00'))).sense, '2/04/1b');
    assert.equal((await two.run(hex('12 00 00 00 24 00'))).status, 0);
    clock.advance(10);
    await settle();
  }
  assert.equal((await sanitizing).status, 0);
  assert.deepEqual(
    seen,
    seen.toSorted((a, b) => a - b),
  );
  assert.ok(new Set(seen).size > 2, 'the progress moves');
  const read = await two.run(hex('28 00 00 00 1f ff 00 00 01 00'));
  assert.ok(read.data.every((b) => b === 0x5a));
});

test('sanitize_flush: who asks for a flush meanwhile is refused, and nothing is lost by that', async () => {
  const clock = new FakeClock();
  const { one, set } = bench({}, (memory) => new DelayDevice(memory, clock, { writeMs: 10 }));
  const two = new Initiator(set, TWO);
  const { data } = await two.run(hex('1a 08 08 00 ff 00'));
  const list = Buffer.from(data);
  assert.deepEqual([list[4]! & 0x3f, list[6]! & 0x04], [0x08, 0x04], 'the cache is on');
  list[0] = list[2] = 0;
  list[4] = 0x08;
  list[6]! &= ~0x04;
  const sanitizing = one.run(hex('48 01 00 00 00 00 00 00 05 00'), { out: hex('01 00 00 01 5a') });
  await settle();
  const off = Buffer.from([0x15, 0x10, 0, 0, list.length, 0]);
  assert.equal((await two.run(off, { out: list })).sense, '2/04/1b');
  for (let n = 0; n < 20; n++) {
    clock.advance(10);
    await settle();
  }
  assert.equal((await sanitizing).status, 0);
  assert.equal((await ready(two)).status, 0);
  assert.equal((await two.run(off, { out: list })).status, 0);
});

test('sanitize_abandoned: the command ends, the work goes on, through a reset too', async () => {
  const clock = new FakeClock();
  const { one, set } = bench({}, (memory) => new DelayDevice(memory, clock, { writeMs: 10 }));
  const command = new ScsiCommand();
  command.cdb.set(hex('48 01 00 00 00 00 00 00 05 00'));
  command.cdbBytes = 16;
  command.nexus = one;
  command.expectedOutBytes = 5;
  set.begin(command);
  assert.equal(command.phase, Phase.GATHER);
  command.dataOut = hex('01 00 00 01 77');
  const ended = new Promise((resolve) => {
    set.finish(command, resolve);
  });
  await settle();
  set.abandon(command);
  await ended;
  set.logicalUnitReset(0);
  assert.equal((await ready(one)).sense, '6/29/03');
  assert.equal((await ready(one)).sense, '2/04/1b');
  for (let i = 0; i < 20; i++) {
    clock.advance(10);
    await settle();
  }
  assert.equal((await ready(one)).status, 0);
});

test('sanitize_failed: only SANITIZE is taken; EXIT FAILURE MODE only if it was allowed', async () => {
  for (const allowed of [false, true]) {
    let broken = true;
    const { one } = bench(
      {},
      (memory) => new ErrorDevice(memory, (o) => (o === 'discard' && broken ? 'io' : null)),
    );
    const erase = hex(`48 ${allowed ? '22' : '02'} 00 00 00 00 00 00 00 00`);
    assert.equal((await one.run(erase)).sense, '3/0c/00');
    assert.equal((await ready(one)).sense, '3/31/03');
    const left = await one.run(hex('48 1f 00 00 00 00 00 00 00 00'));
    assert.equal(left.sense, allowed ? '' : '5/24/00');
    assert.equal((await ready(one)).sense, allowed ? '' : '3/31/03');
    broken = false;
    assert.equal((await one.run(erase)).status, 0);
    assert.equal((await ready(one)).status, 0);
  }
});

test('pieces: what moves much without sending it has eight pieces at a time, waited for or not', async () => {
  const clock = new FakeClock();
  let reads = 0;
  const { one, unit } = bench(
    {},
    (memory) =>
      new DelayDevice(
        new ErrorDevice(memory, (o) => {
          if (o === 'read') reads += 1;
          return null;
        }),
        clock,
        { readMs: 10 },
      ),
  );
  const statuses: number[] = [];
  for (let n = 0; n < 100; n++) {
    statuses.push((await one.run(hex('34 02 00 00 00 00 00 08 00 00'))).status);
  }
  assert.ok(statuses.every((status, n) => status === (n < 8 ? 4 : 0)));
  assert.equal(reads, 0, 'all wait for the disk');
  clock.advance(10);
  await settle();
  assert.equal(reads, 8);
  assert.ok(!unit.pieces.full);
  const verified = Array.from({ length: 20 }, () => one.run(hex('2f 00 00 00 00 00 00 10 00 00')));
  // Two pieces each.
  for (const total of [16, 24, 32, 40, 48]) {
    clock.advance(10);
    await settle();
    assert.equal(reads, total);
  }
  for (const each of verified) assert.equal((await each).status, 0);
});

test('medium_eject: prevented by any nexus, undone by its loss; loading is told to others', async () => {
  const { one, set } = bench({ removable: true });
  const two = new Initiator(set, TWO);
  await two.run(PREVENT);
  assert.equal((await one.run(EJECT)).sense, '5/53/02');
  two.logout();
  assert.equal((await one.run(EJECT)).status, 0);
  assert.equal((await ready(one)).sense, '2/3a/00');
  two.login();
  assert.equal((await ready(two)).sense, '2/3a/00');
  assert.equal((await one.run(LOAD)).status, 0);
  assert.equal((await ready(two)).sense, '6/28/00');
  assert.equal((await ready(one)).status, 0);
});

test('medium_next-boot: an ejected medium is there again for the machine that comes next', async () => {
  const { one, set } = bench({ kind: 'cdrom' });
  await one.run(EJECT);
  assert.equal((await ready(one)).sense, '2/3a/02');
  one.logout();
  assert.equal((await ready(new Initiator(set, TWO))).status, 0);
});

test('medium_cdrom: has a tray, whatever is said of removable media', async () => {
  const { one } = bench({ kind: 'cdrom', removable: false });
  assert.equal((await one.run(hex('12 00 00 00 24 00'))).data[1], 0x80);
  assert.equal((await one.run(PREVENT)).status, 0);
  assert.equal((await one.run(EJECT)).sense, '5/53/02');
});

test('medium_stop: a disk that was stopped needs no start (the next boot would hang)', async () => {
  const { one } = bench();
  assert.equal((await one.run(hex('1b 00 00 00 00 00'))).status, 0);
  assert.equal((await ready(one)).status, 0);
  assert.equal((await one.run(EJECT)).sense, '5/24/00');
});

test('reset: mode pages and RESERVE(6) go, persistent reservations stay, everybody is told', async () => {
  const { one, set, unit } = bench();
  const two = new Initiator(set, TWO);
  const swp = hex('00 00 00 00 0a 0a 20 10 08 00 00 00 00 00 00 00');
  await one.run(hex('15 10 00 00 10 00'), { out: swp });
  const key = Buffer.concat([Buffer.alloc(15), Buffer.from([1]), Buffer.alloc(8)]);
  assert.equal((await two.run(hex('00 00 00 00 00 00'))).sense, '6/2a/01');
  await two.run(hex('5f 00 00 00 00 00 00 00 18 00'), { out: key });
  assert.equal(unit.modes.softwareWriteProtect, true);
  set.targetReset();
  assert.equal(unit.modes.softwareWriteProtect, false);
  assert.equal(unit.reservations.registrations.length, 1);
  assert.equal((await ready(one)).sense, '6/29/03');
  assert.equal((await ready(two)).sense, '6/29/03');
});

test('nexus: power on the first time, nexus loss when it comes again', async () => {
  const sense: string[] = [];
  const target = bench().set;
  const again = new (class extends Initiator {
    override login(): void {
      target.nexusAdded(this);
    }
  })(target, TWO);
  sense.push((await ready(again)).sense);
  again.logout();
  again.login();
  sense.push((await ready(again)).sense);
  assert.deepEqual(sense, ['6/29/00', '6/29/07']);
});

test('resize: the new capacity is told, and counts', async () => {
  const { one, unit, memory } = bench();
  Object.defineProperty(memory, 'sizeBytes', { value: memory.sizeBytes / 2 });
  unit.capacityChanged();
  assert.equal((await ready(one)).sense, '6/2a/09');
  const capacity = await one.run(hex('25 00 00 00 00 00 00 00 00 00'));
  assert.equal(capacity.data.readUInt32BE(0) + 1, memory.sizeBytes / 512);
  assert.equal((await one.run(hex('28 00 00 00 0f ff 00 00 02 00'))).sense, '5/21/00');
});

test('inquiry: standard data of a disk and of a CD-ROM, byte by byte', async () => {
  const disk = (await bench().one.run(hex('12 00 00 00 ff 00'))).data;
  assert.equal(
    disk.toString('hex', 0, 36),
    `00000612 5b180002${Buffer.from('POLYBOOTDisk            0001').toString('hex')}`.replace(
      ' ',
      '',
    ),
  );
  assert.equal(disk.toString('hex', 58, 66), '00a00460096004c0');
  const cdrom = (await bench({ kind: 'cdrom' }).one.run(hex('12 00 00 00 ff 00'))).data;
  assert.deepEqual([cdrom[0], cdrom[1]], [0x05, 0x80]);
});

test('capacity: a disk beyond 2 TiB says "ask with (16)"', async () => {
  const { one, unit, memory } = bench();
  Object.defineProperty(memory, 'sizeBytes', { value: 4 * 2 ** 40 });
  unit.capacityChanged();
  await ready(one);
  const small = await one.run(hex('25 00 00 00 00 00 00 00 00 00'));
  assert.equal(small.data.readUInt32BE(0), 0xffffffff);
  const large = await one.run(hex('9e 10 00 00 00 00 00 00 00 00 00 00 00 20 00 00'));
  assert.equal(large.data.readBigUInt64BE(0) + 1n, BigInt((4 * 2 ** 40) / 512));
});

test('toc: one data track and the lead-out, in blocks and in minutes', async () => {
  const { one, unit } = bench({ kind: 'cdrom' });
  const toc = (await one.run(hex('43 00 00 00 00 00 00 00 ff 00'))).data;
  assert.equal(toc.toString('hex', 0, 12), '001201010014010000000000');
  assert.equal(toc.readUInt32BE(16), unit.blocks);
  const time = (await one.run(hex('43 02 00 00 00 00 00 00 ff 00'))).data;
  assert.equal(time.toString('hex', 8, 12), '00000200');
  assert.equal((await one.run(hex('43 00 00 00 00 00 02 00 ff 00'))).sense, '5/24/00');
  assert.equal((await one.run(hex('43 00 05 00 00 00 00 00 ff 00'))).sense, '5/24/00');
});

test('configuration: every feature once in ascending order; the profile follows the medium', async () => {
  const { one } = bench({ kind: 'cdrom' });
  const data = (await one.run(hex('46 00 00 00 00 00 00 04 00 00'))).data;
  assert.equal(data.readUInt16BE(6), 0x0008);
  const codes: number[] = [];
  for (let at = 8; at < data.length; at += 4 + (data[at + 3] ?? 0))
    codes.push(data.readUInt16BE(at));
  assert.deepEqual(codes, [0, 1, 2, 3, 0x10, 0x1e, 0x1f]);
  await one.run(EJECT);
  const empty = (await one.run(hex('46 00 00 00 00 00 00 04 00 00'))).data;
  assert.equal(empty.readUInt16BE(6), 0);
});
