import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { EnvironmentError, UserError } from '#base/mod.ts';
import { ContentCache } from './content-cache.ts';
import type { TftpFile } from './file.ts';
import { FolderFiles } from './folder-files.ts';
import { descriptorReader } from './reader.ts';
import { need } from '../../test/lab/need.ts';
import { run } from '../../test/lab/process.ts';

function folders(t: TestContext): { top: string; first: string; second: string } {
  const top = mkdtempSync(join(tmpdir(), 'pb-files-'));
  t.after(() => {
    rmSync(top, { recursive: true });
  });
  const [first, second] = [join(top, 'first'), join(top, 'second')];
  for (const f of [join(first, 'Boot', 'X64'), second]) mkdirSync(f, { recursive: true });
  writeFileSync(join(top, 'secret'), 'secret');
  writeFileSync(join(first, 'a'), 'first a');
  writeFileSync(join(first, 'Boot', 'X64', 'BCD'), 'store');
  writeFileSync(join(second, 'a'), 'second a');
  writeFileSync(join(second, 'b.efi'), 'second b');
  symlinkSync('../secret', join(first, 'out'));
  return { top, first, second };
}

function serving(t: TestContext, ...roots: string[]): FolderFiles {
  const files = new FolderFiles(roots);
  t.after(() => {
    files.close();
  });
  return files;
}

async function textOf(file: TftpFile): Promise<string> {
  try {
    if ('content' in file) return Buffer.from(file.content).toString();
    const bytes = Buffer.alloc(file.sizeBytes);
    const got = await descriptorReader(file.fd, file.sizeBytes).read(bytes, 0, bytes.length, 0);
    return bytes.toString('latin1', 0, got);
  } finally {
    file.close();
  }
}

const refused =
  (kind: string) =>
  (e: unknown): boolean =>
    e instanceof UserError && e.kind === kind;

test('folders in their order; slashes, case, padding and layers do not matter', async (t) => {
  const { first, second } = folders(t);
  const files = serving(t, first, second);
  const cases: [name: string, text: string][] = [
    ['a', 'first a'],
    ['/a', 'first a'],
    ['b.efi', 'second b'],
    ['B.EFI', 'second b'],
    ['\\boot\\x64\\bcd', 'store'],
    ['Boot/X64/BCD', 'store'],
    ['b.efi\u00ff', 'second b'],
    ['b.efi.0', 'second b'],
    ['b.efi   ', 'second b'],
  ];
  for (const [name, text] of cases) assert.equal(await textOf(await files.open(name)), text, name);
});

test('nothing outside of the folders, and nothing that is no file', async (t) => {
  if (!need(t, { tools: ['mkfifo'] })) return;
  const { first, second } = folders(t);
  await run('mkfifo', [join(first, 'fifo')]);
  const files = serving(t, first, second);
  for (const name of [
    '../secret',
    '..\\secret',
    'Boot/../../secret',
    'out',
    'fifo',
    'Boot',
    '..',
  ]) {
    await assert.rejects(files.open(name), refused('forbidden'), name);
  }
  const absent = ['nope', '/etc/passwd', 'C:\\boot.ini', '%2e%2e/secret', '', '/', 'a\u0000b'];
  for (const name of [...absent, 'x/'.repeat(2000), 'x'.repeat(4096)]) {
    await assert.rejects(files.open(name), refused('not-found'), name.slice(0, 30));
  }
});

test('a missing folder is said at once', (t) => {
  const { first } = folders(t);
  assert.throws(
    () => new FolderFiles([first, '/nope/nope']),
    (e) => e instanceof EnvironmentError && e.code === 'no-folder',
  );
});

test('small files are read once and shared; a new file under the name is a new content', async (t) => {
  const { first } = folders(t);
  const files = serving(t, first);
  const [x, y] = await Promise.all([files.open('a'), files.open('A')]);
  assert.ok('content' in x && 'content' in y && x.content === y.content);
  writeFileSync(join(first, 'new'), 'newer a');
  renameSync(join(first, 'new'), join(first, 'a'));
  assert.equal(await textOf(await files.open('a')), 'newer a');
  assert.equal(await textOf(x), 'first a');
});

test('a large file is read from the inode that was opened', async (t) => {
  const { first } = folders(t);
  const files = serving(t, first);
  const size = 4 * 1024 * 1024 + 1;
  writeFileSync(join(first, 'big'), Buffer.alloc(size, 'o'));
  const open = await files.open('big');
  assert.ok('fd' in open && open.sizeBytes === size);
  writeFileSync(join(first, 'new'), Buffer.alloc(size, 'n'));
  renameSync(join(first, 'new'), join(first, 'big'));
  assert.equal(await textOf(open), 'o'.repeat(size));
  assert.equal((await textOf(await files.open('big')))[0], 'n');
});

test('the cache is bounded, shares one read, and forgets a failed one', async () => {
  const cache = new ContentCache(100);
  let reads = 0;
  const content = (length: number) => () => {
    reads += 1;
    return Promise.resolve(new Uint8Array(new SharedArrayBuffer(length)));
  };
  await Promise.all([cache.get('a', 60, content(60)), cache.get('a', 60, content(60))]);
  assert.equal(reads, 1);
  await cache.get('b', 60, content(60));
  assert.equal(cache.heldBytes, 60);
  await cache.get('a', 60, content(60));
  assert.equal(reads, 3);
  await assert.rejects(
    cache.get('c', 10, () => Promise.reject(new UserError('invalid', 'x', { what: 'x' }))),
  );
  assert.equal(cache.heldBytes, 60);
  await cache.get('c', 10, content(10));
  assert.equal(cache.heldBytes, 70);
});
