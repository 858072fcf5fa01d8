import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { decodeGptHeader, GPT_FIRST_USABLE_LBA, GPT_TYPE, gptLastUsableLba } from '#disk/mod.ts';
import { encodeHeader, MemorySectorIo, readGpt, writeGpt } from '#disk/mod.ts';
import { DecodeError } from '#base/mod.ts';

const SECTORS = 65536;
const DISK_GUID = '01234567-89AB-CDEF-0123-456789ABCDEF';

function disk(): MemorySectorIo {
  const io = new MemorySectorIo(SECTORS * 512);
  writeGpt(io, {
    diskGuid: DISK_GUID,
    partitions: [
      { typeGuid: GPT_TYPE.esp, firstLba: 2048, lastLba: 4095, name: 'esp', attributes: 5n },
      { typeGuid: GPT_TYPE.linux, firstLba: 4096, lastLba: 60000, name: 'Wurzel ∂ 36' },
    ],
  });
  return io;
}

test('gpt: what was written is read back', () => {
  const gpt = readGpt(disk());
  assert.deepEqual(gpt?.problems, []);
  assert.equal(gpt?.header.diskGuid, DISK_GUID);
  assert.deepEqual(
    gpt?.partitions.map((p) => [p.typeGuid, p.firstLba, p.lastLba, p.name, p.attributes]),
    [
      [GPT_TYPE.esp, 2048, 4095, 'esp', 5n],
      [GPT_TYPE.linux, 4096, 60000, 'Wurzel ∂ 36', 0n],
    ],
  );
});

test('gpt: headers decode → encode', () => {
  const io = disk();
  for (const lba of [1, SECTORS - 1]) {
    const sector = io.read(lba * 512, 512);
    assert.deepEqual(encodeHeader(decodeGptHeader(sector)), sector);
  }
});

test('gpt: the spare copy serves when the first is gone or damaged', () => {
  const gone = disk();
  gone.write(512, new Uint8Array(512));
  assert.match(readGpt(gone)?.problems.join() ?? '', /is missing; the spare copy/);
  const damaged = disk();
  damaged.write(512 + 40, Uint8Array.of(9));
  assert.match(readGpt(damaged)?.problems.join() ?? '', /is damaged; the spare copy/);
  const entries = disk();
  entries.write(1024, Uint8Array.of(9));
  assert.match(readGpt(entries)?.problems.join() ?? '', /is damaged; the spare copy/);
  assert.equal(readGpt(entries)?.partitions.length, 2);
});

test('gpt: a damaged spare copy, a grown disk, overlaps and ends beyond are told', () => {
  const spare = disk();
  spare.write((SECTORS - 1) * 512, new Uint8Array(512));
  assert.match(readGpt(spare)?.problems.join() ?? '', /spare .* damaged/);
  const grown = MemorySectorIo.from(disk().read(0, SECTORS * 512), SECTORS * 1024);
  assert.match(readGpt(grown)?.problems.join() ?? '', /not at the end/);
  const overlapping = new MemorySectorIo(SECTORS * 512);
  const part = { typeGuid: GPT_TYPE.linux, name: 'p' };
  writeGpt(overlapping, {
    partitions: [
      { ...part, firstLba: 2048, lastLba: 4096 },
      { ...part, firstLba: 4096, lastLba: 8000 },
    ],
  });
  assert.match(readGpt(overlapping)?.problems.join() ?? '', /overlap/);
  const cut = MemorySectorIo.from(disk().read(0, 30000 * 512), 30000 * 512);
  assert.match(readGpt(cut)?.problems.join() ?? '', /ends beyond the disk/);
});

test('gpt: no header at all is no table; two bad ones are an error', () => {
  assert.equal(readGpt(new MemorySectorIo(SECTORS * 512)), undefined);
  assert.equal(readGpt(new MemorySectorIo(700)), undefined);
  const bad = disk();
  bad.write(512 + 40, Uint8Array.of(9));
  bad.write((SECTORS - 1) * 512 + 40, Uint8Array.of(9));
  assert.throws(() => readGpt(bad), DecodeError);
});

test('gpt: any size of at least the tables holds them, smaller ones are refused', () => {
  assert.throws(
    () => {
      writeGpt(new MemorySectorIo(60 * 512), { partitions: [] });
    },
    { code: 'too-small' },
  );
  fc.assert(
    fc.property(fc.integer({ min: 68, max: 5000 }), (sectors) => {
      const io = new MemorySectorIo(sectors * 512);
      const last = gptLastUsableLba(sectors);
      const whole = { typeGuid: GPT_TYPE.linux, firstLba: GPT_FIRST_USABLE_LBA, lastLba: last };
      writeGpt(io, { partitions: [{ ...whole, name: 'all' }] });
      const gpt = readGpt(io);
      assert.deepEqual([gpt?.problems, gpt?.partitions[0]?.lastLba], [[], last]);
    }),
    { seed: 5 },
  );
});
