import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Chs, EMPTY_ENTRY, encodeMbr, formatFat, GPT_TYPE, inspectDisk } from '#disk/mod.ts';
import { type DiskReport, mbrBootCode, type MbrEntry, MemorySectorIo } from '#disk/mod.ts';
import { planPreset, type SectorIo, sliceIo, writeGpt, writePreset } from '#disk/mod.ts';
import { Mutator } from '../../test/interop/disk-mutator.ts';

const chs = (cylinder: number, head: number, sector: number): Chs => ({ cylinder, head, sector });
const FAT = { label: 'D', serial: 1, timeMs: 0, zeroed: true } as const;

function withMbr(sectors: number, entries: Partial<MbrEntry>[], code = mbrBootCode()): SectorIo {
  const io = new MemorySectorIo(sectors * 512);
  const full = entries.map((e) => ({ ...EMPTY_ENTRY, ...e }));
  const mbr = { bootCode: code, diskSignature: 0, entries: full, hasSignature: true };
  io.write(0, encodeMbr(mbr));
  return io;
}

function codes(report: DiskReport): string[] {
  return report.warnings.map((w) => w.code);
}

const part = { type: 6, active: true, flag: 0x80 } as const;

test('inspect: a table that makes 22 heads is told in plain words', () => {
  const size = { startLba: 2048, sectorCount: 4192256 };
  const io = withMbr(4194304, [{ ...part, ...size, start: chs(0, 32, 33), end: chs(261, 21, 16) }]);
  const fat = {
    ...FAT,
    bits: 16,
    hiddenSectors: 2048,
    heads: 255,
    sectorsPerTrack: 63,
  } as const;
  formatFat(sliceIo(io, 2048 * 512, 4190000 * 512), fat);
  const report = inspectDisk(io);
  assert.equal(report.geometry.heads, 22);
  assert.deepEqual(codes(report), ['beyond-reach', 'bpb-geometry']);
  assert.match(report.warnings[1]?.text ?? '', /made for 255 heads .* iPXE will guess 22 × 63/);
  assert.equal(report.reachableBytes, 1024 * 22 * 63 * 512);
});

test('inspect: a start whose C/H/S means another sector', () => {
  const size = { startLba: 100, sectorCount: 200000 };
  const io = withMbr(204 * 1008, [
    { ...part, ...size, start: chs(1, 1, 1), end: chs(203, 15, 63) },
  ]);
  const report = inspectDisk(io);
  assert.deepEqual(codes(report), ['start-mismatch']);
  assert.match(report.warnings[0]?.text ?? '', /sector 100, but its C\/H\/S address 1\/1\/1 means/);
});

test('inspect: 256 heads, and geometries that cannot be', () => {
  const size = { startLba: 63, sectorCount: 1000000 };
  const end = chs(1023, 255, 63);
  const many = withMbr(1048576, [{ ...part, ...size, start: chs(0, 1, 1), end }]);
  assert.deepEqual(codes(inspectDisk(many)), ['heads-256']);
  const wild = { ...part, ...size, startLba: 2048, start: chs(0, 1, 1), end: chs(9, 15, 63) };
  assert.deepEqual(codes(inspectDisk(withMbr(1048576, [wild]))), ['geometry-impossible']);
});

test('inspect: hidden sectors, size and type that contradict the table', () => {
  const size = { startLba: 63, sectorCount: 200000 };
  const end = chs(203, 15, 63);
  const io = withMbr(204 * 1008, [{ ...part, ...size, type: 0x0b, start: chs(0, 1, 1), end }]);
  const fat = {
    ...FAT,
    bits: 16,
    hiddenSectors: 0,
    heads: 16,
    sectorsPerTrack: 63,
  } as const;
  formatFat(sliceIo(io, 63 * 512, 201000 * 512), fat);
  assert.deepEqual(codes(inspectDisk(io)), ['bpb-hidden', 'bpb-size', 'type-mismatch']);
});

