import assert from 'node:assert/strict';
import { closeSync, ftruncateSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { type FatBits, FatReader, formatFat, inspectDisk, planPreset } from '#disk/mod.ts';
import { type PresetPlan, readGpt, sliceIo, writePreset } from '#disk/mod.ts';
import { DiskFile } from '#images/mod.ts';
import { seekData, seekHole } from '#os/mod.ts';
import { readTextScreen, VirtualMachine } from '#vm/mod.ts';
import { need } from '../lab/need.ts';
import { run } from '../lab/process.ts';
import { GUEST_LIMIT_MS } from '../lab/vm.ts';

const MIB = 2 ** 20;
const IDENTITY = { label: 'POLYBOOT', diskSignature: 0x1234, serial: 0xcafe1234, timeMs: 1.7e12 };

function folderFor(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'polyboot-disk-'));
  t.after(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  return folder;
}

/** Makes a file of `sizeBytes` zeros and hands it to `fill`. */
function makeDisk(path: string, sizeBytes: number, fill: (disk: DiskFile) => void): void {
  const fd = openSync(path, 'wx+');
  ftruncateSync(fd, sizeBytes);
  try {
    fill(DiskFile.of(fd));
  } finally {
    closeSync(fd);
  }
}

function makePreset(path: string, plan: PresetPlan): void {
  const fill = (disk: DiskFile): void => {
    writePreset(disk, plan, IDENTITY);
  };
  makeDisk(path, plan.sizeBytes, fill);
}

function look<T>(path: string, see: (disk: DiskFile) => T): T {
  const disk = DiskFile.open(path);
  try {
    return see(disk);
  } finally {
    disk.close();
  }
}

/** Copies the data of a partition to a file of its own; fsck.fat knows no offset. */
function cutPartition(disk: string, out: string, from: number, lengthBytes: number): void {
  const source = DiskFile.open(disk);
  const fill = (target: DiskFile): void => {
    for (let at = seekData(source.fd, from); at >= 0;) {
      const end = seekHole(source.fd, at);
      const start = Math.max(at, from);
      target.write(start - from, source.read(start, end - start));
      at = end < source.sizeBytes ? seekData(source.fd, end) : -1;
    }
  };
  makeDisk(out, lengthBytes, fill);
  source.close();
}

const PRESETS = [
  ['dos', 10],
  ['dos', 31],
  ['dos', 100],
  ['dos', 504],
  ['dos', 2048],
  ['dos', 2500],
  ['dos', 7987],
  ['win9x', 600],
  ['win9x', 7987],
  ['win9x', 20480],
] as const;

async function judgePreset(t: TestContext, preset: 'dos' | 'win9x', mib: number): Promise<void> {
  if (!need(t, { tools: ['fsck.fat', 'minfo', 'mdir', 'mcopy', 'sgdisk'] })) return;
  const folder = folderFor(t);
  const disk = join(folder, 'disk.img');
  const plan = planPreset(preset, mib * MIB);
  assert.ok(plan.preset !== 'gpt');
  makePreset(disk, plan);
  const at = `${disk}@@${63 * 512}`;
  const { geometry, partition } = plan;
  const info = await run('minfo', ['-i', at, '::']);
  assert.match(info, new RegExp(`sectors per track: ${geometry.sectorsPerTrack}\\n`));
  assert.match(info, new RegExp(`heads: ${geometry.heads}\\n`));
  assert.match(info, /hidden sectors: 63\n/);
  const readme = join(folder, 'readme.txt');
  writeFileSync(readme, 'from the host\n');
  await run('mcopy', ['-i', at, readme, '::README.TXT']);
  assert.match(await run('mdir', ['-i', at, '::']), /is POLYBOOT[^]*README {3}TXT {8}14/);
  // What mtools has written, our reader reads.
  const text = look(disk, (d) => {
    const fat = new FatReader(sliceIo(d, 63 * 512, partition.sectorCount * 512));
    return Buffer.from(fat.readFile('readme.txt') ?? []).toString();
  });
  assert.equal(text, 'from the host\n');
  const bare = join(folder, 'partition.img');
  cutPartition(disk, bare, 63 * 512, partition.sectorCount * 512);
  await run('fsck.fat', ['-n', '-V', bare]);
  const table = await run('sgdisk', ['-p', disk]);
  assert.match(table, new RegExp(` 1 +63 +${63 + partition.sectorCount - 1} `));
}

for (const [preset, mib] of PRESETS) {
  const name = `${preset} disk of ${mib} MiB: fsck.fat, mtools and sgdisk agree`;
  test(name, (t) => judgePreset(t, preset, mib));
}

