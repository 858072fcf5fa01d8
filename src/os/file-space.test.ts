import assert from 'node:assert/strict';
import { closeSync, fstatSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { EnvironmentError, errnoOf } from '#base/mod.ts';
import { blockDeviceGeometry } from './block-geometry.ts';
import { punchHole, punchHoleAsync, seekData, seekHole, zeroRange } from './file-space.ts';
import { zeroRangeAsync, type SpaceDone } from './file-space.ts';
import { need } from '../../test/lab/need.ts';
import { run } from '../../test/lab/process.ts';

const MIB = 1 << 20;

function filled(t: TestContext, near = process.cwd()): number {
  const folder = mkdtempSync(join(near, '.pb-space-'));
  const fd = openSync(join(folder, 'f'), 'w+');
  t.after(() => {
    closeSync(fd);
    rmSync(folder, { recursive: true });
  });
  writeSync(fd, Buffer.alloc(MIB, 7));
  return fd;
}

function byteAt(fd: number, position: number): number | undefined {
  const one = Buffer.alloc(1);
  return readSync(fd, one, 0, 1, position) === 1 ? one[0] : undefined;
}

const finished = (start: (done: SpaceDone) => void): Promise<EnvironmentError | null> =>
  new Promise((resolve) => {
    start(resolve);
  });

test('a punched hole reads as zeros, gives space back and can be found', (t) => {
  const fd = filled(t);
  const before = fstatSync(fd).blocks;
  punchHole(fd, 256 * 1024, 512 * 1024);
  assert.equal(fstatSync(fd).size, MIB);
  assert.equal(before - fstatSync(fd).blocks, 1024);
  assert.deepEqual([byteAt(fd, 262_143), byteAt(fd, 262_144), byteAt(fd, 786_432)], [7, 0, 7]);
  assert.equal(seekHole(fd, 0), 262_144);
  assert.equal(seekData(fd, 262_144), 786_432);
  assert.equal(seekData(fd, 100), 100);
  assert.equal(seekHole(fd, MIB - 1), MIB);
  assert.equal(seekData(fd, MIB), -1);
  assert.equal(seekHole(fd, MIB), -1);
});

test('offsets beyond 4 GiB arrive whole', (t) => {
  const fd = filled(t);
  writeSync(fd, Buffer.alloc(4096, 9), 0, 4096, 5 * 2 ** 30);
  assert.equal(seekData(fd, 2 * MIB), 5 * 2 ** 30);
  punchHole(fd, 5 * 2 ** 30, 4096);
  assert.equal(seekData(fd, 2 * MIB), -1);
});

test('a zeroed range reads as zeros and keeps its space', (t) => {
  const fd = filled(t);
  const before = fstatSync(fd).blocks;
  zeroRange(fd, 4096, 8192);
  assert.equal(fstatSync(fd).blocks, before);
  assert.deepEqual([byteAt(fd, 4095), byteAt(fd, 4096), byteAt(fd, 12_288)], [7, 0, 7]);
});

test('the same off the event loop, with the errno of its own thread', async (t) => {
  const fd = filled(t);
  assert.equal(await finished((done) => punchHoleAsync(fd, 0, 65_536, done)), null);
  assert.equal(await finished((done) => zeroRangeAsync(fd, 65_536, 65_536, done)), null);
  assert.deepEqual([byteAt(fd, 0), byteAt(fd, 131_071), byteAt(fd, 131_072)], [0, 0, 7]);
  const bad = await finished((done) => punchHoleAsync(99_999, 0, 4096, done));
  assert.equal(errnoOf(bad), 'EBADF');
});

test('tmpfs punches but cannot zero a range', (t) => {
  if (!need(t, { files: ['/dev/shm'] })) return;
  const fd = filled(t, '/dev/shm');
  punchHole(fd, 0, 4096);
  assert.equal(byteAt(fd, 0), 0);
  assert.throws(
    () => {
      zeroRange(fd, 0, 4096);
    },
    (e) => e instanceof EnvironmentError && errnoOf(e) === 'ENOTSUP',
  );
});

test('a regular file is no block device', (t) => {
  const fd = filled(t);
  assert.throws(
    () => blockDeviceGeometry(fd),
    (e) => e instanceof EnvironmentError && errnoOf(e) === 'ENOTTY',
  );
});

test('a loop device tells its geometry', async (t) => {
  if (!need(t, { root: true, tools: ['losetup'] })) return;
  const folder = mkdtempSync(join(tmpdir(), 'pb-loop-'));
  const path = join(folder, 'disk');
  const file = openSync(path, 'w');
  writeSync(file, Buffer.alloc(512), 0, 512, 8 * MIB - 512);
  closeSync(file);
  const made = await run('losetup', ['-f', '--show', '-b', '4096', path]).catch(() => undefined);
  t.after(async () => {
    if (made !== undefined) await run('losetup', ['-d', made.trim()]);
    rmSync(folder, { recursive: true });
  });
  if (made === undefined) return t.skip('this kernel gives no loop device');
  const fd = openSync(made.trim(), 'r');
  const geometry = blockDeviceGeometry(fd);
  closeSync(fd);
  assert.equal(geometry.sizeBytes, 8 * MIB);
  assert.equal(geometry.logicalBlockBytes, 4096);
  assert.ok(geometry.physicalBlockBytes >= 4096);
});
