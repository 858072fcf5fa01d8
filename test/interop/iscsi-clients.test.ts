import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { openRaw } from '#block/mod.ts';
import type { RawDevice } from '#block/mod.ts';
import { TargetServer } from '#iscsi/mod.ts';
import type { ExportConfig, TargetEvent } from '#iscsi/mod.ts';
import { LogicalUnit, LogicalUnitSet } from '#scsi/mod.ts';
import { need } from '../lab/need.ts';
import { Running, run } from '../lab/process.ts';

/** Real initiators against our target over loopback sockets. */
const MIB = 1024 * 1024;
const DISK_BYTES = 64 * MIB;
const IQN = 'iqn.2026-11.test:disk';
const IDENTITY = {
  vendor: 'POLYBOOT',
  product: 'INTEROP',
  revision: '1',
  serial: 'interop-0',
  naa: '3000000000000003',
};

/** Of qemu-block-extra. */
const QEMU_ISCSI = '/usr/lib/x86_64-linux-gnu/qemu/block-iscsi.so';

type Site = {
  readonly server: TargetServer;
  readonly unit: LogicalUnit;
  readonly events: TargetEvent[];
  readonly file: string;
  readonly folder: string;
  /** `127.0.0.1:PORT`, and the same on ::1. */
  readonly portals: readonly string[];
  readonly url: string;
};

async function site(t: TestContext, config: Partial<ExportConfig> = {}): Promise<Site> {
  const folder = await mkdtemp(join(tmpdir(), 'polyboot-iscsi-'));
  const file = join(folder, 'disk.raw');
  await writeFile(file, '');
  await truncate(file, DISK_BYTES);
  const device: RawDevice = await openRaw(file);
  const units = new LogicalUnitSet({ targetName: IQN });
  const unit = new LogicalUnit({ device, identity: IDENTITY });
  units.add(0, unit);
  const events: TargetEvent[] = [];
  const server = new TargetServer({
    observer: {
      event(event) {
        events.push(event);
      },
    },
  });
  server.addExport({ iqn: IQN, access: 'any', takeover: false, ...config }, units);
  const addresses = await server.listen([
    { address: '127.0.0.1', port: 0 },
    { address: '::1', port: 0 },
  ]);
  t.after(async () => {
    await server.close();
    await new Promise((resolve) => {
      device.close(resolve);
    });
    await rm(folder, { recursive: true });
  });
  const portals = addresses.map((p) =>
    p.address.includes(':') ? `[${p.address}]:${p.port}` : `${p.address}:${p.port}`,
  );
  return { server, unit, events, file, folder, portals, url: `iscsi://${portals[0]}/${IQN}/0` };
}

/** A URL with a user (and a secret) put in. */
function as(url: string, credentials: string, query = ''): string {
  return `${url.replace('iscsi://', `iscsi://${credentials}@`)}${query}`;
}

async function fails(command: string, args: readonly string[]): Promise<string> {
  const child = new Running(command, args);
  child.child.stdin?.end();
  const { code, stdout, stderr } = await child.finished();
  assert.notEqual(code, 0, `${command} should have failed:\n${stdout}${stderr}`);
  return stdout + stderr;
}

test('libiscsi: discovery, inquiry, capacity, over IPv4 and IPv6', async (t) => {
  if (!need(t, { tools: ['iscsi-ls', 'iscsi-inq', 'iscsi-readcapacity16'] })) return;
  const { portals, url, events } = await site(t);
  for (const portal of portals) {
    const listing = await run('iscsi-ls', ['-s', `iscsi://${portal}`]);
    for (const each of portals) assert.ok(listing.includes(`${IQN} Portal:${each},1`), listing);
    assert.match(listing, /Lun:0\s+Type:DIRECT_ACCESS/);
    assert.match(await run('iscsi-inq', [`iscsi://${portal}/${IQN}/0`]), /Product:INTEROP/);
  }
  assert.match(await run('iscsi-readcapacity16', [url]), new RegExp(`Total size:${DISK_BYTES}`));
  assert.ok(events.some((e) => e.kind === 'login' && e.session.kind === 'discovery'));
  assert.ok(events.some((e) => e.kind === 'logout' && e.session.targetName === IQN));
});

