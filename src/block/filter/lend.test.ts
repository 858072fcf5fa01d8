import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { BasePool } from '../base-pool.ts';
import type { BlockDevice } from '../device.ts';
import { lendFrom } from '../lend.ts';
import { openRaw } from '../raw-open.ts';
import { CounterDevice } from './counter.ts';
import { ReadOnlyDevice } from './readonly.ts';
import { SliceDevice } from './slice.ts';
import { VolatileDevice } from './volatile.ts';

const MIB = 1024 * 1024;
const START = 64 * 1024;

function closed(device: BlockDevice): Promise<void> {
  return new Promise((resolve) => {
    device.close(() => {
      resolve();
    });
  });
}

test('filters that change nothing pass a loan on, others do not', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'polyboot-lend-'));
  t.after(() => {
    rmSync(folder, { recursive: true });
  });
  const path = join(folder, 'disk.img');
  writeFileSync(path, Buffer.alloc(8 * MIB, 7));
  const raw = await openRaw(path, { readOnly: true });
  // What is read often is worth a window; asked until it is one.
  let address = 0;
  for (let n = 0; n < 4096 && address === 0; n++) address = lendFrom(raw, START, 4096);
  if (address === 0) {
    await closed(raw);
    return t.skip('this file system lends nothing');
  }
  const pool = new BasePool();
  const held = await pool.acquire('base', () => Promise.resolve(raw));
  for (const device of [held, new ReadOnlyDevice(raw), new VolatileDevice(raw)]) {
    assert.equal(lendFrom(device, START, 4096), address, device.constructor.name);
  }
  assert.equal(lendFrom(new SliceDevice(raw, START, MIB), 0, 4096), address);
  assert.equal(lendFrom(new CounterDevice(raw), START, 4096), 0, 'it counts reads');
  await closed(held);
  assert.equal(lendFrom(held, START, 4096), 0);
});
