import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { decodeMbr, EMPTY_ENTRY, encodeMbr, type MbrEntry } from '#disk/mod.ts';
import { MemorySectorIo, readLogical } from '#disk/mod.ts';
import { DecodeError } from '#base/mod.ts';

test('mbr: decode → encode is the identity, but for two reserved bytes', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 512, maxLength: 512 }), fc.boolean(), (raw, signed) => {
      raw.set([0, 0], 444);
      raw.set(signed ? [0x55, 0xaa] : [0, 0], 510);
      assert.deepEqual(encodeMbr(decodeMbr(raw)), raw);
    }),
    { seed: 4 },
  );
});

test('mbr: every prefix shorter than a sector is refused', () => {
  for (let length = 0; length < 512; length++) {
    assert.throws(() => decodeMbr(new Uint8Array(length)), DecodeError);
  }
});

/** A table at `lba` with one logical partition and a link (counted from the chain's start). */
function table(io: MemorySectorIo, lba: number, link?: number): void {
  const used = (type: number, startLba: number): MbrEntry => ({
    ...EMPTY_ENTRY,
    type,
    startLba,
    sectorCount: 10,
  });
  const entries = [used(6, 63), ...(link === undefined ? [] : [used(5, link)])];
  const bootCode = new Uint8Array();
  io.write(lba * 512, encodeMbr({ bootCode, diskSignature: 0, entries, hasSignature: true }));
}

const extended = { ...EMPTY_ENTRY, type: 5, startLba: 1000, sectorCount: 5000 };

test('mbr: logical partitions are found in chain order', () => {
  const io = new MemorySectorIo(512 * 10000);
  table(io, 1000, 500);
  table(io, 1500, 900);
  table(io, 1900);
  const { partitions, problem } = readLogical(io, extended);
  assert.deepEqual(
    partitions.map((p) => p.startLba),
    [1063, 1563, 1963],
  );
  assert.equal(problem, undefined);
});

test('mbr: a chain that loops, leaves the disk or has no table ends with a problem', () => {
  const loop = new MemorySectorIo(512 * 10000);
  table(loop, 1000, 500);
  table(loop, 1500, 0);
  assert.match(readLogical(loop, extended).problem ?? '', /loop/);
  const beyond = new MemorySectorIo(512 * 10000);
  table(beyond, 1000, 0xfffffff0);
  assert.match(readLogical(beyond, extended).problem ?? '', /leaves the disk/);
  const blank = new MemorySectorIo(512 * 10000);
  assert.match(readLogical(blank, extended).problem ?? '', /no 55 AA/);
  const long = new MemorySectorIo(512 * 10000);
  for (let i = 0; i < 100; i++) table(long, 1000 + i, i + 1);
  assert.match(readLogical(long, extended).problem ?? '', /too many/);
});