test('inspect: overlap, end beyond the disk, two active partitions', () => {
  const a = { ...part, startLba: 63, sectorCount: 5000, end: chs(1, 15, 63), type: 0x83 };
  const b = { ...a, startLba: 3000, sectorCount: 20000 };
  const report = inspectDisk(withMbr(20000, [a, b]));
  assert.deepEqual(codes(report), ['beyond-end', 'overlap', 'several-active']);
});

test('inspect: a disk without 55 AA, without code, without an active partition', () => {
  const blank = inspectDisk(new MemorySectorIo(1 << 20));
  assert.deepEqual([blank.table, blank.bios.bootable], ['none', false]);
  assert.match(blank.bios.why, /1d852039/);
  const noCode = withMbr(4096, [{ ...part, startLba: 63, sectorCount: 10 }], new Uint8Array());
  assert.equal(inspectDisk(noCode).bios.why, 'no boot code');
  const entry = { ...part, active: false, flag: 0, startLba: 63, sectorCount: 10 };
  assert.equal(inspectDisk(withMbr(4096, [entry])).bios.why, 'no partition is active');
  const bare = withMbr(4096, [{ ...part, startLba: 63, sectorCount: 10 }]);
  assert.equal(inspectDisk(bare).bios.why, 'active partition 1 has no boot sector');
});

test('inspect: a file system without a table is not taken for one', () => {
  const io = new MemorySectorIo(131072 * 512);
  formatFat(io, { ...FAT, bits: 16, hiddenSectors: 0, heads: 16, sectorsPerTrack: 63 });
  const report = inspectDisk(io);
  assert.equal(report.table, 'none');
  assert.deepEqual(report.filesystem, { kind: 'FAT16', label: 'D' });
});

test('inspect: GPT with an ESP and a UEFI loader; control characters in names are shown', () => {
  const io = new MemorySectorIo(300000 * 512);
  const esp = { typeGuid: GPT_TYPE.esp, firstLba: 2048, lastLba: 200000, name: 'a\u001b[2Jb' };
  writeGpt(io, { partitions: [esp] });
  const fat = {
    ...FAT,
    bits: 32,
    hiddenSectors: 2048,
    heads: 255,
    sectorsPerTrack: 63,
    files: [{ path: 'EFI/BOOT/BOOTX64.EFI', bytes: Uint8Array.of(1) }],
  } as const;
  formatFat(sliceIo(io, 2048 * 512, 197953 * 512), fat);
  const report = inspectDisk(io);
  assert.deepEqual(report.uefiLoaders, ['\\EFI\\BOOT\\BOOTX64.EFI']);
  assert.equal(report.partitions[0]?.name, 'a\\x1b[2Jb');
  assert.deepEqual([report.uefi.bootable, report.bios.bootable], [true, false]);
});

test('inspect: a GPT made for sectors of 4096 bytes is recognised', () => {
  const io = withMbr(100000, [{ type: 0xee, startLba: 1, sectorCount: 9999 }], new Uint8Array());
  io.write(4096, Buffer.from('EFI PART'));
  assert.ok(codes(inspectDisk(io)).includes('large-sectors'));
});

test('inspect: an ISO with El Torito entries for both firmwares', () => {
  const io = new MemorySectorIo(40 * 2048);
  io.write(16 * 2048, Buffer.from('\u0001CD001'));
  io.write(16 * 2048 + 40, Buffer.from('MY CD'.padEnd(32)));
  io.write(17 * 2048, Buffer.from('\u0000CD001\u0001EL TORITO SPECIFICATION'));
  io.write(17 * 2048 + 0x47, Uint8Array.of(20));
  io.write(20 * 2048, Uint8Array.of(1, 0));
  io.write(20 * 2048 + 32, Uint8Array.of(0x88));
  io.write(20 * 2048 + 64, Uint8Array.of(0x91, 0xef));
  io.write(20 * 2048 + 96, Uint8Array.of(0x88));
  const report = inspectDisk(io);
  assert.deepEqual(report.iso, { label: 'MY CD', boots: ['bios', 'uefi'] });
  assert.deepEqual([report.table, report.bios.bootable], ['iso', true]);
});

