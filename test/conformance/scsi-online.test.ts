import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeClock } from '#base/mod.ts';
import { BlockError, DelayDevice, ErrorDevice, MemoryDevice, ReadOnlyDevice } from '#block/mod.ts';
import type { BlockDevice } from '#block/mod.ts';
import { Phase, ScsiCommand } from '#scsi/mod.ts';
import type { LogicalUnit } from '#scsi/mod.ts';
import { DISK_BYTES, bench } from './scsi-bench.ts';
import type { Bench } from './scsi-bench.ts';
import { Initiator, hex } from './scsi-initiator.ts';
import type { Ended } from './scsi-initiator.ts';

const TWO = 'iqn.2026-11.org.polyboot:two';
const ready = (who: Initiator): Promise<Ended> => who.run(hex('00 00 00 00 00 00'));

function write10(who: Initiator, lba: number, fill: number): Promise<Ended> {
  const cdb = hex('2a 00 00 00 00 00 00 00 01 00');
  cdb.writeUInt32BE(lba, 2);
  return who.run(cdb, { out: Buffer.alloc(512, fill) });
}

function read10(who: Initiator, lba: number): Promise<Ended> {
  const cdb = hex('28 00 00 00 00 00 00 00 01 00');
  cdb.writeUInt32BE(lba, 2);
  return who.run(cdb);
}

