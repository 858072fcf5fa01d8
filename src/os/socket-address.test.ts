import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EnvironmentError, UserError } from '#base/mod.ts';
import { interfaceIndex, interfaceNameBytes } from './interface-name.ts';
import { errnoName, errnoText } from './libc.ts';
import { socketAddress } from './socket-address.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

test('addresses in the form of the kernel', () => {
  assert.equal(hex(socketAddress('10.1.2.3', 69)), `020000450a010203${'00'.repeat(8)}`);
  const six = `0a0000450000000020010db8000000000000000000000001${'00'.repeat(4)}`;
  assert.equal(hex(socketAddress('2001:db8::1', 69)), six);
  const zoned = hex(socketAddress('fe80::1%7', 1));
  assert.equal(zoned.slice(-8), '07000000');
  assert.equal(hex(socketAddress('fe80::1%lo', 1)).slice(-8), '01000000');
  assert.throws(() => socketAddress('ten.dot.one', 1), UserError);
});

test('interface names', () => {
  assert.equal(hex(interfaceNameBytes('eth0')), `65746830${'00'.repeat(12)}`);
  for (const bad of ['', 'a'.repeat(16), 'a b', 'a/b']) {
    assert.throws(() => interfaceNameBytes(bad), UserError);
  }
  assert.equal(interfaceIndex('lo'), 1);
  assert.throws(
    () => interfaceIndex('nope0'),
    (e) => e instanceof EnvironmentError && e.code === 'no-interface',
  );
});

test('error numbers have names', () => {
  assert.equal(errnoName(2), 'ENOENT');
  assert.match(errnoText(2), /no such file/);
});