test('inspect: every length from nothing to the first sectors gives a report', () => {
  const plan = planPreset('dos', 2 ** 20);
  const io = new MemorySectorIo(plan.sizeBytes);
  writePreset(io, plan, { label: 'X', diskSignature: 1, serial: 2, timeMs: 0 });
  const bytes = io.read(0, 2600);
  for (let n = 0; n <= bytes.length; n++) {
    assert.equal(inspectDisk(MemorySectorIo.from(bytes, n)).sizeBytes, n);
  }
});

/** Disks with every structure that the parsers follow, and where to damage them. */
function victims(): { bytes: Uint8Array; places: [number, number][] }[] {
  const dos = new MemorySectorIo(planPreset('dos', 2 ** 20).sizeBytes);
  const identity = { label: 'X', diskSignature: 1, serial: 2, timeMs: 0 };
  writePreset(dos, planPreset('dos', 2 ** 20), identity);
  const gpt = new MemorySectorIo(3000 * 512);
  const esp = { typeGuid: GPT_TYPE.esp, firstLba: 40, lastLba: 2900, name: 'esp' };
  writeGpt(gpt, { partitions: [esp] });
  const fat = {
    ...FAT,
    bits: 12,
    hiddenSectors: 40,
    heads: 16,
    sectorsPerTrack: 63,
    files: [{ path: 'EFI/BOOT/BOOTX64.EFI', bytes: new Uint8Array(9000) }],
  } as const;
  formatFat(sliceIo(gpt, 40 * 512, 2861 * 512), fat);
  const logical = withMbr(3000, [
    { type: 5, startLba: 100, sectorCount: 2000, end: chs(1, 15, 63) },
  ]);
  const table = { bootCode: new Uint8Array(), diskSignature: 0, hasSignature: true };
  const chain = [
    { ...EMPTY_ENTRY, type: 6, startLba: 63, sectorCount: 100 },
    { ...EMPTY_ENTRY, type: 5, startLba: 300, sectorCount: 100 },
  ];
  logical.write(100 * 512, encodeMbr({ ...table, entries: chain }));
  logical.write(400 * 512, encodeMbr({ ...table, entries: chain.slice(0, 1) }));
  const all = (io: SectorIo): Uint8Array => io.read(0, io.sizeBytes);
  return [
    {
      bytes: all(dos),
      places: [
        [440, 512],
        [63 * 512, 64 * 512],
        [64 * 512, 70 * 512],
      ],
    },
    {
      bytes: all(gpt),
      places: [
        [446, 512],
        [512, 700],
        [1024, 1200],
        [40 * 512, 50 * 512],
      ],
    },
    {
      bytes: all(logical),
      places: [
        [446, 512],
        [51646, 51712],
        [205246, 205312],
      ],
    },
  ];
}

test('inspect: 100,000 damaged disks give reports, never an exception', () => {
  const random = new Mutator(20261121);
  const disks = victims();
  for (let i = 0; i < 100_000; i++) {
    const victim = disks[i % disks.length];
    assert.ok(victim !== undefined);
    const [from, to] = victim.places[random.next(victim.places.length)] ?? [0, 512];
    const saved = victim.bytes.slice(from, to);
    random.mutate(victim.bytes, from, to);
    const report = inspectDisk(bytesIo(victim.bytes));
    assert.equal(report.sizeBytes, victim.bytes.length);
    victim.bytes.set(saved, from);
  }
});

/** A disk over plain bytes: no copy of 1.5 MB for each of the many. */
function bytesIo(bytes: Uint8Array): SectorIo {
  return {
    sizeBytes: bytes.length,
    read: (at, length) => {
      assert.ok(at >= 0 && at + length <= bytes.length, `read of ${length} at ${at}`);
      return bytes.slice(at, at + length);
    },
    write: (at, more) => {
      bytes.set(more, at);
    },
  };
}