for (const bits of [12, 16, 32] as const) {
  test(`FAT${bits} with files in folders: fsck.fat and mcopy agree`, async (t) => {
    if (!need(t, { tools: ['fsck.fat', 'mcopy'] })) return;
    const folder = folderFor(t);
    const disk = join(folder, 'fat.img');
    const sizes: Record<FatBits, number> = { 12: 6, 16: 40, 32: 48 };
    const loader = new Uint8Array(777_777).map((_, i) => (i * 31) & 255);
    makeDisk(disk, sizes[bits] * MIB, (io) => {
      formatFat(io, {
        ...IDENTITY,
        bits,
        hiddenSectors: 0,
        heads: 16,
        sectorsPerTrack: 63,
        zeroed: true,
        files: [
          { path: 'EFI/BOOT/BOOTX64.EFI', bytes: loader },
          ...Array.from({ length: 70 }, (_, i) => ({
            path: `EFI/MANY/F${i}.TXT`,
            bytes: Buffer.from(String(i)),
          })),
        ],
      });
    });
    await run('fsck.fat', ['-n', '-V', disk]);
    const out = join(folder, 'out.efi');
    await run('mcopy', ['-i', disk, '::EFI/BOOT/BOOTX64.EFI', out]);
    assert.deepEqual(new Uint8Array(readFileSync(out)), loader);
  });

  test(`FAT${bits} made by mkfs.fat is read`, async (t) => {
    if (!need(t, { tools: ['mkfs.fat', 'mcopy', 'mmd'] })) return;
    const disk = join(folderFor(t), 'fat.img');
    const args = ['-C', '-F', String(bits), '-n', 'THEIRS', disk];
    await run('mkfs.fat', [...args, String(bits === 12 ? 4096 : 65536)]);
    await run('mmd', ['-i', disk, '::efi']);
    await run('mcopy', ['-i', disk, import.meta.filename, '::efi/Long name.bin']);
    const fat = look(disk, (d) => inspectDisk(d).filesystem);
    assert.deepEqual(fat, { kind: `FAT${bits}`, label: 'THEIRS' });
    const names = look(disk, (d) => new FatReader(d).list('EFI'));
    assert.deepEqual(names, ['LONGNA~1.BIN']);
  });
}

test('a blank GPT disk: sgdisk finds nothing wrong and can add to it', async (t) => {
  if (!need(t, { tools: ['sgdisk'] })) return;
  const disk = join(folderFor(t), 'gpt.img');
  makePreset(disk, planPreset('gpt', 100 * MIB));
  assert.match(await run('sgdisk', ['-v', disk]), /No problems found/);
  await run('sgdisk', ['-n', '1:2048:0', '-t', '1:8300', '-c', '1:theirs', disk]);
  const gpt = look(disk, readGpt);
  assert.deepEqual(gpt?.problems, []);
  assert.deepEqual([gpt?.partitions[0]?.name, gpt?.partitions[0]?.firstLba], ['theirs', 2048]);
});

/** Waits until the BIOS text screen shows it: SeaBIOS has no other channel to look at. */
async function screenShows(machine: VirtualMachine, pattern: RegExp): Promise<void> {
  for (;;) {
    const screen = (await readTextScreen(machine.qmp, machine.folder)).join('\n');
    if (pattern.test(screen)) return;
    assert.ok(machine.elapsedMs < GUEST_LIMIT_MS, `no ${pattern} on the screen:\n${screen}`);
    await delay(100);
  }
}

const BOOTS: readonly [string, (disk: DiskFile, plan: PresetPlan) => void, RegExp][] = [
  ['a blank DOS disk says so', () => undefined, /This disk has no operating system yet/],
  [
    'no active partition',
    (d) => {
      d.write(446, Uint8Array.of(0));
    },
    /no partition of this disk is marked active/,
  ],
  [
    'an active partition without a boot sector',
    (d) => {
      d.write(63 * 512 + 510, Uint8Array.of(0, 0));
    },
    /the active partition has no boot sector/,
  ],
  [
    'an active partition that cannot be read',
    (d) => {
      d.write(446 + 8, Uint8Array.of(0, 0, 0, 0x10));
    },
    /the active partition cannot be read/,
  ],
];

for (const [name, damage, expected] of BOOTS) {
  test(`boot record under SeaBIOS: ${name}`, async (t) => {
    if (!need(t, { tools: ['qemu-system-x86_64', 'setpriv'] })) return;
    const disk = join(folderFor(t), 'disk.img');
    const plan = planPreset('dos', 20 * MIB);
    makeDisk(disk, plan.sizeBytes, (io) => {
      writePreset(io, plan, IDENTITY);
      damage(io, plan);
    });
    const machine = await VirtualMachine.start({
      name: 'boot-record',
      firmware: 'bios',
      memoryMib: 32,
      accel: 'tcg',
      drives: [
        {
          id: 'd0',
          bus: 'ide',
          bootIndex: 1,
          source: { kind: 'file', path: disk, format: 'raw' },
        },
      ],
    });
    try {
      await machine.powerOn();
      await screenShows(machine, expected);
    } finally {
      await machine.stop();
    }
  });
}
