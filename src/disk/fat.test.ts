import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import {
  decodeFatBootSector,
  type FatBits,
  type FatFile,
  FatReader,
  fatBitsOf,
} from '#disk/mod.ts';
import { formatFat, type FatOptions, layoutFat, MAX_CLUSTERS, MemorySectorIo } from '#disk/mod.ts';
import { DecodeError } from '#base/mod.ts';

const OPTIONS: FatOptions = {
  bits: 16,
  hiddenSectors: 63,
  heads: 16,
  sectorsPerTrack: 63,
  label: 'TEST DISK',
  serial: 0xdeadbeef,
  timeMs: Date.UTC(2026, 10, 21, 12, 30, 10),
  zeroed: true,
};
const SIZES: Readonly<Record<FatBits, number>> = { 12: 8192, 16: 131072, 32: 262144 };
const KINDS: readonly FatBits[] = [12, 16, 32];

function format(bits: FatBits, files: readonly FatFile[] = []): FatReader {
  const io = new MemorySectorIo(SIZES[bits] * 512);
  formatFat(io, { ...OPTIONS, bits, files });
  return new FatReader(io);
}

test('fat: a layout holds its own clusters, and their number means its own kind', () => {
  const sizes: Record<FatBits, [number, number]> = {
    12: [100, 32000],
    16: [9000, 4190000],
    32: [67000, 266000000],
  };
  for (const bits of KINDS) {
    const [min, max] = sizes[bits];
    fc.assert(
      fc.property(fc.integer({ min, max }), (sectors) => {
        const l = layoutFat(bits, sectors);
        assert.equal(fatBitsOf(l.clusterCount), bits);
        assert.ok(l.clusterCount <= MAX_CLUSTERS[bits]);
        assert.ok(l.dataStart + l.clusterCount * l.sectorsPerCluster <= sectors);
        assert.ok((l.sectorsPerFat * 512 * 8) / bits >= l.clusterCount + 2);
        // No sector that could be a cluster is wasted but by the table that it would need.
        const rest = sectors - l.dataStart - l.clusterCount * l.sectorsPerCluster;
        assert.ok(rest < l.sectorsPerCluster + 2);
      }),
      { seed: 6 },
    );
  }
});

test('fat: sizes that no cluster size fits are refused', () => {
  assert.throws(() => layoutFat(16, 4000), { code: 'fat-size' });
  assert.throws(() => layoutFat(32, 60000), { code: 'fat-size' });
  assert.throws(() => layoutFat(12, 4084 * 64 + 5000), { code: 'fat-size' });
});

for (const bits of KINDS) {
  test(`fat${bits}: boot sector, label, files and folders are read back`, () => {
    const big = new Uint8Array(300_000).map((_, i) => (i * 7) & 255);
    const files = [
      { path: 'README.TXT', bytes: Buffer.from('hello') },
      { path: 'EFI/BOOT/BOOTX64.EFI', bytes: big },
      { path: 'EFI/BOOT/EMPTY', bytes: new Uint8Array() },
    ];
    const fat = format(bits, files);
    assert.equal(fat.label(), 'TEST DISK');
    const { boot } = fat;
    assert.deepEqual(
      [boot.layout.bits, boot.heads, boot.sectorsPerTrack, boot.hiddenSectors, boot.serial],
      [bits, 16, 63, 63, 0xdeadbeef],
    );
    assert.deepEqual(fat.list(''), ['EFI', 'README.TXT']);
    assert.deepEqual(fat.list('efi/boot'), ['BOOTX64.EFI', 'EMPTY']);
    assert.equal(fat.list('nowhere'), undefined);
    for (const f of files) {
      assert.deepEqual(Buffer.from(fat.readFile(f.path) ?? []), Buffer.from(f.bytes));
    }
    assert.equal(fat.readFile('EFI'), undefined);
    assert.equal(fat.fileSize('efi/boot/bootx64.efi'), 300_000);
  });
}

test('fat: a folder of many files goes over several clusters', () => {
  const files = Array.from({ length: 100 }, (_, i) => ({
    path: `MANY/FILE${i}.DAT`,
    bytes: Uint8Array.of(i),
  }));
  const fat = format(32, files);
  assert.equal(fat.list('MANY')?.length, 100);
  assert.deepEqual(Buffer.from(fat.readFile('MANY/FILE99.DAT') ?? []), Buffer.of(99));
});

test('fat: files that do not fit, and labels that FAT has not, are refused', () => {
  assert.throws(() => format(12, [{ path: 'A', bytes: new Uint8Array(8192 * 512) }]), {
    code: 'fat-full',
  });
  for (const label of ['TWELVE CHARS', 'A*B', 'ä']) {
    const io = new MemorySectorIo(SIZES[16] * 512);
    assert.throws(() => formatFat(io, { ...OPTIONS, label }), { code: 'fat-label' });
  }
});

test('fat: formatting a used device clears what was there', () => {
  const io = new MemorySectorIo(SIZES[16] * 512);
  const { dataStart } = layoutFat(16, SIZES[16]);
  io.write(512, new Uint8Array((dataStart - 1) * 512).fill(0xaa));
  formatFat(io, { ...OPTIONS, zeroed: false });
  assert.deepEqual(new FatReader(io).list(''), []);
});

test('fat: chains that loop or leave the disk are errors', () => {
  const io = new MemorySectorIo(SIZES[16] * 512);
  formatFat(io, { ...OPTIONS, files: [{ path: 'A', bytes: new Uint8Array(10_000) }] });
  const fat = new FatReader(io);
  const second = fat.boot.layout.reservedSectors * 512 + 3 * 2;
  io.write(second, Uint8Array.of(2, 0));
  assert.throws(() => fat.readFile('A'), DecodeError);
  io.write(second, Uint8Array.of(0xf0, 0xfe));
  assert.throws(() => fat.readFile('A'), DecodeError);
});

test('fat: every prefix of a boot sector is refused', () => {
  const io = new MemorySectorIo(SIZES[16] * 512);
  formatFat(io, OPTIONS);
  const sector = io.read(0, 512);
  for (let n = 0; n < 512; n++) assert.throws(() => decodeFatBootSector(sector.subarray(0, n)));
});
