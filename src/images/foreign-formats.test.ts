import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UserError } from '#base/mod.ts';
import { checkForeignBytes, type ForeignFormat } from './foreign-formats.ts';

const SECTOR = 512;

function vmdk(): Buffer {
  const file = Buffer.alloc(24 * SECTOR);
  file.write('KDMV', 0, 'latin1');
  file.writeUInt32LE(1, 4);
  file.writeBigUInt64LE(2048n, 12);
  file.writeBigUInt64LE(1n, 28);
  file.writeBigUInt64LE(20n, 36);
  const text = 'version=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicSparse"\n';
  file.write(text, SECTOR, 'latin1');
  return file;
}

function vhd(): Buffer {
  const file = Buffer.alloc(4 * SECTOR);
  for (const at of [0, 3 * SECTOR]) {
    file.write('conectix', at, 'latin1');
    file.writeUInt32BE(3, at + 60);
  }
  return file;
}

function vdi(): Buffer {
  const file = Buffer.alloc(2 * SECTOR);
  file.writeUInt32LE(0xbeda107f, 64);
  file.writeUInt32LE(1, 76);
  return file;
}

const SOUND: Readonly<Record<ForeignFormat, Buffer>> = {
  vmdk: vmdk(),
  vpc: vhd(),
  vdi: vdi(),
  vhdx: Buffer.from('vhdxfile and more'),
};

/** What the check says of these bytes: nothing, or the code of its refusal. */
function verdict(format: ForeignFormat, file: Buffer): string {
  try {
    const read = (at: number, length: number): Buffer => {
      assert.ok(length <= 64 * 1024, 'bounded');
      return file.subarray(Math.min(at, file.length), Math.min(at + length, file.length));
    };
    checkForeignBytes('x', format, read, file.length);
    return 'sound';
  } catch (e) {
    assert.ok(e instanceof UserError, String(e));
    return e.code;
  }
}

function changed(format: ForeignFormat, change: (file: Buffer) => unknown): string {
  const file = Buffer.from(SOUND[format]);
  change(file);
  return verdict(format, file);
}

test('sound files pass; what names another file does not', () => {
  for (const format of Object.keys(SOUND) as ForeignFormat[])
    assert.equal(verdict(format, SOUND[format]), 'sound', format);
  const line = (text: string) => (file: Buffer) => file.write(text, SECTOR + 100, 'latin1');
  const cases: [ForeignFormat, (file: Buffer) => unknown][] = [
    ['vmdk', (f) => f.writeBigUInt64LE(0n, 12)],
    ['vmdk', (f) => f.writeBigUInt64LE(0n, 28)],
    ['vmdk', line('\nparentFileNameHint="/etc/shadow"')],
    ['vmdk', (f) => f.write('12345678', f.indexOf('ffffffff'), 'latin1')],
    ['vmdk', (f) => f.write('monolithicFlat"', f.indexOf('monolithic'), 'latin1')],
    ['vmdk', (f) => f.write('# Disk DescriptorFile', 0, 'latin1')],
    ['vpc', (f) => f.writeUInt32BE(4, 60)],
    ['vpc', (f) => f.writeUInt32BE(4, 3 * SECTOR + 60)],
    ['vdi', (f) => f.writeUInt32LE(4, 76)],
  ];
  for (const [n, [format, change]] of cases.entries())
    assert.equal(changed(format, change), 'foreign-parts', `${format} ${n}`);
});

test('every prefix and 100,000 mutations are judged, and nothing else happens', () => {
  let seed = 7;
  const random = (below: number): number => {
    // Numerical Recipes' LCG: the same mutations in every run.
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
  for (const format of Object.keys(SOUND) as ForeignFormat[]) {
    const file = SOUND[format];
    for (let length = 0; length < Math.min(file.length, 1100); length += 1)
      verdict(format, file.subarray(0, length));
    const scratch = Buffer.from(file);
    for (let round = 0; round < 25_000; round += 1) {
      const at = random(Math.min(file.length, 700));
      scratch[at] = random(256);
      const other = random(Math.min(file.length, 100));
      scratch[other] = random(4) * 85;
      verdict(format, scratch);
      scratch[at] = file[at] ?? 0;
      scratch[other] = file[other] ?? 0;
    }
  }
});
