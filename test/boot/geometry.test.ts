import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { GUEST_LIMIT_MS, macOf, type FirstStage } from '../lab/vm.ts';
import { assemble } from './images.ts';
import { makeDisk, wholeDisk, type Entry } from './mbr.ts';
import { inRig, type Rig } from './rig.ts';

const MIB = 1024 * 1024;
const TRACK = 63 * 512;

/** A disk, its partition table, and the geometry that iPXE was seen to guess from it. */
type Layout = {
  readonly name: string;
  readonly sizeBytes: number;
  readonly entries: readonly Entry[];
  readonly geometry: readonly [cylinders: number, heads: number, sectors: number];
};

/** The same partition with its C/H/S bytes overwritten. */
function misspelt(entry: Entry, start: Entry['start'], end: Entry['end']): Entry {
  return { ...entry, start, end };
}

function layouts(): Layout[] {
  const small = 504 * MIB;
  const big = 2048 * MIB;
  const cylinders261 = 261 * 255 * TRACK;
  const largest = 1024 * 255 * TRACK;
  const whole = wholeDisk(big, 2048, 255);
  return [
    { name: 'empty', sizeBytes: small, entries: [], geometry: [64, 255, 63] },
    {
      name: 'dos16',
      sizeBytes: small,
      entries: [wholeDisk(small, 63, 16)],
      geometry: [1024, 16, 63],
    },
    {
      name: 'big16',
      sizeBytes: big,
      entries: [wholeDisk(big, 63, 16)],
      geometry: [1024, 16, 63],
    },
    {
      name: 'dos261',
      sizeBytes: cylinders261,
      entries: [wholeDisk(cylinders261, 63, 255)],
      geometry: [261, 255, 63],
    },
    {
      name: 'largest',
      sizeBytes: largest,
      entries: [wholeDisk(largest, 63, 255)],
      geometry: [1024, 255, 63],
    },
    {
      // Aligned to a megabyte, as today's tools do: it ends on head 21 of some cylinder.
      name: 'aligned',
      sizeBytes: big,
      entries: [misspelt(whole, [0, 32, 33], [260, 21, 63])],
      geometry: [1024, 22, 63],
    },
    {
      name: 'zeros',
      sizeBytes: big,
      entries: [misspelt(whole, [0, 0, 0], [0, 0, 0])],
      geometry: [1024, 1, 63],
    },
    {
      name: 'protective',
      sizeBytes: big,
      entries: [
        { type: 0xee, start: [0, 0, 2], end: [1023, 255, 63], firstLba: 1, sectors: big / 512 - 1 },
      ],
      geometry: [260, 256, 63],
    },
    {
      // Larger than INT 13h reaches: the last addressable sector is where the table's geometry
      // ends.
      name: 'overlong',
      sizeBytes: 9 * 1024 * MIB,
      entries: [misspelt(wholeDisk(9 * 1024 * MIB, 63, 255), [0, 1, 1], [1023, 254, 63])],
      geometry: [1024, 255, 63],
    },
  ];
}

/** A machine has up to eight; the rest goes to a second one with another first stage. */
const DRIVES_PER_MACHINE = 5;

test(
  'BIOS: INT 13h shows the geometry of nine layouts that inspection predicts',
  ...inRig({ needs: { tools: ['nasm'] } }, async (rig, t) => {
    const code = await readFile(await assemble(rig.folder, 'geometry.asm'));
    const all = layouts();
    for (let first = 0; first < all.length; first += DRIVES_PER_MACHINE) {
      const some = all.slice(first, first + DRIVES_PER_MACHINE);
      const seen = await bootLayouts(rig, code, some, first === 0 ? 'bios-vendor' : 'ipxe-rom');
      t.diagnostic(seen.join('; '));
      const expected = some.map((l, n) => `DRIVE ${80 + n} ${l.geometry.join('/')} END${n}`);
      assert.deepEqual(seen, expected);
    }
    for (const layout of all) {
      const predicted = await rig.server.predictGeometry(fileOf(rig, layout));
      assert.deepEqual(predicted ?? layout.geometry, layout.geometry, layout.name);
    }
  }),
);

/** Boots one machine with these disks; returns what its boot sector printed, a line per drive. */
async function bootLayouts(
  rig: Rig,
  code: Uint8Array,
  some: readonly Layout[],
  stage: FirstStage,
): Promise<string[]> {
  for (const [n, layout] of some.entries()) {
    const [cylinders, heads, sectors] = layout.geometry;
    await makeDisk(fileOf(rig, layout), layout.sizeBytes, {
      ...(n === 0 ? { code } : {}),
      entries: layout.entries,
      marks: [{ lba: cylinders * heads * sectors - 1, text: `END${n}` }],
    });
  }
  const name = `dos-${some[0]?.name}`;
  const mac = macOf(name);
  const drives = some.map((layout) => fileOf(rig, layout));
  await rig.server.addMachine({ name, mac, drives });
  const machine = await rig.boot({ name, mac, stage });
  await machine.serial.waitFor(/^END$/m, GUEST_LIMIT_MS);
  await machine.stop();
  return machine.serial.lines.map((l) => l.text).filter((text) => text.startsWith('DRIVE '));
}

function fileOf(rig: Rig, layout: Layout): string {
  return join(rig.folder, `${layout.name}.img`);
}
