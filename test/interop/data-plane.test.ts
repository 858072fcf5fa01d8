import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { silentLog } from '#base/mod.ts';
import { createQcow2 } from '#block/mod.ts';
import type { DriveExport } from '#boot/mod.ts';
import type { TargetEvent } from '#iscsi/mod.ts';
import { DataPlane } from '../../src/app/data-plane.ts';
import { freePort } from '../lab/free-port.ts';
import { need } from '../lab/need.ts';
import { Running, run } from '../lab/process.ts';

/** Several data-plane threads on one portal, with real initiators. */
const DISK_BYTES = 16 * 1024 * 1024;
const THREADS = 3;
/** Of qemu-block-extra. */
const QEMU_ISCSI = '/usr/lib/x86_64-linux-gnu/qemu/block-iscsi.so';
const MACHINES = ['a', 'b', 'c', 'd', 'e'];

type Site = {
  readonly plane: DataPlane;
  readonly folder: string;
  readonly events: TargetEvent[];
  readonly drives: readonly DriveExport[];
  readonly portal: string;
};

function driveOf(folder: string, machine: string): DriveExport {
  const iqn = `iqn.2026-11.test:${machine}`;
  return {
    config: { iqn, access: 'any', takeover: false },
    machine,
    image: machine,
    source: { kind: 'raw', path: join(folder, `${machine}.img`) },
    readOnly: false,
    volatile: false,
    cdrom: false,
    serial: machine,
  };
}

async function site(t: TestContext): Promise<Site> {
  const folder = await mkdtemp(join(tmpdir(), 'polyboot-plane-'));
  for (const machine of MACHINES) {
    const file = join(folder, `${machine}.img`);
    await writeFile(file, machine.repeat(512));
    await truncate(file, DISK_BYTES);
  }
  const events: TargetEvent[] = [];
  const port = await freePort();
  const plane = await DataPlane.start({
    portals: [{ address: '127.0.0.1', port }],
    threads: THREADS,
    observer: {
      event: (event) => {
        events.push(event);
      },
    },
    log: silentLog,
    logLevel: 'silent',
    stateFolder: join(folder, 'units'),
    onDeath: (error) => {
      throw error;
    },
  });
  t.after(async () => {
    await plane.stop();
    await rm(folder, { recursive: true });
  });
  const drives = MACHINES.map((m) => driveOf(folder, m));
  assert.deepEqual(await plane.sync(drives), []);
  return { plane, folder, events, drives, portal: `127.0.0.1:${port}` };
}

const urlOf = (s: Site, machine: string): string =>
  `iscsi://${s.portal}/iqn.2026-11.test:${machine}/0`;

test('each disk is reached by the one portal, whichever thread has it', async (t) => {
  if (!need(t, { tools: ['iscsi-ls', 'iscsi-readcapacity16', 'qemu-img'] })) return;
  const s = await site(t);
  // The kernel spreads connections by their port numbers: forty of them meet every thread.
  for (let round = 0; round < 8; round++) {
    await Promise.all(
      MACHINES.map(async (m) => {
        const said = await run('iscsi-readcapacity16', [urlOf(s, m)]);
        assert.match(said, new RegExp(`Total size:${DISK_BYTES}`));
      }),
    );
  }
  const { sessions, counters } = await s.plane.stats();
  assert.deepEqual(sessions, []);
  assert.equal(counters.logins, 40);
  const moved = counters['connections-handed-over'];
  assert.ok(moved > 0 && moved < 40, `${moved} of 40 were handed over`);
  const ids = s.events.flatMap((e) => (e.kind === 'login' ? [e.session.id] : []));
  assert.equal(new Set(ids).size, 40, 'a number of its own for every session');

  const listed = await run('iscsi-ls', [`iscsi://${s.portal}`]);
  for (const m of MACHINES) assert.match(listed, new RegExp(`Target:iqn.2026-11.test:${m} `));
  assert.equal(listed.match(/Target:/g)?.length, MACHINES.length);
});

test('what one thread lets go of, another serves at once', async (t) => {
  if (!need(t, { tools: ['qemu-io'], files: [QEMU_ISCSI] })) {
    return;
  }
  const s = await site(t);
  const read = async (machine: string): Promise<string> =>
    await run('qemu-io', ['-f', 'raw', '-r', '-c', 'read -v 0 16', urlOf(s, machine)]);
  assert.match(await read('a'), /aaaaaaaaaaaaaaaa/);
  // The images move on by one: every drive is another thread's image now, or its own.
  const moved = s.drives.map((drive, n) => {
    const next = MACHINES[(n + 1) % MACHINES.length] ?? '';
    return { ...drive, source: driveOf(s.folder, next).source, image: next, serial: next };
  });
  assert.deepEqual(await s.plane.sync(moved), []);
  assert.match(await read('a'), /bbbbbbbbbbbbbbbb/);
  assert.match(await read('e'), /aaaaaaaaaaaaaaaa/);
});

