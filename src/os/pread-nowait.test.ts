import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { NOT_RESIDENT, NOWAIT_UNSUPPORTED, preadNowait, supportsNowait } from './pread-nowait.ts';
import { need } from '../../test/lab/need.ts';
import { run } from '../../test/lab/process.ts';

/** A file of 64 KiB whose byte n is n mod 251, on the file system of `near`. */
function file(t: TestContext, near: string): { fd: number; path: string } {
  const folder = mkdtempSync(join(near, '.pb-nowait-'));
  const path = join(folder, 'f');
  const fd = openSync(path, 'w+');
  t.after(() => {
    closeSync(fd);
    rmSync(folder, { recursive: true });
  });
  writeSync(fd, Buffer.from(Array.from({ length: 65_536 }, (_, n) => n % 251)));
  return { fd, path };
}

test('resident bytes arrive at their place and nowhere else', (t) => {
  const { fd } = file(t, process.cwd());
  if (!supportsNowait(fd)) return t.skip('this file system has no RWF_NOWAIT');
  const into = Buffer.alloc(3000, 0xee);
  const warm = Buffer.alloc(65_536);
  readSync(fd, warm, 0, warm.length, 0); // another process may have dropped the page cache
  assert.equal(preadNowait(fd, into, 100, 2000, 5000), 2000);
  assert.ok(into.subarray(100, 2100).equals(warm.subarray(5000, 7000)));
  assert.ok(into.subarray(0, 100).every((b) => b === 0xee));
  assert.ok(into.subarray(2100).every((b) => b === 0xee));
});

test('the same buffer, other offsets; views of one buffer keep their own place', (t) => {
  const { fd } = file(t, process.cwd());
  if (!supportsNowait(fd)) return t.skip('this file system has no RWF_NOWAIT');
  const whole = Buffer.alloc(4096);
  readSync(fd, whole, 0, 4096, 0);
  const view = whole.subarray(1000, 2000);
  view.fill(0);
  for (const at of [0, 10, 990]) assert.equal(preadNowait(fd, view, at, 10, 1000 + at), 10);
  assert.deepEqual([whole[1000], whole[1010], whole[1999]], [1000 % 251, 1010 % 251, 1999 % 251]);
  assert.equal(whole[1020], 0);
});

test('the end of the file is short, then zero', (t) => {
  const { fd } = file(t, process.cwd());
  if (!supportsNowait(fd)) return t.skip('this file system has no RWF_NOWAIT');
  const into = Buffer.alloc(1024);
  readSync(fd, into, 0, 1024, 65_000);
  assert.equal(preadNowait(fd, into, 0, 1024, 65_000), 536);
  assert.equal(preadNowait(fd, into, 0, 1024, 70_000), 0);
});

test('ranges outside the buffer, moved buffers and bad descriptors are refused', (t) => {
  const { fd } = file(t, process.cwd());
  const into = new Uint8Array(100);
  const EFAULT = -constants.errno.EFAULT;
  for (const [at, length] of [
    [-1, 10],
    [95, 10],
    [0, -1],
    [0, 101],
    [Number.NaN, 1],
  ] as const) {
    assert.equal(preadNowait(fd, into, at, length, 0), EFAULT);
  }
  preadNowait(fd, into, 0, 10, 0);
  structuredClone(into.buffer, { transfer: [into.buffer] });
  assert.equal(preadNowait(fd, into, 0, 10, 0), EFAULT);
  assert.equal(preadNowait(99_999, new Uint8Array(8), 0, 8, 0), -constants.errno.EBADF);
});

test('cold data is not waited for', async (t) => {
  if (!need(t, { tools: ['dd'] })) return;
  const { fd, path } = file(t, process.cwd());
  if (!supportsNowait(fd)) return t.skip('this file system has no RWF_NOWAIT');
  const into = Buffer.alloc(4096);
  // The kernel may keep a page that another processor has just touched: the advice is given again.
  let answer = 0;
  for (let attempt = 0; attempt < 50 && answer !== NOT_RESIDENT; attempt++) {
    await run('dd', [`of=${path}`, 'oflag=nocache', 'conv=notrunc,fdatasync', 'count=0']);
    answer = preadNowait(fd, into, 0, 4096, 8192);
  }
  assert.equal(answer, NOT_RESIDENT);
  readSync(fd, into, 0, 4096, 8192);
  assert.equal(preadNowait(fd, into, 0, 4096, 8192), 4096);
});

test('tmpfs cannot, and says so', (t) => {
  if (!need(t, { files: ['/dev/shm'] })) return;
  const { fd } = file(t, '/dev/shm');
  const answer = preadNowait(fd, Buffer.alloc(512), 0, 512, 0);
  // Some later kernel may learn it: then it must answer with the bytes.
  assert.ok(answer === NOWAIT_UNSUPPORTED || answer === 512);
  assert.equal(supportsNowait(fd), answer === 512);
});
