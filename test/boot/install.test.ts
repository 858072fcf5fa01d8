import assert from 'node:assert/strict';
import { mkdir, mkdtemp, open, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { inspectDisk, planPreset, writePreset } from '#disk/mod.ts';
import { DiskFile } from '#images/mod.ts';
import { need } from '../lab/need.ts';
import { Running, run } from '../lab/process.ts';
import { GUEST_LIMIT_MS } from '../lab/vm.ts';
import { assemble } from './images.ts';
import { makeDisk, wholeDisk } from './mbr.ts';

const MAIN = join(import.meta.dirname, '../../src/main.ts');
const FLOPPY_BYTES = 1_474_560;
/** 261 cylinders of 255 heads and 63 sectors, as DOS wants a 2 GB disk. */
const DISK_BYTES = 261 * 255 * 63 * 512;
const LOOK_MS = 250;

/** The command line, with its sockets in a folder of this test. */
class Bench {
  readonly folder: string;
  readonly #env: NodeJS.ProcessEnv;

  constructor(folder: string) {
    this.folder = folder;
    this.#env = { ...process.env, POLYBOOT_SOCKET: join(folder, 'run/admin.sock') };
  }

  start(...args: string[]): Running {
    return new Running(process.execPath, [MAIN, ...args], { env: this.#env, cwd: this.folder });
  }

  async cli(...args: string[]): Promise<string> {
    return await run(process.execPath, [MAIN, ...args], { env: this.#env, cwd: this.folder });
  }

  async refused(...args: string[]): Promise<string> {
    const ended = await this.start(...args).finished();
    assert.notEqual(ended.code, 0);
    return ended.stderr;
  }

  /** The text screen of the machine, once it shows `pattern`. */
  async screen(pattern: RegExp): Promise<string> {
    const deadlineMs = performance.now() + GUEST_LIMIT_MS;
    for (;;) {
      const text = await this.cli('install', 'text');
      if (pattern.test(text)) return text;
      if (performance.now() > deadlineMs) throw new Error(`never showed ${pattern}:\n${text}`);
      await pause(LOOK_MS);
    }
  }
}

async function bench(t: TestContext): Promise<Bench> {
  const folder = await mkdtemp(join(tmpdir(), 'polyboot-install-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return new Bench(folder);
}

async function makeFloppies(folder: string): Promise<void> {
  const boot = await readFile(await assemble(folder, 'floppy.asm'));
  const first = Buffer.alloc(FLOPPY_BYTES);
  boot.copy(first);
  const second = Buffer.alloc(FLOPPY_BYTES);
  second.write('SECOND FLOPPY', 512);
  await writeFile(join(folder, 'one.img'), first);
  await writeFile(join(folder, 'two.img'), second);
}

async function textAt(file: string, offset: number, length: number): Promise<string> {
  const handle = await open(file);
  try {
    const { buffer } = await handle.read(Buffer.alloc(length), 0, length, offset);
    return buffer.toString('latin1');
  } finally {
    await handle.close();
  }
}

test('a system is installed from two floppies onto the disk that will boot', async (t) => {
  if (!need(t, { tools: ['nasm', 'qemu-system-x86_64'] })) return;
  const b = await bench(t);
  await makeFloppies(b.folder);
  const disk = join(b.folder, 'disk.img');
  await makeDisk(disk, DISK_BYTES, { entries: [wholeDisk(DISK_BYTES, 63, 255)] });
  const args = ['--floppy', 'one.img,two.img', '--memory', '16M', '--cpu', 'pentium'];
  const machine = b.start('install', './disk.img', ...args);
  t.after(() => machine.stop());
  await machine.waitFor(/Screen by VNC: +\S+vnc\.sock/, GUEST_LIMIT_MS);

  // 255 heads and 63 sectors: what iPXE guesses from this table, not what SeaBIOS would choose.
  const shown = await b.screen(/INSERT FLOPPY TWO/);
  assert.match(shown, /HEAD AND SECTOR FE3F\n/);
  assert.match(shown, /DISK READ\n/);
  assert.match(await b.refused('install', './disk.img'), /it is locked by/, 'one writer');
  assert.match(await b.refused('install', 'swap', 'floppy7', 'two.img'), /it has .*floppy0/);
  assert.match(await b.refused('install', 'swap', 'floppy0', 'disk.img'), /not the image of a fl/);
  assert.deepEqual(
    (JSON.parse(await b.cli('install', 'list', '--json')) as { name: string }[]).map((s) => s.name),
    ['disk.img'],
  );

  // A key without another floppy asks again.
  await b.cli('install', 'type', 'x');
  await b.screen(/INSERT FLOPPY TWO[^]*INSERT FLOPPY TWO/);
  await b.cli('install', 'swap', 'floppy0', 'next');
  await b.cli('install', 'type', '<ret>');
  await b.screen(/WROTE IT/);
  await b.cli('install', 'picture', 'screen.png');
  assert.equal(await textAt(join(b.folder, 'screen.png'), 1, 3), 'PNG');
  assert.match(await b.refused('install', 'swap', 'floppy0', 'next'), /no floppy after this one/);

  await b.cli('install', 'stop');
  const ended = await machine.finished();
  assert.equal(ended.code, 0, ended.stderr);
  assert.match(ended.stdout, /C\/H\/S 261\/255\/63, during the installation and under iPXE/);
  assert.equal(await textAt(disk, 9 * 512, 13), 'SECOND FLOPPY');
  assert.match(await b.refused('install', 'text'), /no installation is running/);
});

test('--mend: what an installer wrote for another geometry is put right', async (t) => {
  if (!need(t, { tools: ['qemu-system-x86_64'] })) return;
  const b = await bench(t);
  const file = join(b.folder, 'dos.img');
  const plan = planPreset('dos', DISK_BYTES);
  await writeFile(file, '');
  await truncate(file, plan.sizeBytes);
  const disk = DiskFile.open(file, 'write');
  writePreset(disk, plan, { label: 'TEST', diskSignature: 1, serial: 2, timeMs: 0 });
  const bootSector = 63 * 512;
  // The boot sector of a disk with 16 heads, as SeaBIOS would have had it.
  disk.write(bootSector + 26, Uint8Array.of(16, 0));
  const machine = b.start('install', './dos.img', '--boot', 'c', '--memory', '16M', '--mend');
  t.after(() => machine.stop());
  await machine.waitFor(/Screen by VNC/, GUEST_LIMIT_MS);
  await b.cli('install', 'stop');
  const ended = await machine.finished();
  assert.equal(ended.code, 0, ended.stderr);
  assert.match(ended.stdout, /Mended: the geometry is 261 × 255 × 63 now/);
  assert.deepEqual(inspectDisk(disk).warnings, []);
  assert.equal(disk.read(bootSector + 26, 1)[0], 255);
  disk.close();
});

test('what cannot be installed on, or from, is refused before anything starts', async (t) => {
  if (!need(t, { tools: ['qemu-system-x86_64'] })) return;
  const b = await bench(t);
  const disk = join(b.folder, 'disk.img');
  await makeDisk(disk, 64 * 1024 * 1024, {});
  await writeFile(join(b.folder, 'odd.img'), Buffer.alloc(1000));
  assert.match(await b.refused('install', './none.img'), /no image/);
  assert.match(await b.refused('install', 'disk'), /no polyboot server is running|not running/);
  assert.match(await b.refused('install', './disk.img', '--floppy', 'odd.img'), /1474560/);
  assert.match(await b.refused('install', './disk.img', '--cdrom', 'odd.img'), /multiple of 2048/);
  assert.match(await b.refused('install', './disk.img', '--cpu', 'z80'), /z80/);
  assert.match(await b.refused('install', './disk.img', '--vnc', '80'), /5900/);
});

test('two disks of one name, and a QEMU that crashes', async (t) => {
  if (!need(t, { tools: ['qemu-system-x86_64'] })) return;
  const b = await bench(t);
  for (const folder of ['one', 'two']) {
    await mkdir(join(b.folder, folder));
    await makeDisk(join(b.folder, folder, 'disk.img'), 64 * 1024 * 1024, {});
  }
  const machine = b.start('install', 'one/disk.img', '--memory', '16M');
  t.after(() => machine.stop());
  await machine.waitFor(/Screen by VNC/, GUEST_LIMIT_MS);
  assert.match(await b.refused('install', 'two/disk.img'), /"disk.img" is running already/);
  const list = JSON.parse(await b.cli('install', 'list', '--json')) as { pid: number }[];
  assert.equal(list.length, 1, 'the first can still be steered');
  process.kill(list[0]?.pid ?? -1, 'SIGSEGV');
  const ended = await machine.finished();
  assert.equal(ended.code, 1);
  assert.match(ended.stderr, /did not end in order[^]*QEMU was ended by SIGSEGV/);
  assert.doesNotMatch(ended.stdout, /is off/);
});
