import assert from 'node:assert/strict';
import {
  chmodSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { FakeClock } from '#base/mod.ts';
import { readMapped, supportsNowait } from '#os/mod.ts';
import type { BlockError } from './device.ts';
import { openRaw } from './raw-open.ts';
import { RawWindows } from './raw-windows.ts';
import { lendFrom } from './lend.ts';
import { RawDevice } from './raw.ts';
import { MemoryDevice } from './memory.ts';

const MIB = 1024 * 1024;
/** What must be read of a window before it is lent: see WORTH_BYTES. */
const WARM_READS = 4;

/** Bytes that tell their offset. */
function content(lengthBytes: number): Buffer {
  const words = new Uint32Array(lengthBytes / 4);
  for (let n = 0; n < words.length; n++) words[n] = Math.imul(n, 2654435761);
  return Buffer.from(words.buffer);
}

async function image(t: TestContext, bytes: Buffer): Promise<{ path: string; device: RawDevice }> {
  const folder = mkdtempSync(join(process.cwd(), '.pb-lend-'));
  const path = join(folder, 'disk.raw');
  writeFileSync(path, bytes);
  readFileSync(path);
  const device = await openRaw(path);
  t.after(async () => {
    await new Promise((resolve) => {
      device.close(resolve);
    });
    rmSync(folder, { recursive: true });
  });
  return { path, device };
}

/** Lends until something is lent; the address. */
function warm(device: RawDevice, offsetBytes: number, lengthBytes: number): number {
  for (let n = 0; n < WARM_READS; n++) device.lend(offsetBytes - (offsetBytes % MIB), MIB);
  return device.lend(offsetBytes, lengthBytes);
}

function done(start: (answer: (error: BlockError | null) => void) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    start((error) => {
      if (error === null) resolve();
      else reject(error);
    });
  });
}

test('lend_simple: what is read often is lent, and is what is on the disk', async (t) => {
  const bytes = content(20 * MIB);
  const { device } = await image(t, bytes);
  assert.equal(device.lend(0, 4096), 0, 'a first read is copied');
  const address = warm(device, 5 * MIB, 8192);
  assert.notEqual(address, 0);
  const into = Buffer.alloc(8192);
  assert.ok(readMapped(address, into, 0, 8192));
  assert.ok(into.equals(bytes.subarray(5 * MIB, 5 * MIB + 8192)));
  const write = Buffer.alloc(4096, 0x77);
  assert.ok(device.tryWrite(5 * MIB + 4096, write, 0, 4096));
  assert.ok(readMapped(device.lend(5 * MIB, 8192), into, 0, 8192));
  assert.ok(into.subarray(4096).equals(write), 'a write is seen at once');
});

test('lend_edges: not over a window, not beyond the end, not by every device', async (t) => {
  const { device } = await image(t, content(20 * MIB));
  assert.notEqual(warm(device, 0, MIB), 0);
  for (let n = 0; n < WARM_READS; n++) device.lend(16 * MIB, MIB);
  assert.equal(device.lend(16 * MIB - 4096, 8192), 0);
  assert.notEqual(device.lend(20 * MIB - 512, 512), 0);
  assert.equal(device.lend(20 * MIB - 512, 1024), 0);
  const memory = new MemoryDevice({ sizeBytes: MIB });
  assert.equal(lendFrom(memory, 0, 4096), 0);
});

test('lend_hole: what is not in memory is not lent, nor what was discarded', async (t) => {
  const { path, device } = await image(t, Buffer.alloc(MIB));
  // A hole has no page: to look at it through the map would make one on tmpfs.
  ftruncateSync(openSync(path, 'r+'), 8 * MIB);
  await done((answer) => {
    device.rescan(answer);
  });
  for (let n = 0; n < 8; n++) device.lend(4 * MIB, MIB);
  assert.equal(device.lend(4 * MIB, 4096), 0);
  const into = Buffer.alloc(4096);
  device.tryRead(0, into, 0, 4096);
  assert.notEqual(warm(device, 0, 4096), 0);
  await done((answer) => {
    device.discard(0, MIB, answer);
  });
  assert.equal(device.lend(0, 4096), 0);
});

test('lend_stranger: not where the kernel says of everything that it is resident', async (t) => {
  const { path } = await image(t, content(8 * MIB));
  if (process.geteuid?.() !== 0) return t.skip('only root can become another user');
  chmodSync(path, 0o444);
  chmodSync(dirname(path), 0o755);
  process.seteuid?.(65_533);
  const device = await openRaw(path, { readOnly: true, lock: false }).finally(() => {
    process.seteuid?.(0);
  });
  assert.equal(warm(device, 0, 4096), 0);
  await new Promise((resolve) => {
    device.close(resolve);
  });
});

