import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { CHS_BEYOND, chsToLba, decodeChs, encodeChs, lbaToChs } from '#disk/mod.ts';

test('chs: every three bytes decode and encode back', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 3, maxLength: 3 }), (bytes) => {
      assert.deepEqual(encodeChs(decodeChs(bytes)), bytes);
    }),
    { seed: 7 },
  );
});

test('chs: a sector and its place mean each other, up to cylinder 1023', () => {
  const geometry = fc.record({
    heads: fc.integer({ min: 1, max: 255 }),
    sectorsPerTrack: fc.integer({ min: 1, max: 63 }),
  });
  fc.assert(
    fc.property(geometry, fc.nat(0x1fffffff), (g, lba) => {
      const chs = lbaToChs(lba, g);
      if (lba >= 1024 * g.heads * g.sectorsPerTrack) assert.deepEqual(chs, CHS_BEYOND);
      else assert.equal(chsToLba(chs, g), lba);
    }),
    { seed: 8 },
  );
});

test('chs: an address that does not fit is FE FF FF', () => {
  assert.deepEqual(encodeChs(CHS_BEYOND), Uint8Array.of(0xfe, 0xff, 0xff));
});
