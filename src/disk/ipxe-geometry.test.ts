import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { type Chs, decodeMbr, EMPTY_ENTRY, type Geometry, guessGeometry } from '#disk/mod.ts';
import { lbaToChs, type MbrEntry, MemorySectorIo, planPreset, writePreset } from '#disk/mod.ts';

const MIB = 2048; // sectors
const chs = (cylinder: number, head: number, sector: number): Chs => ({ cylinder, head, sector });

function entry(start: Chs, end: Chs, startLba: number, more: Partial<MbrEntry> = {}): MbrEntry {
  return { ...EMPTY_ENTRY, type: 6, start, end, startLba, sectorCount: 1000, ...more };
}

/** What a boot sector that called INT 13h AH=08 printed under real iPXE for each layout. */
const MEASURED: readonly [string, number, MbrEntry[], string][] = [
  ['504 MiB, empty table', 504 * MIB, [], '64/255/63'],
  [
    '504 MiB, made for x/16/63',
    504 * MIB,
    [entry(chs(0, 1, 1), chs(1023, 15, 63), 63)],
    '1024/16/63',
  ],
  [
    '2 GiB, made for 16 heads',
    2048 * MIB,
    [entry(chs(0, 1, 1), chs(1023, 15, 63), 63)],
    '1024/16/63',
  ],
  ['261 × 255 × 63', 261 * 16065, [entry(chs(0, 1, 1), chs(260, 254, 63), 63)], '261/255/63'],
  ['7.84 GiB', 1024 * 16065, [entry(chs(0, 1, 1), chs(1023, 254, 63), 63)], '1024/255/63'],
  [
    '2 GiB, at LBA 2048, not to a cylinder boundary',
    2048 * MIB,
    [entry(chs(0, 32, 33), chs(261, 21, 16), 2048)],
    '1024/22/63',
  ],
  ['2 GiB, CHS bytes all zero', 2048 * MIB, [entry(chs(0, 0, 0), chs(0, 0, 0), 2048)], '1024/1/63'],
  [
    'protective, FF FF FF',
    2048 * MIB,
    [entry(chs(0, 0, 2), chs(1023, 255, 63), 1, { type: 0xee })],
    '260/256/63',
  ],
];

const text = (g: Geometry): string => `${g.cylinders}/${g.heads}/${g.sectorsPerTrack}`;

for (const [name, sectors, entries, expected] of MEASURED) {
  test(`iPXE's guess: ${name} → ${expected}`, () => {
    assert.equal(text(guessGeometry(entries, sectors)), expected);
  });
}

test("iPXE's guess: entries of type 0 do not count", () => {
  const empty = entry(chs(0, 1, 1), chs(100, 7, 17), 17, { type: 0 });
  assert.equal(text(guessGeometry([empty], 504 * MIB)), '64/255/63');
});

test("iPXE's guess: the highest end of several partitions counts", () => {
  const small = entry(chs(0, 1, 1), chs(10, 15, 63), 63);
  const large = entry(chs(11, 0, 1), chs(100, 254, 63), 11088);
  assert.equal(text(guessGeometry([large, small], 2048 * MIB)), '261/255/63');
});

test("iPXE's guess, early rule: the last partition counts, zeros do not", () => {
  const first = entry(chs(0, 1, 1), chs(100, 254, 63), 63);
  const second = entry(chs(101, 0, 1), chs(200, 15, 63), 16065);
  const zeros = entry(chs(0, 0, 0), chs(0, 0, 0), 2048);
  assert.equal(text(guessGeometry([first, second], 504 * MIB, 'early')), '1024/16/63');
  assert.equal(text(guessGeometry([first, zeros], 504 * MIB, 'early')), '64/255/63');
});

test("iPXE's guess: a start before its own sector number wraps, as in 32-bit C", () => {
  const wrapped = guessGeometry([entry(chs(0, 1, 63), chs(5, 15, 63), 10)], 504 * MIB);
  assert.equal(wrapped.sectorsPerTrack, 2 ** 32 - 52);
});

test("iPXE's guess: a table laid out for any geometry gives that geometry back", () => {
  const arbitrary = fc.record({
    cylinders: fc.integer({ min: 2, max: 1024 }),
    heads: fc.integer({ min: 2, max: 255 }),
    sectorsPerTrack: fc.integer({ min: 2, max: 63 }),
  });
  fc.assert(
    fc.property(arbitrary, (g) => {
      const total = g.cylinders * g.heads * g.sectorsPerTrack;
      const one = entry(lbaToChs(g.sectorsPerTrack, g), lbaToChs(total - 1, g), g.sectorsPerTrack);
      assert.equal(text(guessGeometry([one], total)), text(g));
      assert.equal(text(guessGeometry([one], total, 'early')), text(g));
    }),
    { seed: 1 },
  );
});

test('presets: the geometry that was meant is the one that iPXE guesses, by every rule', () => {
  const sizes = fc.integer({ min: 1, max: 8000 }).map((mib) => mib * 2 ** 20);
  fc.assert(
    fc.property(fc.constantFrom('dos', 'win9x'), sizes, (preset, bytes) => {
      const plan = planPreset(preset, bytes);
      assert.ok(plan.preset !== 'gpt');
      const io = new MemorySectorIo(plan.sizeBytes);
      writePreset(io, plan, { label: 'X', diskSignature: 1, serial: 2, timeMs: 0 });
      const { entries } = decodeMbr(io.read(0, 512));
      const total = plan.sizeBytes / 512;
      assert.equal(text(guessGeometry(entries, total)), text(plan.geometry));
      assert.equal(text(guessGeometry(entries, total, 'early')), text(plan.geometry));
    }),
    { numRuns: 60, seed: 2 },
  );
});