test('header digests with QEMU', async (t) => {
  if (!need(t, { tools: ['qemu-io'], files: [QEMU_ISCSI] })) return;
  const { portals, events } = await site(t);
  const image = `driver=iscsi,transport=tcp,portal=${portals[0]},target=${IQN},lun=0,header-digest=crc32c`;
  const io = ['--image-opts', image];
  await run('qemu-io', [
    ...io,
    '-c',
    'write -P 7 4k 300k',
    '-c',
    'read -P 7 4k 300k',
    '-c',
    'flush',
  ]);
  const login = events.find((e) => e.kind === 'login');
  assert.equal(login?.session.headerDigest, true);
});

test("libiscsi's load generator", async (t) => {
  if (!need(t, { tools: ['iscsi-perf'] })) return;
  const { url, server } = await site(t);
  await run('iscsi-perf', ['-m', '32', '-b', '8', '-r', '-t', '2', url]);
  const { traffic } = server.stats();
  assert.ok(traffic.readCommands > 1000, `${traffic.readCommands} reads`);
});

test('qemu-img writes an image through us and reads it back', async (t) => {
  if (!need(t, { tools: ['qemu-img'], files: [QEMU_ISCSI] })) return;
  const { url, folder, file, server } = await site(t);
  const source = join(folder, 'source.raw');
  const content = randomBytes(DISK_BYTES);
  await writeFile(source, content);
  await run('qemu-img', ['convert', '-n', '-f', 'raw', '-O', 'raw', source, url]);
  assert.ok((await readFile(file)).equals(content), 'the disk has the bytes');
  await run('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', source, url]);
  const copy = join(folder, 'copy.qcow2');
  await run('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', url, copy]);
  await run('qemu-img', ['compare', '-f', 'raw', '-F', 'qcow2', source, copy]);
  assert.ok(server.stats().traffic.writtenBytes >= DISK_BYTES);
});

test('QEMU: patterns, zeroes and discards, checked by a second session', async (t) => {
  if (!need(t, { tools: ['qemu-io'], files: [QEMU_ISCSI] })) return;
  const { url, file } = await site(t);
  const io = async (...commands: readonly string[]): Promise<string> =>
    await run('qemu-io', ['-f', 'raw', '-d', 'unmap', url, ...commands.flatMap((c) => ['-c', c])]);
  // One large write, many small ones that cross each other's blocks, several at once.
  await io('write -P 0x11 0 8M', 'aio_write -P 0x22 1M 3k', 'aio_write -P 0x33 1100k 513k');
  await io('write -P 0x44 4094k 5k', 'write -f -P 0x55 8388096 512', 'flush');
  await io('discard 2M 1M', 'write -z 3M 64k', 'write -z -u 3136k 64k');
  const seen = await io(
    'read -P 0x11 0 1M',
    'read -P 0x22 1M 3k',
    'read -P 0x11 1027k 73k',
    'read -P 0x33 1100k 513k',
    'read -P 0 2M 1M',
    'read -P 0 3M 128k',
    'read -P 0x11 3200k 894k',
    'read -P 0x44 4094k 5k',
    'read -P 0x55 8388096 512',
  );
  assert.doesNotMatch(seen, /failed|mismatch/i);
  const disk = await readFile(file);
  assert.ok(disk.subarray(2 * MIB, 3 * MIB).every((byte) => byte === 0));
  // Of 9 MiB at most, one at least was given back.
  assert.ok((await stat(file)).blocks * 512 <= 8 * MIB, `${(await stat(file)).blocks} sectors`);
});

test('QEMU sees a disk grow', async (t) => {
  if (!need(t, { tools: ['qemu-io'], files: [QEMU_ISCSI] })) return;
  const { url, file, unit } = await site(t);
  const qemu = new Running('qemu-io', ['-f', 'raw', url]);
  t.after(() => qemu.stop());
  // It looks for the next line only when the one before is done.
  const answers = async (line: string, pattern: RegExp): Promise<void> => {
    qemu.child.stdin?.write(`${line}\n`);
    await qemu.waitFor(pattern);
  };
  await answers('write -P 1 0 4k', /wrote 4096\/4096 bytes at offset 0/);
  await answers('length', /64 MiB/);
  await truncate(file, DISK_BYTES + 32 * MIB);
  await new Promise((resolve) => {
    unit.rescan(resolve);
  });
  // QEMU's driver asks again how large the disk is when it is told to use more.
  await answers('truncate 96M', /(?:qemu-io> [^]*){4}/);
  await answers('length', /96 MiB/);
  await answers('write -P 2 95M 1M', /wrote 1048576\/1048576 bytes at offset 99614720/);
  await answers('read -P 2 95M 1M', /read 1048576\/1048576 bytes at offset 99614720/);
  qemu.child.stdin?.end('quit\n');
  const { code, stdout, stderr } = await qemu.finished();
  assert.equal(code, 0, stdout + stderr);
  assert.doesNotMatch(stdout + stderr, /failed|mismatch|error/i);
});

