import assert from 'node:assert/strict';
import { test } from 'node:test';
import { kindByName } from './formats.ts';

test('what a file is follows from its name alone', () => {
  const cases: [string, ReturnType<typeof kindByName>][] = [
    ['/a/Disk.IMG', { format: 'raw' }],
    ['disk.qcow2.gz', { format: 'qcow2', compression: 'gz' }],
    ['x.vhd', { format: 'vpc' }],
    ['cd.iso.xz', { format: 'iso', compression: 'xz' }],
    ['a.raw.zst', { format: 'raw', compression: 'zst' }],
    ['disk', {}],
    ['disk.gz', { compression: 'gz' }],
  ];
  for (const [path, kind] of cases) assert.deepEqual(kindByName(path), kind, path);
});
