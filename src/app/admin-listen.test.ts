import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { adminListen } from './admin-listen.ts';

test('an address, a port, and the token of a file', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'polyboot-token-'));
  t.after(() => {
    rmSync(folder, { recursive: true });
  });
  const file = join(folder, 'token');
  writeFileSync(file, 'secret\n');
  assert.deepEqual(adminListen('127.0.0.1:8081', undefined), { address: '127.0.0.1', port: 8081 });
  const told = { address: '::1', port: 1, token: 'secret' };
  assert.deepEqual(adminListen('[::1]:1', file), told);
  for (const bad of ['foo', ':80', '127.0.0.1', '127.0.0.1:99999', '127.0.0.1:x'])
    assert.throws(() => adminListen(bad, undefined), { code: 'admin-listen' });
  for (const path of [join(folder, 'missing'), folder]) {
    const message = /token of the admin API cannot be read from .*\n +why: E.*\n +do: .*openssl/;
    assert.throws(() => adminListen('[::1]:1', path), { name: 'EnvironmentError', message });
  }
  writeFileSync(file, ' \n');
  assert.throws(() => adminListen('[::1]:1', file), /has no token/, 'nobody has an empty one');
});