/** Lets callbacks and promises that are due run. */
function settle(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/** The first byte of a block. */
function byteAt(device: MemoryDevice, lba: number): number {
  const stored = Buffer.alloc(512);
  device.tryRead(lba * 512, stored, 0, 512);
  return stored[0] ?? 0;
}

/** A copy of the old device, as an overlay would read; `gate` holds it back until released. */
function snapshot(old: MemoryDevice): MemoryDevice {
  const fresh = new MemoryDevice({ sizeBytes: old.sizeBytes });
  const bytes = Buffer.alloc(old.sizeBytes);
  old.tryRead(0, bytes, 0, bytes.length);
  fresh.load(bytes);
  return fresh;
}

type Swap = {
  /** Resolves as `swapDevice` answers. */
  readonly swapped: Promise<Error | null>;
  /** Resolves when `make` was called. */
  readonly making: Promise<BlockDevice>;
  readonly finish: (device: BlockDevice) => void;
  readonly fail: (error: Error) => void;
};

function swap(unit: LogicalUnit): Swap {
  const made = Promise.withResolvers<BlockDevice>();
  const making = Promise.withResolvers<BlockDevice>();
  const swapped = new Promise<Error | null>((resolve) => {
    unit.swapDevice((old) => {
      making.resolve(old);
      return made.promise;
    }, resolve);
  });
  return { swapped, making: making.promise, finish: made.resolve, fail: made.reject };
}

test('resize: rescan takes the new size over; capacity, LBA checks and mode data follow', async () => {
  const { one, set, unit, memory } = bench();
  const two = new Initiator(set, TWO);
  await new Promise<void>((resolve) => {
    memory.grow(2 * DISK_BYTES, () => {
      resolve();
    });
  });
  const last = 2 * (DISK_BYTES / 512) - 1;
  assert.equal((await read10(one, last)).sense, '5/21/00');
  assert.equal(await new Promise((resolve) => unit.rescan(resolve)), null);
  for (const who of [one, two]) assert.equal((await ready(who)).sense, '6/2a/09');
  assert.equal((await read10(one, last)).status, 0);
  assert.equal((await read10(one, last + 1)).sense, '5/21/00');
  const capacity = await one.run(hex('9e 10 00 00 00 00 00 00 00 00 00 00 00 20 00 00'));
  assert.equal(capacity.data.readUInt32BE(4), last);
  const mode = await one.run(hex('1a 00 08 00 ff 00'));
  assert.equal(mode.data.readUInt32BE(4), last + 1);
  const status = hex('9e 12 00 00 00 00 00 00 00 00 00 00 00 18 00 00');
  status.writeUInt32BE(last, 6);
  assert.equal((await one.run(status)).data.readUInt32BE(16), 1);
});

test('resize: no attention when nothing changed', async () => {
  const { one, unit } = bench();
  await new Promise((resolve) => unit.rescan(resolve));
  assert.equal((await ready(one)).status, 0);
});

test('swap_lba-status: asked for in the midst of it, it goes on with the new device', async () => {
  const { one, unit, memory } = bench({}, undefined, 8 * DISK_BYTES);
  // Extents of 64 KiB, twice as many as are looked at in one turn.
  for (let at = 0; at < memory.sizeBytes; at += 128 * 1024) memory.load(Buffer.alloc(512, 1), at);
  const asked = one.run(hex('9e 12 00 00 00 00 00 00 00 00 00 00 ff ff 00 00'));
  const s = swap(unit);
  await s.making;
  const fresh = snapshot(memory);
  await new Promise((resolve) => memory.close(resolve));
  await settle();
  s.finish(fresh);
  assert.equal(await s.swapped, null);
  const { status, data } = await asked;
  assert.equal(status, 0);
  const last = data.subarray(-16);
  assert.equal(Number(last.readBigUInt64BE(0)) + last.readUInt32BE(8), unit.blocks);
  assert.ok(data.length > 64 * 16);
});

test('swap_held: commands wait, none is lost, and the old device keeps what was acknowledged', async () => {
  const { one, set, unit, memory } = bench();
  const two = new Initiator(set, TWO);
  await write10(one, 0, 1);
  const s = swap(unit);
  assert.equal(await s.making, memory);
  const ended: string[] = [];
  const held = [
    write10(one, 0, 2).then((e) => ended.push(`w ${e.status}`)),
    read10(two, 1).then((e) => ended.push(`r ${e.status}`)),
    one.run(hex('35 00 00 00 00 00 00 00 00 00')).then((e) => ended.push(`s ${e.status}`)),
    one
      .run(hex('41 00 00 00 00 09 00 00 02 00'), { out: Buffer.alloc(512, 5) })
      .then((e) => ended.push(`f ${e.status}`)),
  ];
  // What needs no medium is answered meanwhile.
  assert.equal((await two.run(hex('12 00 00 00 24 00'))).status, 0);
  assert.equal((await two.run(hex('a0 00 00 00 00 00 00 00 00 10 00 00'))).status, 0);
  await settle();
  assert.equal(ended.length, 0);
  const fresh = snapshot(memory);
  s.finish(fresh);
  assert.equal(await s.swapped, null);
  await Promise.all(held);
  assert.deepEqual(
    ended.toSorted((a, b) => a.localeCompare(b)),
    ['f 0', 'r 0', 's 0', 'w 0'],
  );
  assert.deepEqual([byteAt(memory, 0), byteAt(fresh, 0)], [1, 2]);
  assert.deepEqual([byteAt(memory, 9), byteAt(fresh, 9)], [0, 5]);
  assert.equal((await ready(one)).status, 0, 'no unit attention for the same geometry');
});

test('swap_running: writes that are on their way to the old device end there first', async () => {
  const clock = new FakeClock();
  const { one, unit, memory } = bench(
    {},
    (inner) => new DelayDevice(inner, clock, { readMs: 5, writeMs: 5, flushMs: 5 }),
  );
  const writing = write10(one, 3, 7);
  await settle();
  const s = swap(unit);
  let made = false;
  void s.making.then(() => (made = true));
  await settle();
  assert.equal(made, false, 'a write is still under way');
  clock.advance(5);
  await settle();
  assert.deepEqual([(await writing).status, byteAt(memory, 3)], [0, 7]);
  assert.equal(made, false, 'the old device is being flushed');
  clock.advance(5);
  await settle();
  assert.equal(made, true);
  s.finish(snapshot(memory));
  assert.equal(await s.swapped, null);
  assert.equal((await read10(one, 3)).data[0], 7);
});

test('swap_failed: all goes on with the old device, and what was held ends well', async () => {
  const { one, unit, memory } = bench();
  const s = swap(unit);
  await s.making;
  const held = write10(one, 4, 9);
  s.fail(new BlockError('no-space', 'no room for an overlay', 0));
  assert.match(String(await s.swapped), /no room/);
  assert.deepEqual([(await held).status, byteAt(memory, 4)], [0, 9]);
  // Another kind of disk is not taken either.
  const wrong = swap(unit);
  wrong.finish(new MemoryDevice({ sizeBytes: DISK_BYTES, blockBytes: 4096 }));
  assert.match(String(await wrong.swapped), /same blocks/);
  assert.equal((await read10(one, 4)).data[0], 9);
});

test('swap_flush-fails: no device is made, and the unit is failed for good', async () => {
  let broken = false;
  const { one, unit } = bench(
    {},
    (memory) => new ErrorDevice(memory, (o) => (o === 'flush' && broken ? 'io' : null)),
  );
  broken = true;
  const s = swap(unit);
  assert.notEqual(await s.swapped, null);
  broken = false;
  assert.equal((await read10(one, 0)).sense, '4/44/00');
});

test('swap_twice: one after the other, each over the one before', async () => {
  const { one, unit, memory } = bench();
  const [first, second] = [swap(unit), swap(unit)];
  await first.making;
  const middle = snapshot(memory);
  first.finish(middle);
  assert.equal(await second.making, middle);
  second.finish(snapshot(middle));
  assert.deepEqual([await first.swapped, await second.swapped], [null, null]);
  assert.equal((await read10(one, 0)).status, 0);
});

test('swap_larger: a device that is larger is told by unit attention', async () => {
  const { one, unit } = bench();
  const s = swap(unit);
  s.finish(new MemoryDevice({ sizeBytes: 2 * DISK_BYTES }));
  assert.equal(await s.swapped, null);
  assert.equal((await ready(one)).sense, '6/2a/09');
});

/** A command as a transport holds it. */
function command(b: Bench, cdb: string, outBytes: number): ScsiCommand {
  const c = new ScsiCommand();
  c.cdb.set(hex(cdb));
  c.cdbBytes = 16;
  c.nexus = b.one;
  c.expectedOutBytes = outBytes;
  return c;
}

test('swap_abort: a held command is given up at once, and never reaches either device', async () => {
  const b = bench();
  const s = swap(b.unit);
  await s.making;
  const writing = command(b, '2a 00 00 00 00 00 00 00 01 00', 512);
  b.set.begin(writing);
  assert.equal(writing.phase, Phase.WRITE);
  const data = Buffer.alloc(512, 0x66);
  assert.equal(writing.device?.tryWrite(0, data, 0, 512), false);
  const answered = new Promise((resolve) => {
    writing.device?.write(0, data, 0, 512, resolve);
  });
  const same = command(b, '41 00 00 00 00 00 00 00 04 00', 512);
  b.set.begin(same);
  same.dataOut = data;
  const finished = new Promise((resolve) => {
    b.set.finish(same, resolve);
  });
  b.set.abandon(writing);
  b.set.abandon(same);
  assert.ok((await answered) instanceof BlockError);
  await finished;
  assert.equal(same.phase, Phase.DONE);
  // A reset works while the gate is shut.
  assert.equal(b.set.logicalUnitReset(0), true);
  const fresh = snapshot(b.memory);
  s.finish(fresh);
  assert.equal(await s.swapped, null);
  assert.deepEqual([byteAt(b.memory, 0), byteAt(fresh, 0)], [0, 0]);
});

test('swap_bounded: beyond the bound a command is told TASK SET FULL, and not kept', async () => {
  const b = bench();
  const s = swap(b.unit);
  await s.making;
  const held: Promise<Ended>[] = [];
  for (let i = 0; i < 1024; i++) held.push(read10(b.one, i));
  assert.equal((await read10(b.one, 0)).status, 0x28);
  s.finish(b.memory);
  await s.swapped;
  assert.ok((await Promise.all(held)).every((e) => e.status === 0));
});

test('swap_refused: not while the medium is being sanitized', async () => {
  const clock = new FakeClock();
  const { one, unit } = bench({}, (memory) => new DelayDevice(memory, clock, { writeMs: 10 }));
  const erasing = one.run(hex('48 02 00 00 00 00 00 00 00 00'));
  await settle();
  assert.ok((await swap(unit).swapped) instanceof BlockError);
  clock.advance(10);
  assert.equal((await erasing).status, 0);
});

test('sanitize_fence: waits for writes under way, and refuses data that comes later', async () => {
  const clock = new FakeClock();
  const b = bench({}, (inner) => new DelayDevice(inner, clock, { writeMs: 10 }));
  const two = new Initiator(b.set, TWO);
  const early = write10(two, 0, 0x11);
  await settle();
  // Begun before SANITIZE, but its data arrives while it runs.
  const late = command(b, '2a 00 00 00 00 01 00 00 01 00', 512);
  b.set.begin(late);
  assert.equal(late.phase, Phase.WRITE);
  const erasing = b.one.run(hex('48 02 00 00 00 00 00 00 00 00'));
  await settle();
  const device = late.device as BlockDevice;
  assert.equal(device.tryWrite(512, Buffer.alloc(512, 0x22), 0, 512), false);
  const refused = await new Promise((resolve) => {
    device.write(512, Buffer.alloc(512, 0x22), 0, 512, resolve);
  });
  b.set.fail(late, refused);
  assert.equal(late.status, 2);
  assert.deepEqual([late.sense?.[2], late.sense?.[12], late.sense?.[13]], [2, 0x04, 0x1b]);
  clock.advance(10);
  assert.equal((await early).status, 0);
  assert.equal(byteAt(b.memory, 0), 0x11, 'the erase has not begun before the write ended');
  await settle();
  clock.advance(10);
  assert.equal((await erasing).status, 0);
  assert.deepEqual([byteAt(b.memory, 0), byteAt(b.memory, 1)], [0, 0]);
});

const [NONE, A, Z] = ['00'.repeat(8), `${'00'.repeat(7)}aa`, `${'00'.repeat(7)}bb`] as const;
const PREEMPT_AND_ABORT = hex('5f 05 01 00 00 00 00 00 18 00');

/** The parameter list of PERSISTENT RESERVE OUT. */
function keys(own: string, action: string): Buffer {
  return hex(`${own}${action}${'00'.repeat(8)}`);
}

async function register(who: Initiator, key: string): Promise<void> {
  const { status } = await who.run(hex('5f 00 00 00 00 00 00 00 18 00'), { out: keys(NONE, key) });
  assert.equal(status, 0);
}

test('preempt-and-abort_late-write: GOOD only when nothing of the loser can reach the disk', async () => {
  const clock = new FakeClock();
  const b = bench(
    { abortTasks: () => false },
    (inner) => new DelayDevice(inner, clock, { writeMs: 10 }),
  );
  const two = new Initiator(b.set, TWO);
  await register(b.one, A);
  await register(two, Z);
  const late = write10(two, 5, 0x44);
  await settle();
  let over = false;
  const preempting = b.one.run(PREEMPT_AND_ABORT, { out: keys(A, Z) }).then((ended) => {
    over = true;
    return ended;
  });
  await settle();
  assert.equal(over, false);
  clock.advance(10);
  assert.equal((await preempting).status, 0);
  assert.equal(byteAt(b.memory, 5), 0x44);
  await late;
});

test('preempt-and-abort_locked-range: a write of the loser that waits for COMPARE AND WRITE', async () => {
  const clock = new FakeClock();
  const b = bench(
    { abortTasks: () => false },
    (inner) => new DelayDevice(inner, clock, { readMs: 10, writeMs: 10 }),
  );
  const two = new Initiator(b.set, TWO);
  await register(b.one, A);
  await register(two, Z);
  const swap = hex('89 00 00 00 00 00 00 00 00 05 00 00 00 01 00 00');
  const swapped = b.one.run(swap, { out: Buffer.alloc(1024).fill(0x33, 512) });
  await settle();
  const late = write10(two, 5, 0x44);
  await settle();
  const seen: number[] = [];
  const preempting = b.one.run(PREEMPT_AND_ABORT, { out: keys(A, Z) }).then((ended) => {
    seen.push(ended.status, byteAt(b.memory, 5));
  });
  for (let n = 0; n < 3; n++) {
    await settle();
    clock.advance(10);
  }
  await Promise.all([swapped, late, preempting]);
  assert.deepEqual(seen, [0, 0x44], 'nothing changes after it is GOOD');
});

test('1_switch-while-writing: a WRITE that ends after WCE was switched off is flushed', async () => {
  let flushes = 0;
  const b = bench(
    {},
    (memory) =>
      new ErrorDevice(memory, (o) => {
        if (o === 'flush') flushes += 1;
        return null;
      }),
  );
  const writing = command(b, '2a 00 00 00 00 00 00 00 01 00', 512);
  b.set.begin(writing);
  const off = Buffer.concat([Buffer.alloc(4), hex('08 12'), Buffer.alloc(18)]);
  assert.equal((await b.one.run(hex('15 10 00 00 18 00'), { out: off })).status, 0);
  assert.equal(flushes, 1);
  writing.device?.tryWrite(0, Buffer.alloc(512, 1), 0, 512);
  await new Promise((resolve) => {
    b.set.finish(writing, resolve);
  });
  assert.deepEqual([writing.status, flushes], [0, 2]);
});

test('swap_read-only: a read-only unit changes its device without a flush', async () => {
  const b = bench({}, (memory) => new ReadOnlyDevice(memory));
  const s = swap(b.unit);
  s.finish(new ReadOnlyDevice(snapshot(b.memory)));
  assert.equal(await s.swapped, null);
  assert.equal((await read10(b.one, 0)).status, 0);
});

/** A small generator with a seed: xorshift32. */
function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

const BLOCKS = 16;

/**
 * One life: writers and readers on a slow disk whose device is changed under them, again and again,
 * or fails to be. No two commands are under way for the same block, so each read must find what was
 * written last, wherever it lies by then.
 */
async function live(seed: number): Promise<void> {
  const next = generator(seed);
  const clock = new FakeClock();
  const slow = (memory: BlockDevice): BlockDevice =>
    new DelayDevice(memory, clock, { readMs: 3, writeMs: 1 + next(9), flushMs: 2 });
  const b = bench({}, slow);
  const written = Array.from({ length: BLOCKS }, () => 0);
  const busy = new Set<number>();
  let top = b.memory;
  let swapping = 0;
  const under: Promise<void>[] = [];
  const change = async (): Promise<void> => {
    swapping += 1;
    const s = swap(b.unit);
    await s.making;
    const before = top;
    const pause = Promise.withResolvers<undefined>();
    clock.after(next(20), () => pause.resolve(undefined));
    await pause.promise;
    const fails = next(3) === 0;
    if (fails) s.fail(new BlockError('no-space', 'no room', 0));
    else {
      top = snapshot(before);
      s.finish(slow(top));
    }
    assert.equal((await s.swapped) !== null, fails);
    swapping -= 1;
  };
  const access = async (lba: number): Promise<void> => {
    busy.add(lba);
    if (next(2) === 0) {
      const fill = 1 + next(255);
      assert.equal((await write10(b.one, lba, fill)).status, 0);
      written[lba] = fill;
    } else {
      assert.equal((await read10(b.one, lba)).data[0], written[lba], `seed ${seed} LBA ${lba}`);
    }
    busy.delete(lba);
  };
  for (let step = 0; step < 120; step++) {
    const lba = next(BLOCKS);
    if (!busy.has(lba)) under.push(access(lba));
    if (swapping === 0 && next(10) === 0) under.push(change());
    clock.advance(next(3));
    await settle();
  }
  const over = Promise.all(under).then(() => true);
  while (!(await Promise.race([over, settle().then(() => false)]))) clock.advance(5);
  for (let lba = 0; lba < BLOCKS; lba++)
    assert.equal(byteAt(top, lba), written[lba], `seed ${seed}`);
}

test('swap_lives: 100 seeded lives with changes of device under load lose nothing', async () => {
  for (let seed = 1; seed <= 100; seed++) await live(seed);
});
