import assert from 'node:assert/strict';
import { closeSync, constants, linkSync, mkdirSync, mkdtempSync, openSync } from 'node:fs';
import { readSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { constants as os, tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { UserError } from '#base/mod.ts';
import { openBeneath, openStepwise } from './open-beneath.ts';
import { need } from '../../test/lab/need.ts';
import { run } from '../../test/lab/process.ts';

async function tree(t: TestContext): Promise<number> {
  const top = mkdtempSync(join(tmpdir(), 'pb-beneath-'));
  const root = join(top, 'root');
  mkdirSync(join(root, 'sub'), { recursive: true });
  writeFileSync(join(top, 'secret'), 'secret');
  writeFileSync(join(root, 'a'), 'file a');
  writeFileSync(join(root, 'sub', 'b'), 'file b');
  symlinkSync('../secret', join(root, 'out'));
  symlinkSync('/etc/passwd', join(root, 'absolute'));
  symlinkSync('sub/b', join(root, 'inside'));
  symlinkSync('loop', join(root, 'loop'));
  symlinkSync('..', join(root, 'up'));
  linkSync(join(root, 'a'), join(root, 'hard'));
  await run('mkfifo', [join(root, 'fifo')]);
  const fd = openSync(root, constants.O_RDONLY | constants.O_DIRECTORY);
  t.after(() => {
    closeSync(fd);
    rmSync(top, { recursive: true });
  });
  return fd;
}

function content(fd: number): string {
  const into = Buffer.alloc(64);
  const got = readSync(fd, into, 0, 64, 0);
  closeSync(fd);
  return into.toString('utf8', 0, got);
}

const OUTSIDE = ['../secret', 'sub/../../secret', '/etc/passwd', 'out', 'absolute', 'up/secret'];
const ABSENT = ['nope', 'a/b', 'sub/nope', '', 'a\0', 'a\0/../../secret', 'x'.repeat(4096)];
const LONG = `${'x/'.repeat(2047)}y`;

test('files below the folder are opened, through links that stay inside too', async (t) => {
  if (!need(t, { tools: ['mkfifo'] })) return;
  const root = await tree(t);
  assert.equal(content(openBeneath(root, 'a')), 'file a');
  assert.equal(content(openBeneath(root, 'hard')), 'file a');
  assert.equal(content(openBeneath(root, 'sub/b')), 'file b');
  assert.equal(content(openBeneath(root, './sub//../sub/b')), 'file b');
  assert.equal(content(openBeneath(root, 'inside')), 'file b');
  closeSync(openBeneath(root, 'sub', { directory: true }));
});

test('nothing outside is opened, and nothing that is no file', async (t) => {
  if (!need(t, { tools: ['mkfifo'] })) return;
  const root = await tree(t);
  const refused =
    (kind: string) =>
    (e: unknown): boolean =>
      e instanceof UserError && e.kind === kind;
  for (const path of [...OUTSIDE, 'loop', 'fifo', 'sub', '.', '..']) {
    assert.throws(() => openBeneath(root, path), refused('forbidden'), path);
  }
  for (const path of [...ABSENT, LONG]) {
    assert.throws(() => openBeneath(root, path), refused('not-found'), path.slice(0, 20));
  }
  assert.throws(() => openBeneath(root, 'a', { directory: true }), refused('not-found'));
});

test('the walk for old kernels is stricter, never wider', async (t) => {
  if (!need(t, { tools: ['mkfifo'] })) return;
  const root = await tree(t);
  const flags = constants.O_RDONLY | constants.O_NONBLOCK;
  assert.equal(content(openStepwise(root, 'a', flags)), 'file a');
  assert.equal(content(openStepwise(root, 'sub//b', flags)), 'file b');
  for (const path of [...OUTSIDE, 'inside', 'loop', '..', '/', '.']) {
    const answer = openStepwise(root, path, flags);
    assert.ok([-os.errno.EXDEV, -os.errno.ELOOP, -os.errno.ENOTDIR].includes(answer), path);
  }
  assert.equal(openStepwise(root, 'nope', flags), -os.errno.ENOENT);
});
