import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { need } from '../lab/need.ts';
import { Running, run } from '../lab/process.ts';

/** `polyboot export` as a process, with QEMU's initiator on it. */
const MAIN = join(import.meta.dirname, '../../src/main.ts');
/** Of qemu-block-extra. */
const NEEDS = {
  tools: ['qemu-img', 'qemu-io', 'qemu-nbd', 'iscsi-readcapacity16'],
  files: ['/usr/lib/x86_64-linux-gnu/qemu/block-iscsi.so'],
};
const MIB = 1024 * 1024;

async function folderOf(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'polyboot-export-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** Starts it; resolves when it is ready. */
async function exporting(
  t: TestContext,
  ...args: readonly string[]
): Promise<{ process: Running; url: string }> {
  const process = start(...args);
  t.after(() => process.stop('SIGKILL'));
  const [url] = await process.waitFor(/^iscsi:\/\/\S+$/m);
  return { process, url };
}

function start(...args: readonly string[]): Running {
  return new Running(process.execPath, [MAIN, 'export', ...args, '--port', '0']);
}

/** Runs it and expects nothing but a complaint; exit code 2: misused. */
async function refused(...args: readonly string[]): Promise<string> {
  const ended = await start(...args).finished();
  assert.ok(ended.code === 1 || ended.code === 2, `exit code ${ended.code}`);
  assert.equal(ended.stdout, '');
  return ended.stderr;
}

async function io(url: string, ...commands: readonly string[]): Promise<string> {
  return await run('qemu-io', ['-f', 'raw', ...commands.flatMap((c) => ['-c', c]), url]);
}

test('a qcow2 by its name: what is written is in the file, which stays whole', async (t) => {
  if (!need(t, NEEDS)) return;
  const file = join(await folderOf(t), 'disk.qcow2');
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', file, '64M']);
  const { process, url } = await exporting(t, file);
  await io(url, 'write -P 0x5a 1M 128k', 'write -P 0xa5 40M 4k', 'discard 1M 64k', 'flush');
  // Ours while it is served: nobody else may write to it.
  const blocked = await new Running('qemu-io', ['-f', 'qcow2', '-c', 'quit', file]).finished();
  assert.match(blocked.stderr, /lock/);
  assert.equal((await process.stop()).code, 0);
  assert.match(await run('qemu-img', ['check', '-f', 'qcow2', file]), /No errors were found/);
  const reads = ['read -P 0 1M 64k', 'read -P 0x5a 1088k 64k', 'read -P 0xa5 40M 4k'];
  const said = await run('qemu-io', ['-f', 'qcow2', ...reads.flatMap((c) => ['-c', c]), file]);
  assert.doesNotMatch(said, /verification failed/);
});

test('an overlay needs its base to be named, and never follows the path inside', async (t) => {
  if (!need(t, NEEDS)) return;
  const folder = await folderOf(t);
  const [base, trap, overlay] = ['base.img', 'trap.img', 'overlay.qcow2'].map((n) =>
    join(folder, n),
  ) as [string, string, string];
  await writeFile(base, Buffer.alloc(8 * MIB, 0x11));
  await writeFile(trap, Buffer.alloc(8 * MIB, 0x66));
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', trap, '-F', 'raw', overlay]);
  const why = await refused(overlay);
  assert.match(why, /trap\.img/);
  assert.match(why, /--backing/);

  const { process, url } = await exporting(t, overlay, '--backing', base);
  const said = await io(url, 'read -P 0x11 0 1M', 'write -P 0x22 4k 4k', 'read -P 0x11 8k 8k');
  assert.doesNotMatch(said, /verification failed/);
  assert.equal((await process.stop()).code, 0);
  assert.ok((await readFile(base)).equals(Buffer.alloc(8 * MIB, 0x11)), 'the base is as it was');
});

test('a format is said or named, never looked for in the content', async (t) => {
  if (!need(t, NEEDS)) return;
  const folder = await folderOf(t);
  const raw = join(folder, 'looks-like.img');
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', raw, '64M']);
  await truncate(raw, MIB);
  const { process, url } = await exporting(t, raw);
  // "QFI\xfb": a guest that wrote a qcow2 header on its raw disk still has a raw disk of 1 MiB.
  assert.match(await io(url, 'read -v 0 16'), /51 46 49 fb/);
  assert.match(await run('iscsi-readcapacity16', [url]), new RegExp(`Total size:${MIB}`));
  await process.stop();
  assert.match(await refused(raw, '--format', 'qcow2', '--backing-format', 'raw'), /--backing/);
  assert.match(await refused(join(folder, 'x.vmdk')), /qemu-img convert/);
  assert.match(await refused(raw, '--backing', raw), /raw and stands on nothing/);
});

test('an NBD export, over its socket', async (t) => {
  if (!need(t, NEEDS)) return;
  const folder = await folderOf(t);
  const file = join(folder, 'far.img');
  await writeFile(file, '');
  await truncate(file, 32 * MIB);
  const socket = join(folder, 'nbd.sock');
  const far = new Running('qemu-nbd', ['-t', '-f', 'raw', '-k', socket, '-x', 'disk', file]);
  t.after(() => far.stop());
  const url = `nbd+unix:///disk?socket=${socket}`;
  const served = await connected(t, url);
  await io(served.url, 'write -P 0x77 3M 64k', 'flush');
  await served.process.stop();
  await far.stop();
  assert.ok((await readFile(file)).subarray(3 * MIB, 3 * MIB + 65_536).every((b) => b === 0x77));
});

/** qemu-nbd says nothing when it is ready: asked until it answers. */
async function connected(t: TestContext, url: string): Promise<{ process: Running; url: string }> {
  const deadlineMs = performance.now() + 120_000;
  for (;;) {
    try {
      return await exporting(t, url);
    } catch (e) {
      if (performance.now() > deadlineMs) throw e;
    }
  }
}