test('lend_grow: a disk that grew is lent from anew', async (t) => {
  const bytes = content(8 * MIB);
  const { device } = await image(t, bytes);
  assert.notEqual(warm(device, 0, 4096), 0);
  await done((answer) => {
    device.grow?.(24 * MIB, answer);
  });
  const address = warm(device, MIB, 4096);
  assert.notEqual(address, 0);
  const into = Buffer.alloc(4096);
  assert.ok(readMapped(address, into, 0, 4096));
  assert.ok(into.equals(bytes.subarray(MIB, MIB + 4096)));
});

test('lend_many: the windows that are read most are lent', async (t) => {
  const { path, device } = await image(t, Buffer.alloc(MIB));
  const windows = 40;
  ftruncateSync(openSync(path, 'r+'), windows * 16 * MIB);
  await done((answer) => {
    device.rescan(answer);
  });
  const page = Buffer.alloc(4096, 1);
  for (let n = 0; n < windows; n++) device.tryWrite(n * 16 * MIB, page, 0, page.length);
  const lent = (window: number): boolean => device.lend(window * 16 * MIB, 4096) !== 0;
  for (let n = 0; n < windows; n++) warm(device, n * 16 * MIB, 4096);
  const first = Array.from({ length: windows }, (_, n) => lent(n));
  assert.equal(first.filter(Boolean).length, 32, 'no more than 512 MiB');
  assert.ok(!first[35]);
  for (let n = 0; n < 12; n++) device.lend(35 * 16 * MIB, MIB);
  assert.ok(lent(35), 'one that is read more takes the place of another');
  const again = Array.from({ length: windows }, (_, n) => lent(n));
  assert.equal(again.filter(Boolean).length, 32);
});

test('lend_closed: a closed disk lends nothing', async (t) => {
  const { device } = await image(t, content(8 * MIB));
  assert.notEqual(warm(device, 0, 4096), 0);
  await new Promise((resolve) => {
    device.close(resolve);
  });
  assert.equal(device.lend(0, 4096), 0);
});

test('read_cold: a disk that misses again and again is asked less often', async (t) => {
  const { path } = await image(t, Buffer.alloc(MIB, 7));
  const fd = openSync(path, 'r');
  if (!supportsNowait(fd)) return t.skip('this file system has no RWF_NOWAIT');
  // Beyond the end of the file nothing is ever resident.
  const device = new RawDevice({
    fd,
    sizeBytes: 256 * MIB,
    blockBytes: 512,
    physicalBlockBytes: 4096,
    readOnly: true,
    canDiscard: false,
    residency: 'ask',
    tellsResidency: false,
    writesByAddress: false,
    locked: false,
    growable: false,
  });
  const page = Buffer.alloc(4096);
  const first = (): boolean => device.tryRead(0, page, 0, 4096);
  assert.ok(first());
  for (let n = 1; n <= 8; n++) assert.ok(!device.tryRead(n * 16 * MIB, page, 0, 4096));
  const answers = Array.from({ length: 12 }, first);
  const asked = Array.from({ length: 12 }, (_, n) => n >= 7);
  assert.deepEqual(answers, asked, 'one hit is enough');
  await new Promise((resolve) => {
    device.close(resolve);
  });
});

test('lend_again: the kernel is asked again after a second', async (t) => {
  const { path, device } = await image(t, content(8 * MIB));
  const fd = openSync(path, 'r+');
  ftruncateSync(fd, 12 * MIB);
  const clock = new FakeClock();
  clock.advance(5000);
  const windows = new RawWindows(fd, 12 * MIB, { clock });
  for (let n = 0; n < 8; n++) windows.lend(0, MIB);
  assert.notEqual(windows.lend(0, 4096), 0);
  assert.equal(windows.lend(10 * MIB, 4096), 0, 'a hole');
  writeSync(fd, Buffer.alloc(4096, 3), 0, 4096, 10 * MIB);
  assert.equal(windows.lend(10 * MIB, 4096), 0, 'what was said a moment ago still holds');
  clock.advance(1001);
  const address = windows.lend(10 * MIB, 4096);
  assert.notEqual(address, 0);
  const into = Buffer.alloc(4096);
  assert.ok(readMapped(address, into, 0, 4096));
  assert.ok(into.every((byte) => byte === 3));
  windows.close();
  assert.equal(windows.lend(0, 4096), 0);
  assert.ok(device.sizeBytes > 0);
});
