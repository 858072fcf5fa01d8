import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WriteGate } from './gate.ts';
import { InFlight } from './in-flight.ts';
import { MetadataMap } from './metadata-map.ts';
import { SliceCache } from './slice-cache.ts';
import { zstdFrameBytes } from './zstd-frame.ts';
import { zstdCompressSync } from 'node:zlib';

test('slices: bounded, the least used goes first, changed ones stay', () => {
  const cache = new SliceCache(1000, 4096, 16 * 4096);
  for (let slice = 0; slice < 16; slice++) cache.claim(slice).fill(slice);
  cache.change(3, 1);
  for (let slice = 100; slice < 140; slice++) cache.claim(slice).fill(slice);
  assert.equal(cache.find(3)?.[0], 3, 'changed, so it stays');
  let there = 0;
  for (let slice = 0; slice < 1000; slice++) {
    const words = cache.find(slice);
    if (words === undefined) continue;
    there += 1;
    assert.ok(words.every((w) => w === slice));
  }
  assert.equal(there, 16);
  assert.equal(cache.dirtyCount, 1);
});

test('slices: all changed ones are kept beyond the budget, and settle by epoch', () => {
  const cache = new SliceCache(1000, 512, 4 * 512);
  for (let slice = 0; slice < 40; slice++) {
    cache.claim(slice).fill(slice);
    cache.change(slice, slice < 20 ? 1 : 2);
  }
  cache.change(5, 2);
  assert.equal(cache.dirtyCount, 40);
  cache.settle(1);
  assert.equal(cache.dirtyCount, 21, 'the one that changed again waits for the next');
  const waiting: number[] = [];
  cache.eachDirty((slice) => waiting.push(slice));
  assert.ok(waiting.includes(5) && !waiting.includes(4));
  cache.settle(2);
  assert.equal(cache.dirtyCount, 0);
});

test('metadata map: no cluster twice, far ones are none', () => {
  const map = new MetadataMap();
  assert.equal(map.add(10, 5), true);
  assert.equal(map.add(14), false);
  assert.equal(map.add(8, 3), false);
  assert.equal(map.has(8), false, 'and nothing was noted by the refused one');
  map.remove(12, 2);
  assert.deepEqual(
    [10, 11, 12, 13, 14, 15].map((c) => map.has(c)),
    [true, true, false, false, true, false],
  );
  assert.equal(map.has(2 ** 40), false);
});

test('in flight: drained waits for what began before, and for nothing later', async () => {
  const calls = new InFlight();
  const early = calls.enter();
  let drained = false;
  const waiting = calls.drained().then(() => {
    drained = true;
  });
  const late = calls.enter();
  await Promise.resolve();
  assert.equal(drained, false);
  calls.leave(early);
  await waiting;
  calls.leave(late);
  await calls.idle();
});

test('gate: whoever is alone waits for those inside, and they wait for him', async () => {
  const gate = new WriteGate();
  const order: string[] = [];
  await gate.enter();
  const alone = gate.hold().then(() => order.push('alone'));
  assert.equal(gate.held, true);
  const next = gate.enter().then(() => order.push('next'));
  gate.leave();
  await alone;
  gate.release();
  await next;
  assert.deepEqual(order, ['alone', 'next']);
});

test('zstd: the length of a frame, with anything behind it', () => {
  for (const bytes of [Buffer.alloc(0), Buffer.alloc(70_000, 1), Buffer.from('hello')]) {
    const frame = zstdCompressSync(bytes);
    const behind = Buffer.concat([frame, Buffer.alloc(100, 0x28)]);
    assert.equal(zstdFrameBytes(behind), frame.length);
    for (let length = 0; length < frame.length; length++) {
      assert.equal(zstdFrameBytes(frame.subarray(0, length)), null);
    }
  }
});
