import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HoleMap } from './hole-map.ts';

const G = 64 * 1024;
const HOLE = 3;

function states(map: HoleMap): string {
  let out = '';
  for (let at = 0; at < map.sizeBytes;) {
    const extent = map.extentAt(at, map.sizeBytes - at);
    assert.ok(extent.lengthBytes > 0);
    out += (extent.state === 'hole' ? '.' : 'x').repeat(Math.ceil(extent.lengthBytes / G));
    at += extent.lengthBytes;
  }
  return out;
}

test('hole-map: what is not known is data; only whole granules become holes', () => {
  const map = new HoleMap(20 * G + 512);
  assert.equal(states(map), 'x'.repeat(21));
  const told = map.answered(map.ask(), G / 2, [4 * G, HOLE, G, 0, G, 2, 99 * G, HOLE]);
  assert.equal(told, 20 * G + 512 - G / 2, 'clipped to the disk');
  assert.equal(states(map), `x...xxx${'.'.repeat(14)}`);
  map.written(3 * G + 100, 100);
  assert.equal(states(map), `x..xxxx${'.'.repeat(14)}`);
  assert.deepEqual(map.extentAt(2 * G - 512, G), { lengthBytes: G, state: 'hole' });
  assert.deepEqual(map.extentAt(2 * G + 512, G), { lengthBytes: G - 512, state: 'hole' });
});

test('hole-map: a write while the server is asked is never covered by its answer', () => {
  const map = new HoleMap(8 * G);
  const early = map.ask();
  map.written(G, 512);
  const late = map.ask();
  map.written(5 * G, 512);
  map.answered(late, 0, [8 * G, HOLE]);
  assert.equal(states(map), '.....x..', 'the first write was there before the question');
  map.answered(early, 0, [8 * G, HOLE]);
  assert.equal(states(map), '.x...x..');
  map.answered(map.ask(), 0, null);
  assert.equal(states(map), '.x...x..');
});

test('hole-map: with too many writes to remember the answer is not used', () => {
  const map = new HoleMap(8 * G);
  const question = map.ask();
  for (let i = 0; i < 5000; i++) map.written(G, 512);
  map.answered(question, 0, [8 * G, HOLE]);
  assert.equal(states(map), 'xxxxxxxx');
  map.answered(map.ask(), 0, [8 * G, HOLE]);
  assert.equal(states(map), '........');
});

test('hole-map: a petabyte takes a megabyte', () => {
  const size = 2 ** 50;
  const map = new HoleMap(size);
  map.answered(
    map.ask(),
    0,
    Array.from({ length: 64 }, (_, i) => (i % 2 === 0 ? 2 ** 44 : HOLE)),
  );
  assert.deepEqual(map.extentAt(0, size / 2), { lengthBytes: size / 2, state: 'hole' });
});
