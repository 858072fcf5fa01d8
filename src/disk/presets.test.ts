import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DOS_MAX_BYTES, DOS_SMALL_BYTES, type DosPlan, formatGeometry } from '#disk/mod.ts';
import { inspectDisk, MemorySectorIo, planPreset, type Preset, writePreset } from '#disk/mod.ts';

const MIB = 2 ** 20;
const IDENTITY = { label: 'POLYBOOT', diskSignature: 0x1234, serial: 0xcafe, timeMs: 1.7e12 };

function plan(preset: 'dos' | 'win9x', bytes: number): DosPlan {
  const made = planPreset(preset, bytes);
  assert.ok(made.preset !== 'gpt');
  return made;
}

// preset, asked for (MiB) → geometry, type, FAT
const CASES: readonly ['dos' | 'win9x', number, string, number, number][] = [
  ['dos', 10, '20 × 16 × 63', 0x01, 12],
  ['dos', 20, '41 × 16 × 63', 0x04, 16],
  ['dos', 100, '203 × 16 × 63', 0x06, 16],
  ['dos', 504, '1024 × 16 × 63', 0x06, 16],
  ['dos', 505, '64 × 255 × 63', 0x06, 16],
  ['dos', 2048, '261 × 255 × 63', 0x06, 16],
  ['dos', 2100, '268 × 255 × 63', 0x0b, 32],
  ['dos', 7.8 * 1024, '1024 × 255 × 63', 0x0b, 32],
  ['win9x', 504, '1024 × 16 × 63', 0x06, 16],
  ['win9x', 1024, '131 × 255 × 63', 0x0b, 32],
  ['win9x', 20480, '2611 × 255 × 63', 0x0c, 32],
];

for (const [preset, mib, geometry, type, bits] of CASES) {
  test(`preset ${preset} of ${mib} MiB: ${geometry}, type ${type}, FAT${bits}`, () => {
    const made = plan(preset, Math.round(mib * MIB));
    assert.equal(formatGeometry(made.geometry), geometry);
    assert.deepEqual([made.partition.type, made.partition.bits], [type, bits]);
    const io = new MemorySectorIo(made.sizeBytes);
    writePreset(io, made, IDENTITY);
    const report = inspectDisk(io);
    assert.deepEqual(report.warnings, []);
    const [p] = report.partitions;
    assert.deepEqual([p?.startLba, p?.active, p?.filesystem?.label], [63, true, 'POLYBOOT']);
    assert.deepEqual(p?.filesystem?.kind, `FAT${bits}`);
    assert.equal(report.bios.why, 'partition 1 holds no operating system yet');
  });
}

test('presets: the two sizes of the manual are exact', () => {
  assert.equal(DOS_SMALL_BYTES, 504 * MIB);
  assert.equal(plan('dos', 504 * MIB).sizeBytes, DOS_SMALL_BYTES);
  assert.equal(plan('dos', Math.round(7.8 * 1024 * MIB)).sizeBytes, DOS_MAX_BYTES);
});

test('preset gpt: an empty table over whole MiB', () => {
  const made = planPreset('gpt', 10 * MIB + 1);
  assert.equal(made.sizeBytes, 11 * MIB);
  const io = new MemorySectorIo(made.sizeBytes);
  writePreset(io, made, IDENTITY);
  const report = inspectDisk(io);
  assert.deepEqual([report.table, report.partitions, report.warnings], ['gpt', [], []]);
  assert.equal(formatGeometry(report.geometry), '1 × 255 × 63');
});

const REFUSED: readonly [Preset, number][] = [
  ['dos', 8 * 1024 * MIB],
  ['dos', 1000],
  ['dos', Number.NaN],
  ['dos', -1],
  ['win9x', 200 * 1024 * MIB],
  ['gpt', 0],
];
for (const [preset, bytes] of REFUSED) {
  test(`preset ${preset}: ${bytes} bytes are refused`, () => {
    assert.throws(() => planPreset(preset, bytes), { code: 'disk-size' });
  });
}