test('a disk in use keeps its image; when its session ends, another thread gets it', async (t) => {
  if (!need(t, { tools: ['qemu-io'], files: [QEMU_ISCSI] })) {
    return;
  }
  const s = await site(t);
  const user = new Running('qemu-io', ['-f', 'raw', urlOf(s, 'a')]);
  user.child.stdin?.write('write -P 0x7a 0 512\n');
  await user.waitFor(/wrote 512/);
  // Machine "a" loses its disk, and "b" shall have it instead of its own.
  const [, b, ...rest] = s.drives;
  assert.ok(b !== undefined);
  const taken = { ...b, source: driveOf(s.folder, 'a').source, image: 'a', serial: 'a' };
  const problems = await s.plane.sync([taken, ...rest]);
  assert.equal(problems.length, 1);
  assert.match(problems[0]?.why ?? '', /locked/);
  user.child.stdin?.write('quit\n');
  assert.equal((await user.finished()).code, 0);
  const deadlineMs = performance.now() + 120_000;
  for (;;) {
    const args = ['-f', 'raw', '-r', '-c', 'read -P 0x7a 0 512', urlOf(s, 'b')];
    const said = await new Running('qemu-io', args).finished();
    if (said.code === 0 && /read 512/.test(said.stdout)) break;
    assert.ok(performance.now() < deadlineMs, said.stderr);
  }
  assert.equal((await readFile(join(s.folder, 'a.img'))).subarray(0, 512).indexOf(0x61), -1);
});

test('a disk grows while it is used', async (t) => {
  if (!need(t, { tools: ['iscsi-readcapacity16'] })) return;
  const s = await site(t);
  for (const m of MACHINES) await s.plane.grow(`iqn.2026-11.test:${m}`, 2 * DISK_BYTES);
  for (const m of MACHINES) {
    const said = await run('iscsi-readcapacity16', [urlOf(s, m)]);
    assert.match(said, new RegExp(`Total size:${2 * DISK_BYTES}`));
  }
  await assert.rejects(s.plane.grow('iqn.2026-11.test:nobody', DISK_BYTES), { code: 'not-served' });
});

test('an overlay takes the place of a disk in use, whose commands only wait', async (t) => {
  if (!need(t, { tools: ['qemu-io'], files: [QEMU_ISCSI] })) return;
  const s = await site(t);
  const [drive] = s.drives;
  assert.ok(drive?.source.kind === 'raw');
  const user = new Running('qemu-io', ['-f', 'raw', urlOf(s, 'a')]);
  user.child.stdin?.write('write -P 0x11 0 64k\n');
  await user.waitFor(/wrote 65536/);
  const base = drive.source;
  const overlay = { kind: 'qcow2', path: join(s.folder, 'a.qcow2'), backing: base } as const;
  const next = { ...drive, source: overlay };
  const made = s.plane.hold(
    drive.config.iqn,
    async () => {
      // Nobody has the base open now, and the user's next commands wait.
      user.child.stdin?.write('write -P 0x22 4k 4k\n');
      const file = { file: base.path, format: 'raw' } as const;
      await createQcow2(overlay.path, { sizeBytes: DISK_BYTES, backing: file });
      await run('qemu-img', ['info', '-f', 'raw', base.path]);
      return 'made';
    },
    () => next,
  );
  assert.equal(await made, 'made');
  await user.waitFor(/wrote 4096/);
  // One line at a time: qemu-io looks at its input again only when more comes.
  user.child.stdin?.write('read -P 0x22 4k 4k\n');
  await user.waitFor(/read 4096/);
  user.child.stdin?.write('read -P 0x11 8k 8k\n');
  await user.waitFor(/read 8192/);
  assert.doesNotMatch(user.output, /failed|error/i);
  user.child.stdin?.write('quit\n');
  assert.equal((await user.finished()).code, 0);
  assert.deepEqual(await s.plane.sync([next, ...s.drives.slice(1)]), []);
  // What was written since the change is in the overlay, and the base is as it was.
  const inBase = (await readFile(base.path)).subarray(0, 64 * 1024);
  assert.ok(inBase.equals(Buffer.alloc(64 * 1024, 0x11)));
  const pattern = ['-c', 'read -P 0x22 4k 4k', '-c', 'read -P 0x11 8k 56k'];
  const said = await run('qemu-io', ['-f', 'raw', '-r', ...pattern, urlOf(s, 'a')]);
  assert.match(said, /read 57344/);
});

test('what cannot take the place of a disk in use ends its sessions, and the disk comes back', async (t) => {
  if (!need(t, { tools: ['qemu-io'], files: [QEMU_ISCSI] })) return;
  const s = await site(t);
  const [drive] = s.drives;
  assert.ok(drive !== undefined);
  const user = new Running('qemu-io', ['-f', 'raw', urlOf(s, 'a')]);
  user.child.stdin?.write('write -P 0x11 0 64k\n');
  await user.waitFor(/wrote 65536/);
  const gone = { ...drive, source: { kind: 'raw', path: join(s.folder, 'nothing') } } as const;
  await assert.rejects(
    s.plane.hold(
      drive.config.iqn,
      () => Promise.resolve(),
      () => gone,
    ),
    /no image/,
  );
  assert.deepEqual(await s.plane.sync(s.drives), []);
  // The same initiator comes again by itself and finds its disk.
  user.child.stdin?.write('read -P 0x11 0 64k\n');
  await user.waitFor(/read 65536/);
  user.child.stdin?.write('quit\n');
  assert.equal((await user.finished()).code, 0);
});

test('a port that another program has is refused, though threads share it', async () => {
  const other = createServer();
  await new Promise<void>((resolve) => {
    other.listen(0, '127.0.0.1', resolve);
  });
  const address = other.address();
  assert.ok(typeof address === 'object' && address !== null);
  await assert.rejects(
    DataPlane.start({
      portals: [{ address: '127.0.0.1', port: address.port }],
      threads: 2,
      observer: { event: () => {} },
      log: silentLog,
      logLevel: 'silent',
      stateFolder: '/nonexistent',
      onDeath: () => {},
    }),
    /another program listens there already/,
  );
  other.close();
});
