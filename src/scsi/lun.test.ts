import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeLun } from './lun.ts';

test('lun: peripheral addressing below 256, the well-known unit as it is; eight bytes each', () => {
  const bytes = Buffer.alloc(10, 0xff);
  encodeLun(5, bytes, 1);
  assert.equal(bytes.toString('hex'), 'ff0005000000000000ff');
  encodeLun(0xc101, bytes, 1);
  assert.equal(bytes.toString('hex'), 'ffc101000000000000ff');
});
