import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ScsiError, Sense, encodeSense } from './sense.ts';

test('sense_fixed: code, INFORMATION and field pointer where SPC-4 §4.5.3 has them', () => {
  const b = encodeSense(Sense.LBA_OUT_OF_RANGE, { information: 0x01020304 });
  assert.equal(Buffer.from(b).toString('hex'), 'f00005010203040a00000000210000000000');
  const field = encodeSense(Sense.INVALID_FIELD_IN_CDB, { field: { in: 'cdb', byte: 1, bit: 7 } });
  assert.equal(Buffer.from(field.subarray(12)).toString('hex'), '240000cf0001');
  const data = encodeSense(Sense.INVALID_FIELD_IN_PARAMETER_LIST, {
    field: { in: 'data', byte: 300 },
  });
  assert.equal(Buffer.from(data.subarray(15)).toString('hex'), '80012c');
});

test('sense_fixed: an LBA that does not fit leaves VALID clear', () => {
  const b = encodeSense(Sense.UNRECOVERED_READ_ERROR, { information: 2 ** 32 });
  assert.equal(b[0], 0x70);
});

test('sense_descriptor: descriptors of SPC-4 §4.5.2, with their lengths', () => {
  const plain = encodeSense(Sense.WRITE_PROTECTED, {}, true);
  assert.equal(Buffer.from(plain).toString('hex'), '7207270000000000');
  const full = encodeSense(
    Sense.UNRECOVERED_READ_ERROR,
    { information: 2 ** 40 + 5, field: { in: 'cdb', byte: 2 } },
    true,
  );
  assert.equal(full[7], full.length - 8);
  assert.equal(Buffer.from(full.subarray(8, 20)).toString('hex'), '000a80000000010000000005');
  assert.equal(Buffer.from(full.subarray(20)).toString('hex'), '02060000c0000200');
});

test('sense_progress: in 65536ths', () => {
  const b = encodeSense(Sense.SANITIZE_IN_PROGRESS, { progress: 0.5 });
  assert.equal(Buffer.from(b.subarray(15)).toString('hex'), '808000');
  assert.deepEqual(
    [...encodeSense(Sense.SANITIZE_IN_PROGRESS, { progress: 1 })].slice(16),
    [255, 255],
  );
});

test('sense_names: no two names share a code', () => {
  const codes = Object.values(Sense).map((s) => `${s.key}/${s.asc}/${s.ascq}`);
  assert.equal(new Set(codes).size, codes.length);
});

test('sense_error: status without sense data', () => {
  const e = ScsiError.status(0x18);
  assert.deepEqual([e.status, e.sense], [0x18, null]);
});
