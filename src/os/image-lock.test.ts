import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { UserError } from '#base/mod.ts';
import { lockImage, unlockImage } from './image-lock.ts';
import { need } from '../../test/lab/need.ts';
import { Running } from '../../test/lab/process.ts';

const IMAGE_BYTES = 1 << 20;

function image(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'pb-lock-'));
  t.after(() => {
    rmSync(folder, { recursive: true });
  });
  const path = join(folder, 'disk.raw');
  writeFileSync(path, '');
  truncateSync(path, IMAGE_BYTES);
  return path;
}

function opened(t: TestContext, path: string, flags: string): number {
  const fd = openSync(path, flags);
  t.after(() => {
    closeSync(fd);
  });
  return fd;
}

const isConflict = (e: unknown): boolean =>
  e instanceof UserError && e.kind === 'conflict' && e.code === 'image-in-use';

async function qemuIo(path: string, ...args: string[]): Promise<{ code: unknown; text: string }> {
  const tool = new Running('qemu-io', ['-f', 'raw', ...args, path]);
  const end = await tool.finished();
  return { code: end.code, text: end.stdout + end.stderr };
}

test('locks among ourselves: one writer or many readers', (t) => {
  const path = image(t);
  const [a, b, c] = [opened(t, path, 'r+'), opened(t, path, 'r+'), opened(t, path, 'r')];
  lockImage(a, 'exclusive');
  assert.throws(() => {
    lockImage(b, 'exclusive');
  }, isConflict);
  assert.throws(() => {
    lockImage(c, 'shared');
  }, isConflict);
  unlockImage(a);
  lockImage(b, 'shared');
  lockImage(c, 'shared');
  assert.throws(() => {
    lockImage(a, 'exclusive');
  }, isConflict);
  unlockImage(b);
  unlockImage(c);
  lockImage(a, 'exclusive');
});

test('a refused lock leaves nothing behind', (t) => {
  const path = image(t);
  const [a, b, c] = [opened(t, path, 'r+'), opened(t, path, 'r+'), opened(t, path, 'r+')];
  lockImage(a, 'exclusive');
  assert.throws(() => {
    lockImage(b, 'exclusive');
  }, isConflict);
  unlockImage(a);
  lockImage(c, 'exclusive');
});

test('QEMU can neither write nor copy an image that we hold, and says that it is locked', async (t) => {
  if (!need(t, { tools: ['qemu-io', 'qemu-img'] })) return;
  const path = image(t);
  const fd = opened(t, path, 'r+');
  lockImage(fd, 'exclusive');
  const write = await qemuIo(path, '-c', 'write 0 512');
  assert.notEqual(write.code, 0);
  assert.match(write.text, /lock/);
  const convert = ['convert', '-f', 'raw', '-O', 'raw'];
  const copy = await new Running('qemu-img', [...convert, path, `${path}.copy`]).finished();
  assert.notEqual(copy.code, 0);
  assert.match(copy.stderr, /lock/);
  const forced = await new Running('qemu-img', [...convert, '-U', path, `${path}.copy`]).finished();
  assert.equal(forced.code, 0, forced.stderr);
  unlockImage(fd);
  const after = await qemuIo(path, '-c', 'write 0 512');
  assert.equal(after.code, 0, after.text);
});

test('qemu-img info fails on a qcow2 image that we hold, and works on one that we share', async (t) => {
  if (!need(t, { tools: ['qemu-img'] })) return;
  const path = image(t);
  const created = await new Running('qemu-img', ['create', '-f', 'qcow2', path, '1M']).finished();
  assert.equal(created.code, 0, created.stderr);
  const fd = opened(t, path, 'r+');
  lockImage(fd, 'exclusive');
  const info = await new Running('qemu-img', ['info', path]).finished();
  assert.notEqual(info.code, 0);
  assert.match(info.stderr, /lock/);
  unlockImage(fd);
  lockImage(fd, 'shared');
  const again = await new Running('qemu-img', ['info', path]).finished();
  assert.equal(again.code, 0, again.stderr);
});

test('an image that we share may be read by QEMU, not written', async (t) => {
  if (!need(t, { tools: ['qemu-io'] })) return;
  const path = image(t);
  lockImage(opened(t, path, 'r'), 'shared');
  const read = await qemuIo(path, '-r', '-c', 'read 0 512');
  assert.equal(read.code, 0, read.text);
  const write = await qemuIo(path, '-c', 'write 0 512');
  assert.match(write.text, /lock/);
});

test('an image that QEMU writes is refused to us, naming the holder', async (t) => {
  if (!need(t, { tools: ['qemu-io'] })) return;
  const path = image(t);
  const holder = new Running('qemu-io', ['-f', 'raw', path]);
  try {
    holder.child.stdin?.write('write 0 512\n');
    await holder.waitFor(/wrote 512/);
    const fd = opened(t, path, 'r+');
    for (const mode of ['exclusive', 'shared'] as const) {
      assert.throws(
        () => {
          lockImage(fd, mode);
        },
        (e) => isConflict(e) && e instanceof UserError && e.message.includes(`(${holder.pid})`),
      );
    }
    holder.child.stdin?.write('quit\n');
    await holder.finished();
    lockImage(fd, 'exclusive');
  } finally {
    await holder.stop();
  }
});

test('an image that QEMU serves read-only may be shared, not written', async (t) => {
  if (!need(t, { tools: ['qemu-storage-daemon'] })) return;
  const path = image(t);
  const file = `driver=file,node-name=f,filename=${path},read-only=on`;
  const nbd = 'type=nbd,id=e,node-name=f,writable=off';
  const options = { blockdev: file, 'nbd-server': `addr.type=unix,addr.path=${path}.sock` };
  const more = { export: nbd, chardev: 'stdio,id=c', monitor: 'chardev=c' };
  const args = Object.entries({ ...options, ...more }).flatMap(([k, v]) => [`--${k}`, v]);
  const holder = new Running('qemu-storage-daemon', args);
  try {
    await holder.waitFor(/QMP/);
    const fd = opened(t, path, 'r+');
    lockImage(fd, 'shared');
    unlockImage(fd);
    assert.throws(() => {
      lockImage(fd, 'exclusive');
    }, isConflict);
  } finally {
    await holder.stop();
  }
});
