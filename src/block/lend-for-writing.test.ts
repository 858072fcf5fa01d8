import assert from 'node:assert/strict';
import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { ScatterBuffer } from '#os/mod.ts';
import type { BlockDevice } from './device.ts';
import { answered } from './answered.ts';
import { fileSystemAt } from './file-system.ts';
import { CounterDevice } from './filter/counter.ts';
import { RangeLockDevice } from './filter/lock.ts';
import { ReadOnlyDevice } from './filter/readonly.ts';
import { SliceDevice } from './filter/slice.ts';
import { VolatileDevice } from './filter/volatile.ts';
import { lendForWritingFrom } from './lend.ts';
import { MemoryDevice } from './memory.ts';
import { openRaw } from './raw-open.ts';
import { RawDevice } from './raw.ts';

const MIB = 1024 * 1024;
const DISK_BYTES = 20 * MIB;
const PAGE = 4096;
const OLD = 0x11;
/** What must be asked for of a window before it is lent: a quarter of it. */
const WORTH_BYTES = 4 * MIB;

/** Where images lie: a disk's file system, and one that lives in memory. */
const PARENTS = [
  ['on a disk', process.cwd()],
  ['in memory', '/dev/shm'],
] as const;

type Image = { readonly path: string; readonly device: RawDevice };

function closed(device: BlockDevice): Promise<void> {
  return answered((done) => {
    device.close(done);
  });
}

/** False on a file system that does not lend for writing; the one in memory always does. */
async function able(t: TestContext, parent: string): Promise<boolean> {
  if ((await fileSystemAt(parent)) !== 'other') return true;
  t.diagnostic(`not in ${parent}: its file system does not lend for writing`);
  return false;
}

/** A file full of `OLD`, all of it in the page cache; it ends with the test. */
async function image(t: TestContext, parent: string, readOnly = false): Promise<Image> {
  const folder = mkdtempSync(join(parent, '.pb-lend-'));
  const path = join(folder, 'disk.raw');
  writeFileSync(path, Buffer.alloc(DISK_BYTES, OLD));
  readFileSync(path);
  const device = await openRaw(path, { readOnly });
  t.after(async () => {
    await closed(device);
    rmSync(folder, { recursive: true });
  });
  return { path, device };
}

/** Asks for as much of a window as makes it worth lending. */
function warm(device: object, offsetBytes = 0): void {
  const window = offsetBytes - (offsetBytes % (16 * MIB));
  for (let n = 0; n < WORTH_BYTES / MIB; n++) lendForWritingFrom(device, window, MIB);
}

/** Writes bytes to an address, as a batch of writes does. */
function store(t: TestContext, address: number, bytes: Uint8Array): void {
  const scatter = ScatterBuffer.open(64 * 1024);
  assert.ok(scatter !== null);
  t.after(() => {
    scatter.close();
  });
  scatter.bytes.set(bytes, 48);
  assert.ok(scatter.add(48, bytes.length, address));
  assert.equal(scatter.store(), 48 + bytes.length);
}

function pattern(lengthBytes: number, seed: number): Buffer {
  return Buffer.from(Array.from({ length: lengthBytes }, (_, n) => (n * 13 + seed) & 255));
}

/** What another program sees in the file. */
function seen(path: string, offsetBytes: number, lengthBytes: number): Buffer {
  const fd = openSync(path, 'r');
  const into = Buffer.alloc(lengthBytes);
  assert.equal(readSync(fd, into, 0, lengthBytes, offsetBytes), lengthBytes);
  closeSync(fd);
  return into;
}

