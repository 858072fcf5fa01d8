import assert from 'node:assert/strict';
import { openSync } from 'node:fs';
import { test } from 'node:test';
import type { BlockError } from './device.ts';
import { blockErrorOf } from './raw-error.ts';
import { RawDevice } from './raw.ts';

/** fdatasync on /dev/null fails, which is all that is needed here. */
function unflushable(): RawDevice {
  return new RawDevice({
    fd: openSync('/dev/null', 'r+'),
    sizeBytes: 4096,
    blockBytes: 512,
    physicalBlockBytes: 4096,
    readOnly: false,
    canDiscard: false,
    residency: 'always',
    tellsResidency: false,
    writesByAddress: false,
    locked: false,
    growable: false,
  });
}

function flushed(device: RawDevice): Promise<BlockError | null> {
  return new Promise((resolve) => {
    device.flush(resolve);
  });
}

test('raw_failed-flush: after a failed fdatasync every call fails, a later flush too', async () => {
  const device = unflushable();
  const both = await Promise.all([flushed(device), flushed(device)]);
  assert.equal(both[0]?.kind, 'io');
  assert.ok(both[1] !== null, 'the flush that waited for the next one must not succeed either');
  assert.equal((await flushed(device))?.kind, 'failed');
  const block = Buffer.alloc(512);
  assert.throws(() => device.tryRead(0, block, 0, 512), { kind: 'failed' });
  assert.throws(() => device.tryWrite(0, block, 0, 512), { kind: 'failed' });
  for (const way of ['discard', 'writeZeroes'] as const) {
    const error = await new Promise<BlockError | null>((resolve) => {
      device[way](0, 512, resolve);
    });
    assert.equal(error?.kind, 'failed');
  }
  await new Promise((resolve) => {
    device.close(resolve);
  });
});

test('raw_errno: each errno has its kind, and a flush is never "no space, try again"', () => {
  const errno = (code: string): Error => Object.assign(new Error(code), { code });
  const kinds = [
    ['EIO', 'io'],
    ['ENOSPC', 'no-space'],
    ['EDQUOT', 'no-space'],
    ['EROFS', 'read-only'],
    ['ENXIO', 'gone'],
    ['ESTALE', 'gone'],
    ['EWHATEVER', 'io'],
  ] as const;
  for (const [code, kind] of kinds) {
    const error = blockErrorOf(errno(code), 'write', 512);
    assert.deepEqual([error.kind, error.offsetBytes], [kind, 512]);
  }
  assert.equal(blockErrorOf(errno('ENOSPC'), 'flush', 0).kind, 'io');
});
