import assert from 'node:assert/strict';
import { test } from 'node:test';
import { diskFileSource } from './disk-file-source.ts';

test('a disk file: the format is what was said, else what the name says', () => {
  assert.deepEqual(diskFileSource({ file: '/d/a.img' }), { kind: 'raw', path: '/d/a.img' });
  assert.deepEqual(diskFileSource({ file: '/d/a.QCOW2' }), { kind: 'qcow2', path: '/d/a.QCOW2' });
  assert.deepEqual(diskFileSource({ file: '/d/a.qcow2', format: 'raw', blockBytes: 2048 }), {
    kind: 'raw',
    path: '/d/a.qcow2',
    blockBytes: 2048,
  });
  assert.deepEqual(diskFileSource({ file: 'nbd://h/x' }), { kind: 'nbd', url: 'nbd://h/x' });
});

test('an overlay stands on what the command line names, itself in a format of its own', () => {
  const name = { file: '/d/o', format: 'qcow2', backing: '/d/base.qcow2' } as const;
  assert.deepEqual(diskFileSource(name), {
    kind: 'qcow2',
    path: '/d/o',
    backing: { kind: 'qcow2', path: '/d/base.qcow2' },
  });
  assert.deepEqual(diskFileSource({ ...name, backingFormat: 'raw' }), {
    kind: 'qcow2',
    path: '/d/o',
    backing: { kind: 'raw', path: '/d/base.qcow2' },
  });
});

test('what cannot be served is refused by its name', () => {
  assert.throws(() => diskFileSource({ file: 'x.vmdk' }), { code: 'image-format' });
  assert.throws(() => diskFileSource({ file: 'x.img', backing: 'y.img' }), { code: 'backing-raw' });
});
