import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LUNS_MAX, REPORT_LUNS_LUN, decodeLun, encodeLun } from './lun.ts';

test('lun: what is encoded is decoded, for every LUN there can be', () => {
  const bytes = Buffer.alloc(10, 0xff);
  for (let lun = 0; lun < LUNS_MAX; lun++) {
    encodeLun(lun, bytes, 1);
    assert.equal(decodeLun(bytes, 1), lun);
  }
  assert.deepEqual([bytes[0], bytes[9]], [0xff, 0xff]);
});

test('lun: flat space, the well-known unit, and nothing else', () => {
  const of = (text: string): number => decodeLun(Buffer.from(text.padEnd(16, '0'), 'hex'));
  assert.equal(of('4005'), 5);
  assert.equal(of('7fff'), 0x3fff);
  assert.equal(of('c101'), REPORT_LUNS_LUN);
  for (const other of ['0105', '8000', 'c102', 'c201', 'ffff', '0000ff'])
    assert.equal(of(other), -1);
});
