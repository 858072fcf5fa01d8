import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { silentLog, systemClock } from '#base/mod.ts';
import { answered } from '#block/mod.ts';
import { ImageLibrary, MemoryImageRepository } from '#images/mod.ts';
import { withDisk } from './device-io.ts';

const MIB = 2 ** 20;
const END = 3 * MIB - 512;

/** An image used in place, made larger by its owner's own means after it was added. */
async function grownOutside(t: TestContext): Promise<{ root: string; library: ImageLibrary }> {
  const root = mkdtempSync(join(tmpdir(), 'polyboot-grown-'));
  t.after(() => {
    rmSync(root, { recursive: true, force: true });
  });
  const library = ImageLibrary.open({
    folder: join(root, 'library'),
    cacheFolder: join(root, 'cache'),
    repository: new MemoryImageRepository(),
    clock: systemClock,
    log: silentLog,
    usersOf: () => [],
  });
  const path = join(root, 'disk.img');
  const fd = openSync(path, 'w');
  writeSync(fd, Buffer.alloc(512, 'first'), 0, 512, MIB - 512);
  await library.add(path);
  writeSync(fd, Buffer.alloc(512, 'end'), 0, 512, END);
  closeSync(fd);
  return { root, library };
}

async function endOf(library: ImageLibrary, name: string): Promise<string> {
  return withDisk(library.sourceOf(name), 'read', async (device) => {
    assert.equal(device.sizeBytes, END + 512, name);
    const bytes = Buffer.alloc(512);
    // Not `tryRead`: a copy that shares its blocks with another file need not be in memory.
    await answered((done) => {
      device.read(END, bytes, 0, 512, done);
    });
    return bytes.toString('latin1', 0, 3);
  });
}

test('a disk that its owner made larger is copied to its end', async (t) => {
  const { library } = await grownOutside(t);
  const copy = await library.clone('disk', 'copy');
  assert.equal(copy.sizeBytes, END + 512);
  assert.equal(await endOf(library, 'copy'), 'end');
});

test('a disk that its owner made larger goes out to its end', async (t) => {
  const { root, library } = await grownOutside(t);
  const disk = readFileSync(join(root, 'disk.img'));
  await library.export('disk', join(root, 'out.img'));
  assert.ok(readFileSync(join(root, 'out.img')).equals(disk));
  await library.export('disk', join(root, 'out.qcow2'));
  await library.import(join(root, 'out.qcow2'), { name: 'back' });
  assert.equal(await endOf(library, 'back'), 'end');
});

test('a disk that its owner made larger is as large after a snapshot', async (t) => {
  const { library } = await grownOutside(t);
  await library.snapshot('disk');
  assert.equal(await endOf(library, 'disk'), 'end');
});

test('a disk that its owner made larger is made no smaller, and known as it is', async (t) => {
  const { library } = await grownOutside(t);
  await assert.rejects(library.resize('disk', 2 * MIB), { code: 'disk-size' });
  assert.equal(await endOf(library, 'disk'), 'end');
  assert.equal((await library.resize('disk', 3 * MIB)).image.sizeBytes, 3 * MIB);
  assert.equal(await endOf(library, 'disk'), 'end');
});