for (const [where, parent] of PARENTS) {
  test(`a raw image ${where} lends for writing what is worth it, no earlier`, async (t) => {
    if (!(await able(t, parent))) return;
    const { device } = await image(t, parent);
    for (let asked = 0; asked + PAGE < WORTH_BYTES; asked += 256 * 1024) {
      assert.equal(device.lendForWriting(0, 256 * 1024 - PAGE), 0, `after ${asked} bytes`);
    }
    warm(device);
    const address = device.lendForWriting(MIB, PAGE);
    assert.notEqual(address, 0);
    assert.equal(device.lend(MIB, PAGE), address, 'the same pages as for reading');
    assert.equal(device.lendForWriting(MIB + 512, 512), address + 512);
    assert.equal(device.lendForWriting(17 * MIB, PAGE), 0, 'another window is not worth it yet');
    warm(device, 17 * MIB);
    assert.equal(device.lendForWriting(17 * MIB, PAGE), address + 16 * MIB);
    assert.equal(device.lendForWriting(16 * MIB - 512, 1024), 0, 'not over two windows');
    assert.equal(device.lendForWriting(DISK_BYTES - 512, 1024), 0, 'not beyond the end');
  });

  test(`what is written by address ${where} is seen by everybody, and stays`, async (t) => {
    if (!(await able(t, parent))) return;
    const { path, device } = await image(t, parent);
    warm(device);
    warm(device, 16 * MIB);
    const places = [
      [5 * MIB, pattern(3 * PAGE, 1)],
      [7 * MIB + 512, pattern(512, 2)],
      [9 * MIB - 512, pattern(PAGE + 1024, 3)],
      [DISK_BYTES - 512, pattern(512, 4)],
    ] as const;
    const expected = Buffer.alloc(DISK_BYTES, OLD);
    for (const [offset, bytes] of places) {
      const address = device.lendForWriting(offset, bytes.length);
      assert.notEqual(address, 0);
      store(t, address, bytes);
      expected.set(bytes, offset);
      const into = Buffer.alloc(bytes.length);
      assert.ok(device.tryRead(offset, into, 0, into.length));
      assert.ok(into.equals(bytes), 'by the device');
      assert.ok(seen(path, offset, bytes.length).equals(bytes), 'by another descriptor');
      const later = Buffer.alloc(bytes.length);
      await answered((done) => {
        device.read(offset, later, 0, later.length, done);
      });
      assert.ok(later.equals(bytes), 'by a read in the thread pool');
    }
    await answered((done) => {
      device.flush(done);
    });
    await closed(device);
    assert.equal(device.lendForWriting(5 * MIB, PAGE), 0, 'a closed image lends nothing');
    assert.ok(readFileSync(path).equals(expected), 'these bytes and no others');
    const again = await openRaw(path);
    t.after(() => closed(again));
    const into = Buffer.alloc(3 * PAGE);
    assert.ok(again.tryRead(5 * MIB, into, 0, into.length));
    assert.ok(into.equals(places[0][1]));
  });

  test(`writes by address ${where} and by call: the later one wins`, async (t) => {
    if (!(await able(t, parent))) return;
    const { path, device } = await image(t, parent);
    warm(device);
    const address = device.lendForWriting(MIB, 2 * PAGE);
    assert.notEqual(address, 0);
    store(t, address, pattern(2 * PAGE, 1));
    assert.ok(device.tryWrite(MIB, pattern(PAGE, 2), 0, PAGE));
    const half = Buffer.concat([pattern(PAGE, 2), pattern(2 * PAGE, 1).subarray(PAGE)]);
    assert.ok(seen(path, MIB, 2 * PAGE).equals(half));
    store(t, address + 512, pattern(512, 3));
    half.set(pattern(512, 3), 512);
    assert.ok(seen(path, MIB, 2 * PAGE).equals(half));
    await answered((done) => {
      device.write(MIB, pattern(2 * PAGE, 4), 0, 2 * PAGE, done);
    });
    assert.ok(seen(path, MIB, 2 * PAGE).equals(pattern(2 * PAGE, 4)));
  });

  test(`a hole of an image ${where} is never lent`, async (t) => {
    if (!(await able(t, parent))) return;
    const { path, device } = await image(t, parent);
    await closed(device);
    truncateSync(path, 8 * MIB);
    truncateSync(path, DISK_BYTES);
    const sparse = await openRaw(path);
    t.after(() => closed(sparse));
    warm(sparse);
    assert.notEqual(sparse.lendForWriting(8 * MIB - PAGE, PAGE), 0, 'what has data');
    for (let at = 8 * MIB; at < 16 * MIB; at += MIB / 2) {
      assert.equal(sparse.lendForWriting(at, 512), 0, `at ${at}`);
    }
    assert.equal(sparse.lendForWriting(8 * MIB - PAGE, 2 * PAGE), 0, 'nor partly a hole');
    for (let n = 0; n < 8; n++) assert.equal(sparse.lendForWriting(16 * MIB, MIB), 0);
  });

  test(`after a discard ${where} nothing is lent from what was known before`, async (t) => {
    if (!(await able(t, parent))) return;
    const { path, device } = await image(t, parent);
    warm(device);
    assert.notEqual(device.lendForWriting(2 * MIB, PAGE), 0);
    assert.ok(device.canDiscard);
    let asked = 0;
    await answered((done) => {
      device.discard(MIB, 2 * MIB, done);
      asked = device.lendForWriting(2 * MIB, PAGE);
    });
    assert.equal(asked, 0, 'from the moment it begins');
    assert.equal(device.lendForWriting(2 * MIB, PAGE), 0);
    assert.ok(seen(path, MIB, 2 * MIB).every((byte) => byte === 0));
    assert.ok(seen(path, 3 * MIB, MIB).every((byte) => byte === OLD));
  });

  test(`an image ${where} that is cut short behind our back: told, no signal`, async (t) => {
    if (!(await able(t, parent))) return;
    const { path, device } = await image(t, parent);
    warm(device);
    const near = device.lendForWriting(0, PAGE);
    const far = device.lendForWriting(10 * MIB, PAGE);
    assert.ok(near !== 0 && far !== 0);
    truncateSync(path, MIB);
    const scatter = ScatterBuffer.open(64 * 1024);
    assert.ok(scatter !== null);
    scatter.bytes.fill(0x33);
    for (const [n, address] of [near, far, near + PAGE].entries()) {
      assert.ok(scatter.add(n * PAGE, PAGE, address));
    }
    const to = scatter.store();
    assert.ok(to >= PAGE && to < 2 * PAGE, `stored to ${to}`);
    scatter.close();
    const file = readFileSync(path);
    assert.equal(file.length, MIB);
    assert.ok(file.subarray(0, PAGE).every((byte) => byte === 0x33));
    assert.ok(file.subarray(PAGE).every((byte) => byte === OLD));
    // What finds the reason: a call, which makes the file longer again.
    assert.ok(device.tryWrite(10 * MIB, Buffer.alloc(PAGE, 0x44), 0, PAGE));
    assert.ok(seen(path, 10 * MIB, PAGE).every((byte) => byte === 0x44));
  });

  test(`a disk ${where} that grew lends its new part, when that has data`, async (t) => {
    if (!(await able(t, parent))) return;
    const { path, device } = await image(t, parent);
    warm(device);
    assert.notEqual(device.lendForWriting(0, PAGE), 0);
    await answered((done) => {
      device.grow?.(DISK_BYTES + 16 * MIB, done);
    });
    warm(device, 32 * MIB);
    assert.equal(device.lendForWriting(33 * MIB, PAGE), 0, 'a hole');
    warm(device);
    const address = device.lendForWriting(MIB, PAGE);
    assert.notEqual(address, 0);
    store(t, address, pattern(PAGE, 9));
    assert.ok(seen(path, MIB, PAGE).equals(pattern(PAGE, 9)));
  });
}

