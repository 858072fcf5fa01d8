import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { silentLog, systemClock } from '#base/mod.ts';
import { type BuildRequest, type Image, ImageLibrary, MemoryImageRepository } from '#images/mod.ts';
import { type Firmware, VirtualMachine } from '#vm/mod.ts';
import { DebianShell } from '../boot/debian.ts';
import { need, type Needs } from '../lab/need.ts';
import { run } from '../lab/process.ts';

const NEEDS: Needs = {
  root: true,
  tools: ['mmdebstrap', 'mke2fs', 'e2fsck', 'debugfs', 'grub-mkimage', 'sgdisk', 'fsck.fat'],
  files: ['/usr/lib/grub/i386-pc/boot.img', '/usr/lib/grub/x86_64-efi/kernel.img'],
};
/** Packages are kept between runs of the suite, as between two builds of a user. */
const CACHE = join(homedir(), '.cache/polyboot/builds');
const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE0 test@host';

type Bench = { readonly folder: string; readonly library: ImageLibrary };

async function withLibrary(
  work: (bench: Bench) => Promise<void>,
  cacheIn = (_folder: string): string => CACHE,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'polyboot-build-'));
  const cacheFolder = cacheIn(folder);
  mkdirSync(cacheFolder, { recursive: true });
  const library = ImageLibrary.open({
    folder: join(folder, 'library'),
    cacheFolder,
    repository: new MemoryImageRepository(),
    clock: systemClock,
    log: silentLog,
    usersOf: () => [],
  });
  try {
    await work({ folder, library });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Where the root partition's file system is, as e2fsprogs wants it. */
async function rootOf(library: ImageLibrary, image: Image, path = image.path): Promise<string> {
  const { partitions } = await library.inspect(image.name);
  const root = partitions.find((p) => p.name === 'root');
  assert.ok(root !== undefined);
  return `${path}?offset=${root.startLba * 512}`;
}

async function judge(library: ImageLibrary, image: Image): Promise<void> {
  const report = await library.inspect(image.name);
  assert.deepEqual(report.warnings, []);
  assert.deepEqual([report.bios.bootable, report.uefi.bootable], [true, true]);
  assert.match(await run('sgdisk', ['-v', image.path]), /No problems found/);
  await run('e2fsck', ['-f', '-n', await rootOf(library, image)]);
}

/** Boots a copy to its login and shuts it down as its owner would; what it said of itself. */
async function bootsFrom(
  image: string,
  folder: string,
  firmware: Firmware,
  firstBoot?: RegExp,
): Promise<string> {
  const disk = join(folder, `${firmware}.img`);
  copyFileSync(image, disk);
  const machine = await VirtualMachine.start({
    name: `build-${firmware}`,
    firmware,
    memoryMib: 256,
    accel: 'tcg',
    // The kernel line asks for DHCP, which QEMU answers.
    nics: [
      {
        backend: { kind: 'user', tftpFolder: folder, bootFile: '' },
        mac: '52:54:00:77:00:99',
        romFile: '',
      },
    ],
    drives: [
      {
        id: 'd0',
        bus: 'virtio',
        bootIndex: 1,
        source: { kind: 'file', path: disk, format: 'raw' },
      },
    ],
  });
  try {
    await machine.powerOn();
    // What it says of itself comes before the login prompt, or behind it on a slow host.
    const shell = await DebianShell.login(machine);
    const said = machine.serial.text;
    const ready = /POLYBOOT-READY (.*)\n/.exec(said);
    assert.ok(ready !== null, machine.serial.tail());
    if (firstBoot !== undefined) assert.match(said, firstBoot);
    await shell.powerOff();
    return (ready[1] ?? '').trim();
  } finally {
    await machine.stop();
  }
}

test('a built Debian boots to its login from BIOS and from UEFI', async (t) => {
  if (!need(t, { ...NEEDS, tools: [...(NEEDS.tools ?? []), 'qemu-system-x86_64'] })) return;
  await withLibrary(async ({ folder, library }) => {
    const phases: string[] = [];
    const image = await library.build(
      'debian',
      { recipe: 'debian' },
      {
        progress: (p) => {
          if (phases.at(-1) !== p.phase) phases.push(p.phase);
        },
      },
    );
    assert.deepEqual(phases, ['base', 'root', 'loader', 'flush']);
    assert.equal(image.sizeBytes, 2 ** 30);
    await judge(library, image);
    const [bios, efi] = await Promise.all([
      bootsFrom(image.path, folder, 'bios'),
      bootsFrom(image.path, folder, 'ovmf'),
    ]);
    assert.match(bios, /^root=\/dev\/vda3 kernel=\S+cloud-amd64 firmware=bios$/);
    assert.match(efi, /^root=\/dev\/vda3 kernel=\S+cloud-amd64 firmware=efi$/);
  });
});

test('a trixie boots too, and runs the first-boot script once', async (t) => {
  if (!need(t, { ...NEEDS, tools: [...(NEEDS.tools ?? []), 'qemu-system-x86_64'] })) return;
  await withLibrary(async ({ folder, library }) => {
    const firstBoot =
      '#!/bin/sh\necho FIRST-BOOT on $(. /etc/os-release; echo $VERSION_CODENAME)\n';
    const request: BuildRequest = { recipe: 'debian', release: 'trixie', firstBoot };
    const image = await library.build('trixie', request);
    await judge(library, image);
    const ready = await bootsFrom(
      image.path,
      folder,
      'bios',
      /FIRST-BOOT on trixie[^]*first-boot ended with 0/,
    );
    assert.match(ready, /^root=\/dev\/vda3 kernel=6\.12\S+cloud-amd64 firmware=bios$/);
    // The unit runs only as long as this file is not there.
    const root = await rootOf(library, image, join(folder, 'bios.img'));
    const done = 'stat /var/lib/polyboot/first-boot-done';
    assert.match(await run('debugfs', ['-R', done, root]), /Type: regular/);
  });
});

test('users, keys, passwords, host name and size of a built Debian are as asked', async (t) => {
  if (!need(t, NEEDS)) return;
  await withLibrary(async ({ library }) => {
    const request: BuildRequest = {
      recipe: 'debian',
      hostName: 'bench-7',
      rootPassword: "it's $HOME",
      users: [{ name: 'ann', password: 'x y:z', sshKeys: [KEY] }, { name: 'bob' }],
      sshKeys: [KEY],
      sizeBytes: 1500 * 2 ** 20,
      reportPort: 8099,
    };
    const image = await library.build('custom', request);
    assert.equal(image.sizeBytes, 1500 * 2 ** 20);
    await judge(library, image);
    const device = await rootOf(library, image);
    const read = (path: string): Promise<string> => run('debugfs', ['-R', `cat ${path}`, device]);
    assert.equal(await read('/etc/hostname'), 'bench-7\n');
    assert.equal(await read('/etc/polyboot/report-port'), '8099\n');
    assert.equal(await read('/root/.ssh/authorized_keys'), `${KEY}\n`);
    assert.equal(await read('/home/ann/.ssh/authorized_keys'), `${KEY}\n`);
    const shadow = await read('/etc/shadow');
    assert.match(shadow, /^root:\$/m);
    assert.match(shadow, /^ann:\$/m);
    assert.match(shadow, /^bob:!/m);
    assert.match(await run('debugfs', ['-R', 'stat /home/ann/.ssh', device]), /User: +1000 /);
    const list = await run('debugfs', ['-R', 'ls -p /', device]);
    assert.ok(!list.includes('polyboot-setup'), list);
    assert.ok(!(await run('debugfs', ['-R', 'ls -p /etc/ssh', device])).includes('host_'));
  });
});

test('a size that is too small is refused, with the size that is needed; nothing is left', async (t) => {
  if (!need(t, NEEDS)) return;
  await withLibrary(async ({ folder, library }) => {
    const request: BuildRequest = { recipe: 'debian', sizeBytes: 380 * 2 ** 20 };
    await assert.rejects(library.build('small', request), { code: 'disk-size' });
    assert.deepEqual(library.list(), []);
    assert.equal((await run('ls', ['-A', join(folder, 'library')])).trim(), '');
  });
});

test('a build can be cancelled while packages are fetched; nothing is left', async (t) => {
  if (!need(t, NEEDS)) return;
  const mounts = async (): Promise<string[]> =>
    (await run('cat', ['/proc/mounts'])).split('\n').filter((line) => line.includes('mmdebstrap'));
  const before = new Set(await mounts());
  // A cache of its own: in the one of all tests another build may be at work.
  const cacheIn = (folder: string): string => join(folder, 'cache');
  await withLibrary(async ({ folder, library }) => {
    const abort = new AbortController();
    const building = library.build(
      'cancelled',
      { recipe: 'debian', refresh: true },
      {
        signal: abort.signal,
        progress: (p) => {
          if (p.line?.includes('downloading') === true) abort.abort(new Error('enough'));
        },
      },
    );
    await assert.rejects(building, /enough/);
    assert.equal((await run('ls', ['-A', join(folder, 'library')])).trim(), '');
    assert.equal((await run('ls', ['-A', cacheIn(folder)])).trim(), '');
    const left = (await mounts()).filter((line) => !before.has(line));
    assert.deepEqual(left, []);
  }, cacheIn);
});

test('packages that do not exist: the error says so', async (t) => {
  if (!need(t, NEEDS)) return;
  await withLibrary(async ({ library }) => {
    const request: BuildRequest = { recipe: 'debian', packages: ['polyboot-no-such-package'] };
    await assert.rejects(library.build('x', request), {
      code: 'tool-failed',
      message: /polyboot-no-such-package/,
    });
  });
});
