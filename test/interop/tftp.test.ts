import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { crc32c } from '#base/mod.ts';
import { FolderFiles, TftpServer, type TftpServerOptions } from '#tftp/mod.ts';
import { fetchFile } from '../../bench/tftp-client.ts';
import { need } from '../lab/need.ts';
import { run } from '../lab/process.ts';

type Bench = { server: TftpServer; root: string; port: string; scratch: string };

async function serve(t: TestContext, options: Partial<TftpServerOptions> = {}): Promise<Bench> {
  const scratch = mkdtempSync(join(tmpdir(), 'pb-tftp-'));
  const root = join(scratch, 'root');
  mkdirSync(root);
  const files = new FolderFiles([root]);
  const server = await TftpServer.open({
    address: '127.0.0.1',
    port: 0,
    mtu: 65_536,
    files,
    ...options,
  });
  t.after(async () => {
    await server.close();
    files.close();
    rmSync(scratch, { recursive: true });
  });
  return { server, root, scratch, port: String(server.address.port) };
}

test('curl fetches files of every awkward size', async (t) => {
  if (!need(t, { tools: ['curl'] })) return;
  const { root, port, scratch } = await serve(t);
  // Not 0: curl 7.88 fails on an empty file, whoever serves it (exit 71).
  for (const size of [1, 511, 512, 513, 1024, 70_000, 5_000_000]) {
    const bytes = randomBytes(size);
    writeFileSync(join(root, 'file'), bytes);
    for (const block of ['512', '1428', '8192']) {
      const out = join(scratch, 'out');
      const url = `tftp://127.0.0.1:${port}/file`;
      await run('curl', ['-sS', '-m', '60', '--tftp-blksize', block, '-o', out, url]);
      assert.ok(readFileSync(out).equals(bytes), `${size} bytes at ${block}`);
    }
  }
  const missing = run('curl', ['-sS', '-m', '20', `tftp://127.0.0.1:${port}/nope`]);
  await assert.rejects(missing, /File Not Found|exit 68/i);
});

test('tftp-hpa fetches binary and text, and may not write', async (t) => {
  if (!need(t, { tools: ['tftp'] })) return;
  const { root, port, scratch } = await serve(t);
  const bytes = randomBytes(3_000_000);
  writeFileSync(join(root, 'binary'), bytes);
  writeFileSync(join(root, 'text'), 'one\ntwo\r\nthree\n');
  const out = join(scratch, 'out');
  await run('tftp', ['-m', 'binary', '127.0.0.1', port, '-c', 'get', 'binary', out]);
  assert.ok(readFileSync(out).equals(bytes));
  await run('tftp', ['-m', 'ascii', '127.0.0.1', port, '-c', 'get', 'text', out]);
  assert.equal(readFileSync(out, 'latin1'), 'one\ntwo\r\nthree\n');
  const put = await run('tftp', ['127.0.0.1', port, '-c', 'put', out, 'mine']).catch(String);
  assert.match(put, /Access violation|read-only/i);
});

test('an empty file is one empty block', async (t) => {
  const { root, server } = await serve(t);
  writeFileSync(join(root, 'empty'), '');
  const got = await fetchFile({ server: server.address, name: 'empty', blockBytes: 1428 });
  assert.equal(got.bytes, 0);
});

test('atftp fetches with windows', async (t) => {
  if (!need(t, { tools: ['atftp'] })) return;
  const { root, port, scratch } = await serve(t);
  const bytes = randomBytes(6_000_000);
  writeFileSync(join(root, 'file'), bytes);
  const out = join(scratch, 'out');
  for (const window of ['1', '4', '64']) {
    const options = ['--option', 'blksize 1428', '--option', `windowsize ${window}`];
    await run('atftp', [...options, '-g', '-r', 'file', '-l', out, '127.0.0.1', port]);
    assert.ok(readFileSync(out).equals(bytes), `window ${window}`);
  }
});

test('curl cannot leave the root, by any name', async (t) => {
  if (!need(t, { tools: ['curl'] })) return;
  const { scratch, port } = await serve(t);
  writeFileSync(join(scratch, 'secret'), 'secret');
  const names = ['../secret', '..%5csecret', '%2e%2e/secret', '/../secret', `/${scratch}/secret`];
  for (const name of names) {
    const url = `tftp://127.0.0.1:${port}/${name}`;
    const answer = await run('curl', ['-sS', '-m', '20', '--path-as-is', url]).catch(String);
    assert.doesNotMatch(answer, /^secret/, name);
    assert.match(answer, /Access Violation|File Not Found|exit 6[89]/i, name);
  }
});

test('a file that is replaced while it is sent arrives whole, the old one', async (t) => {
  let started = (): void => {};
  const running = new Promise<void>((resolve) => {
    started = resolve;
  });
  const { root, server } = await serve(t, { observer: { started: () => started() } });
  const old = randomBytes(20_000_000);
  writeFileSync(join(root, 'file'), old);
  const fetching = fetchFile({ server: server.address, name: 'file', blockBytes: 512 });
  await running;
  writeFileSync(join(root, 'new'), randomBytes(20_000_000));
  renameSync(join(root, 'new'), join(root, 'file'));
  const got = await fetching;
  assert.equal(got.bytes, old.length);
  assert.equal(got.crc32c, crc32c(old));
});

test('33 MB at 512 bytes: block numbers go round, in lockstep and with a window', async (t) => {
  const { root, server } = await serve(t);
  const bytes = Buffer.alloc(34_600_000, randomBytes(10_007));
  writeFileSync(join(root, 'file'), bytes);
  for (const windowBlocks of [1, 16]) {
    const got = await fetchFile({
      server: server.address,
      name: 'file',
      windowBlocks,
      blockBytes: 512,
    });
    assert.equal(got.bytes, bytes.length);
    assert.equal(got.crc32c, crc32c(bytes));
  }
});

test('500 clients ask for 1 MB at the same moment, and all get it', async (t) => {
  const { root, server } = await serve(t);
  const bytes = randomBytes(1_000_000);
  writeFileSync(join(root, 'loader'), bytes);
  const sum = crc32c(bytes);
  const all = await Promise.all(
    Array.from({ length: 500 }, (_, n) =>
      fetchFile({
        server: server.address,
        name: 'loader',
        blockBytes: 1428,
        windowBlocks: n % 2 === 0 ? 4 : 16,
        tries: 30,
      }),
    ),
  );
  assert.ok(all.every((got) => got.bytes === bytes.length && got.crc32c === sum));
  const counts = server.counters();
  assert.deepEqual([counts.started, counts.failed, counts.busy], [500, 0, 0]);
});