test('what is open for reading only lends nothing for writing', async (t) => {
  const { device } = await image(t, process.cwd(), true);
  for (let n = 0; n < 8; n++) device.lend(0, MIB);
  assert.notEqual(device.lend(0, PAGE), 0, 'for reading it does');
  assert.equal(device.lendForWriting(0, PAGE), 0);
  warm(device);
  assert.equal(device.lendForWriting(0, PAGE), 0);
});

test('a file system whose mappings cannot be believed lends nothing for writing', async (t) => {
  const { path } = await image(t, process.cwd());
  const device = new RawDevice({
    fd: openSync(path, 'r+'),
    sizeBytes: DISK_BYTES,
    blockBytes: 512,
    physicalBlockBytes: PAGE,
    readOnly: false,
    canDiscard: false,
    residency: 'ask',
    tellsResidency: true,
    writesByAddress: false,
    locked: false,
    growable: false,
  });
  for (let n = 0; n < 8; n++) device.lend(0, MIB);
  assert.notEqual(device.lend(0, PAGE), 0, 'for reading it does');
  assert.equal(device.lendForWriting(0, PAGE), 0);
  await closed(device);
});

test('filters: those that change or watch writes lend nothing for writing', async (t) => {
  const { device } = await image(t, '/dev/shm');
  warm(device);
  const address = device.lendForWriting(MIB, PAGE);
  assert.notEqual(address, 0);
  assert.equal(lendForWritingFrom(new RangeLockDevice(device), MIB, PAGE), address);
  for (const filter of [ReadOnlyDevice, CounterDevice, VolatileDevice]) {
    assert.equal(lendForWritingFrom(new filter(device), MIB, PAGE), 0, filter.name);
  }
  assert.equal(lendForWritingFrom(new RangeLockDevice(new ReadOnlyDevice(device)), MIB, PAGE), 0);
  assert.equal(lendForWritingFrom(new MemoryDevice({ sizeBytes: MIB }), 0, PAGE), 0);
  assert.equal(lendForWritingFrom({}, 0, PAGE), 0);
});

