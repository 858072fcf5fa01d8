import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UserError } from '#base/mod.ts';
import { encodeChs } from './chs.ts';
import { inspectDisk } from './inspect.ts';
import { planPreset, writePreset, type Preset } from './presets.ts';
import { repairGeometry } from './repair-geometry.ts';
import { MemorySectorIo, SECTOR_BYTES } from './sector-io.ts';

const MIB = 2 ** 20;
const LABEL = { label: 'TEST', diskSignature: 1, serial: 2, timeMs: 0 };

function dosDisk(preset: Preset, sizeBytes: number): MemorySectorIo {
  const plan = planPreset(preset, sizeBytes);
  const io = new MemorySectorIo(plan.sizeBytes);
  writePreset(io, plan, LABEL);
  assert.deepEqual(inspectDisk(io).warnings, []);
  return io;
}

/** Bytes of the first entry of the partition table. */
function tamper(io: MemorySectorIo, at: number, bytes: Uint8Array): void {
  io.write(at, bytes);
}

const ENTRY = 446;
const BOOT = 63 * SECTOR_BYTES;
const u16 = (n: number): Uint8Array => Uint8Array.of(n & 0xff, n >> 8);

/** What people's tools do to tables and boot sectors; each is one that `inspect` warns of. */
const DAMAGE: Readonly<Record<string, (io: MemorySectorIo) => void>> = {
  'heads 256': (io) => {
    tamper(io, ENTRY + 5, encodeChs({ cylinder: 1023, head: 255, sector: 63 }));
  },
  'start of another geometry': (io) => {
    tamper(io, ENTRY + 1, encodeChs({ cylinder: 0, head: 2, sector: 5 }));
  },
  'end of another geometry': (io) => {
    tamper(io, ENTRY + 5, encodeChs({ cylinder: 500, head: 11, sector: 22 }));
  },
  'boot sector of another disk': (io) => {
    tamper(io, BOOT + 24, u16(32));
    tamper(io, BOOT + 26, u16(64));
  },
  'hidden sectors missing': (io) => {
    tamper(io, BOOT + 28, Uint8Array.of(0, 0, 0, 0));
  },
  'C/H/S of zeros, as tools for LBA write': (io) => {
    tamper(io, ENTRY + 1, new Uint8Array(3));
    tamper(io, ENTRY + 5, new Uint8Array(3));
  },
};

const DISKS: readonly (readonly [Preset, number])[] = [
  ['dos', 20 * MIB],
  ['dos', 504 * MIB],
  ['dos', 2000 * MIB],
  ['win9x', 2000 * MIB],
];

for (const [preset, sizeBytes] of DISKS) {
  for (const [what, damage] of Object.entries(DAMAGE)) {
    test(`${preset} of ${sizeBytes / MIB} MiB, ${what}: mended, and no file moves`, () => {
      const sound = dosDisk(preset, sizeBytes);
      const io = dosDisk(preset, sizeBytes);
      damage(io);
      const warned = inspectDisk(io).warnings.length;
      const changes = repairGeometry(io);
      assert.equal(changes.length > 0, warned > 0, changes.join());
      const report = inspectDisk(io);
      assert.deepEqual(report.warnings, []);
      assert.equal(report.reachableBytes >= sizeBytes * 0.99, true);
      const fat = inspectDisk(sound).partitions[0];
      assert.deepEqual(report.partitions[0]?.startLba, fat?.startLba);
      assert.deepEqual(report.partitions[0]?.sectorCount, fat?.sectorCount);
      // FAT, root directory and what follows are untouched.
      const at = BOOT + 32 * SECTOR_BYTES;
      assert.deepEqual(io.read(at, 64 * 1024), sound.read(at, 64 * 1024));
      assert.deepEqual(repairGeometry(io), [], 'a second time there is nothing to do');
    });
  }
}

test('a disk that DOS cannot use has nothing to mend, and is not touched', () => {
  const gpt = new MemorySectorIo(4 * MIB);
  writePreset(gpt, planPreset('gpt', 4 * MIB), LABEL);
  const before = gpt.read(0, 4 * MIB);
  for (const io of [gpt, new MemorySectorIo(4 * MIB), new MemorySectorIo(SECTOR_BYTES)])
    assert.throws(() => repairGeometry(io), { code: 'no-dos-disk' });
  assert.deepEqual(gpt.read(0, 4 * MIB), before);
});

test('what no geometry can mend is refused, and is not touched', () => {
  const io = dosDisk('dos', 504 * MIB);
  // A partition type for C/H/S that ends beyond 1024 cylinders of any geometry.
  const far = new MemorySectorIo(16 * 1024 * MIB);
  far.write(0, io.read(0, 2 * MIB));
  far.write(ENTRY + 12, Uint8Array.of(0, 0, 0, 2));
  const before = far.read(0, 2 * MIB);
  assert.throws(() => repairGeometry(far), { code: 'geometry-unmendable' });
  assert.deepEqual(far.read(0, 2 * MIB), before);
});

test('any damage at all: mended, or refused and untouched', () => {
  const template = dosDisk('dos', 20 * MIB);
  let seed = 1;
  const random = (below: number): number => {
    // Numerical Recipes' LCG: the same damage in every run.
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
  let mended = 0;
  for (let round = 0; round < 3_000; round += 1) {
    const io = new MemorySectorIo(template.sizeBytes);
    io.write(0, template.read(0, BOOT + 64 * SECTOR_BYTES));
    for (let n = random(6); n >= 0; n -= 1) {
      const at = random(3) === 0 ? BOOT + random(90) : ENTRY + random(66);
      io.write(at, Uint8Array.of(random(256)));
    }
    const before = io.read(0, BOOT + SECTOR_BYTES);
    try {
      mended += repairGeometry(io).length > 0 ? 1 : 0;
      const codes = inspectDisk(io).warnings.map((w) => w.code);
      assert.ok(!codes.some((c) => /heads|geometry|start|reach|hidden/.test(c)), codes.join());
    } catch (e) {
      assert.ok(e instanceof UserError, String(e));
      assert.deepEqual(io.read(0, BOOT + SECTOR_BYTES), before);
    }
  }
  assert.ok(mended > 200, String(mended));
});