test('software write protection, switched by an initiator', async (t) => {
  if (!need(t, { tools: ['iscsi-swp', 'qemu-io'], files: [QEMU_ISCSI] })) return;
  const { url } = await site(t);
  const write = ['-f', 'raw', '-c', 'write -P 9 0 4k', url];
  assert.match(await run('iscsi-swp', [url]), /SWP:0/);
  await run('qemu-io', write);
  assert.match(await run('iscsi-swp', ['--swp', 'on', url]), /Turning SWP ON/i);
  assert.match(await run('iscsi-swp', [url]), /SWP:1/);
  await fails('qemu-io', write);
  await run('iscsi-swp', ['--swp', 'off', url]);
  await run('qemu-io', write);
});

test('CHAP: right, wrong, missing and mutual secrets', async (t) => {
  if (!need(t, { tools: ['iscsi-inq'] })) return;
  const chap = {
    user: 'machine',
    secret: 'a-secret-of-20-chars',
    mutualUser: 'server',
    mutualSecret: 'another-secret-here',
  };
  const { url, events } = await site(t, { chap });
  await run('iscsi-inq', [as(url, 'machine%a-secret-of-20-chars')]);
  assert.equal(events.find((e) => e.kind === 'login')?.session.authenticated, true);
  const mutual = '?target_user=server&target_password=another-secret-here';
  await run('iscsi-inq', [as(url, 'machine%a-secret-of-20-chars', mutual)]);
  const wrongUs = '?target_user=server&target_password=not-our-secret-at-all';
  await fails('iscsi-inq', [as(url, 'machine%a-secret-of-20-chars', wrongUs)]);
  await fails('iscsi-inq', [as(url, 'machine%wrong-secret-of-20')]);
  await fails('iscsi-inq', [as(url, 'somebody%a-secret-of-20-chars')]);
  await fails('iscsi-inq', [url]);
  const reasons = events.flatMap((e) => (e.kind === 'login-refused' && e.status > 0 ? [e] : []));
  assert.deepEqual(
    reasons.map((e) => [e.status, e.reason]),
    [
      [0x0201, 'the CHAP secret is wrong'],
      [0x0201, 'the CHAP user name is wrong'],
      [0x0201, 'the initiator skipped authentication'],
    ],
  );
});

test('a target shows itself only to its owner', async (t) => {
  if (!need(t, { tools: ['iscsi-ls', 'iscsi-inq'] })) return;
  const { url, portals, events } = await site(t, { access: ['iqn.2026-11.test:owner'] });
  const own = ['-i', 'iqn.2026-11.test:OWNER'];
  assert.match(await run('iscsi-ls', [...own, `iscsi://${portals[0]}`]), new RegExp(IQN));
  assert.match(await run('iscsi-inq', [...own, url]), /INTEROP/);
  assert.doesNotMatch(await run('iscsi-ls', [`iscsi://${portals[0]}`]), new RegExp(IQN));
  await fails('iscsi-inq', [url]);
  assert.ok(events.some((e) => e.kind === 'login-refused' && e.status === 0x0202));
});

test('a login is sent elsewhere', async (t) => {
  if (!need(t, { tools: ['iscsi-inq'] })) return;
  const there = await site(t);
  const [address = '', port = ''] = (there.portals[0] ?? '').split(':');
  const here = await site(t, { redirect: { address, port: Number(port) } });
  assert.match(await run('iscsi-inq', [here.url]), /INTEROP/);
  assert.deepEqual(
    there.events.map((e) => e.kind),
    ['login', 'logout'],
  );
});