test('a slice lends its own part only', async (t) => {
  const { path, device } = await image(t, '/dev/shm');
  warm(device);
  const slice = new SliceDevice(device, 3 * MIB, MIB);
  const address = slice.lendForWriting(512, PAGE);
  assert.equal(address, device.lendForWriting(3 * MIB + 512, PAGE));
  assert.notEqual(address, 0);
  store(t, address, pattern(PAGE, 6));
  const into = Buffer.alloc(PAGE);
  assert.ok(slice.tryRead(512, into, 0, PAGE));
  assert.ok(into.equals(pattern(PAGE, 6)));
  assert.ok(seen(path, 3 * MIB + 512, PAGE).equals(pattern(PAGE, 6)));
  assert.ok(seen(path, 3 * MIB, 512).every((byte) => byte === OLD));
});

test('while a range is locked nothing is lent for writing, wherever it lies', async (t) => {
  const { device } = await image(t, '/dev/shm');
  const locks = new RangeLockDevice(device);
  warm(locks);
  assert.notEqual(locks.lendForWriting(MIB, PAGE), 0);
  const releases: (() => void)[] = [];
  for (const at of [0, 8 * MIB]) {
    locks.exclusive(at, PAGE, (_, release) => {
      releases.push(release);
    });
  }
  assert.equal(releases.length, 2);
  assert.equal(locks.lendForWriting(0, 512), 0);
  assert.equal(locks.lendForWriting(MIB, PAGE), 0);
  releases[0]?.();
  releases[0]?.();
  assert.equal(locks.lendForWriting(0, 512), 0, 'another lock is held still');
  releases[1]?.();
  assert.notEqual(locks.lendForWriting(0, 512), 0);
});

test('a lock that waits for its turn counts too', async (t) => {
  const { device } = await image(t, '/dev/shm');
  const locks = new RangeLockDevice(device);
  warm(locks);
  let granted = false;
  const written = answered((done) => {
    locks.write(0, Buffer.alloc(PAGE, 1), 0, PAGE, done);
    locks.exclusive(0, PAGE, (_, release) => {
      granted = true;
      release();
    });
  });
  assert.ok(!granted, 'the write before it is on its way');
  assert.equal(locks.lendForWriting(MIB, PAGE), 0);
  await written;
  assert.ok(granted);
  assert.notEqual(locks.lendForWriting(MIB, PAGE), 0);
});
