import assert from 'node:assert/strict';
import { closeSync, ftruncateSync, openSync, readSync } from 'node:fs';
import { test, type TestContext } from 'node:test';
import * as fc from 'fast-check';
import { FileMap, MAP_PAGE_BYTES } from './file-map.ts';
import { addressOf } from './libc.ts';
import { mappedFile } from './testing/mapped-file.ts';
import { SCATTER_GAP_BYTES_MAX, ScatterBuffer } from './scatter-buffer.ts';

const BUFFER_BYTES = 64 * 1024;
/** IOV_MAX is 1,024, and a piece takes two. */
const PIECES_MAX = 512;
const PAGE = MAP_PAGE_BYTES;

/** One whose every byte tells its place, for a test. */
function scatter(t: TestContext, lengthBytes = BUFFER_BYTES): ScatterBuffer {
  const buffer = ScatterBuffer.open(lengthBytes);
  assert.ok(buffer !== null);
  t.after(() => {
    buffer.close();
  });
  for (let n = 0; n < lengthBytes; n++) buffer.bytes[n] = (n * 7 + (n >>> 8)) & 255;
  return buffer;
}

/** A file whose map may be written to. */
function mapped(t: TestContext, parent: string, bytes: number): { fd: number; map: FileMap } {
  return mappedFile(t, parent, Buffer.alloc(bytes, 0x11), true);
}

function content(fd: number, bytes: number): Buffer {
  const into = Buffer.alloc(bytes);
  assert.equal(readSync(fd, into, 0, bytes, 0), bytes);
  return into;
}

test('pieces land where they should, and what lies between them nowhere', (t) => {
  const from = scatter(t);
  const into = Buffer.alloc(BUFFER_BYTES, 0xee);
  const address = addressOf(into);
  assert.ok(from.add(100, 512, address + 5000));
  assert.ok(from.add(612, 1, address + 0));
  assert.ok(from.add(661, 4096, address + 20_000));
  assert.ok(from.add(4757 + SCATTER_GAP_BYTES_MAX, 3, address + 9000));
  assert.equal(from.count, 4);
  assert.ok(
    into.every((byte) => byte === 0xee),
    'nothing before `store`',
  );
  assert.equal(from.store(), 4757 + SCATTER_GAP_BYTES_MAX + 3);
  assert.equal(from.count, 0);
  const expected = Buffer.alloc(BUFFER_BYTES, 0xee);
  from.bytes.copy(expected, 5000, 100, 612);
  from.bytes.copy(expected, 0, 612, 613);
  from.bytes.copy(expected, 20_000, 661, 4757);
  from.bytes.copy(expected, 9000, 4757 + SCATTER_GAP_BYTES_MAX, 4760 + SCATTER_GAP_BYTES_MAX);
  assert.ok(into.equals(expected));
});

test('where pieces overlap the later one wins, in one call and over two', (t) => {
  const from = scatter(t);
  from.bytes.fill(1, 0, 512).fill(2, 512, 1024).fill(3, 1024, 1536);
  const into = Buffer.alloc(1024);
  const address = addressOf(into);
  assert.ok(from.add(0, 512, address));
  assert.ok(from.add(512, 512, address + 256));
  assert.equal(from.store(), 1024);
  const mix = [Buffer.alloc(256, 1), Buffer.alloc(512, 2), Buffer.alloc(256)];
  assert.ok(into.equals(Buffer.concat(mix)));
  assert.ok(from.add(512, 512, address));
  assert.ok(from.add(1024, 512, address));
  from.store();
  assert.ok(into.subarray(0, 512).every((byte) => byte === 3));
  assert.ok(from.add(0, 512, address), 'after `store` any place is the first');
  from.store();
  assert.ok(into.subarray(0, 512).every((byte) => byte === 1));
});

test('`add` takes no piece backwards, behind a long gap, or outside; `store` opens the way', (t) => {
  const from = scatter(t);
  const into = Buffer.alloc(BUFFER_BYTES);
  const address = addressOf(into);
  assert.ok(!from.add(-1, 10, address));
  assert.ok(!from.add(BUFFER_BYTES - 9, 10, address));
  assert.ok(!from.add(0, BUFFER_BYTES + 1, address));
  assert.equal(from.count, 0);
  assert.ok(from.add(10_000, 100, address));
  assert.ok(!from.add(10_099, 10, address), 'it begins within the last');
  assert.ok(!from.add(0, 10, address));
  assert.ok(!from.add(10_101 + SCATTER_GAP_BYTES_MAX, 10, address));
  assert.ok(!from.add(10_100, BUFFER_BYTES, address));
  assert.equal(from.count, 1, 'what was refused left no trace');
  assert.ok(from.add(10_100 + SCATTER_GAP_BYTES_MAX, 10, address + 100));
  assert.equal(from.store(), 10_110 + SCATTER_GAP_BYTES_MAX);
  assert.ok(into.subarray(0, 100).equals(from.bytes.subarray(10_000, 10_100)));
  assert.ok(from.add(0, 10, address));
  assert.equal(from.store(), 10);
  assert.ok(from.add(BUFFER_BYTES - 10, 10, address), 'up to the very end');
  assert.equal(from.store(), BUFFER_BYTES);
});

test('`add` takes as many pieces as one system call does, and they all arrive', (t) => {
  const from = scatter(t);
  const into = Buffer.alloc(BUFFER_BYTES);
  const address = addressOf(into);
  for (let n = 0; n < PIECES_MAX; n++) assert.ok(from.add(n * 100, 64, address + n * 64));
  assert.equal(from.count, PIECES_MAX);
  assert.ok(!from.add(PIECES_MAX * 100, 64, address));
  assert.equal(from.store(), (PIECES_MAX - 1) * 100 + 64);
  for (let n = 0; n < PIECES_MAX; n++) {
    const piece = into.subarray(n * 64, n * 64 + 64);
    assert.ok(piece.equals(from.bytes.subarray(n * 100, n * 100 + 64)), `piece ${n}`);
  }
  assert.ok(from.add(0, 64, address));
});

test('pieces of no length, and a `store` of nothing', (t) => {
  const from = scatter(t);
  const into = Buffer.alloc(64, 0xee);
  const address = addressOf(into);
  from.store();
  assert.equal(from.count, 0);
  assert.ok(from.add(500, 0, address));
  assert.equal(from.store(), 500);
  assert.ok(from.add(500, 0, address));
  assert.ok(from.add(500, 8, address + 8));
  assert.ok(from.add(508, 0, address));
  assert.equal(from.store(), 508);
  assert.ok(into.subarray(0, 8).every((byte) => byte === 0xee));
  assert.ok(into.subarray(8, 16).equals(from.bytes.subarray(500, 508)));
  assert.ok(from.add(BUFFER_BYTES, 0, address));
  assert.equal(from.store(), BUFFER_BYTES);
});

for (const parent of [process.cwd(), '/dev/shm']) {
  const where = parent === '/dev/shm' ? parent : 'the file system of here';
  test(`what is stored in a map is in the file (${where})`, (t) => {
    const { fd, map } = mapped(t, parent, 8 * PAGE);
    const from = scatter(t);
    assert.ok(from.add(48, 512, map.address + PAGE + 512));
    assert.ok(from.add(608, 2 * PAGE, map.address + 3 * PAGE));
    from.store();
    const expected = Buffer.alloc(8 * PAGE, 0x11);
    from.bytes.copy(expected, PAGE + 512, 48, 560);
    from.bytes.copy(expected, 3 * PAGE, 608, 608 + 2 * PAGE);
    assert.ok(content(fd, 8 * PAGE).equals(expected));
  });

  test(`a page that has gone: told by the result, no signal (${where})`, (t) => {
    const { fd, map } = mapped(t, parent, 8 * PAGE);
    const from = scatter(t);
    ftruncateSync(fd, 4 * PAGE);
    const ends: number[] = [];
    for (let n = 0; n < 6; n++) {
      // The fourth goes beyond the end of the file now, the others do not.
      const page = n === 3 ? 6 : n % 4;
      assert.ok(from.add(n * 1000, 512, map.address + page * PAGE + n * 512));
      ends.push(n * 1000 + 512);
    }
    const to = from.store();
    assert.ok(to >= ends[2]! && to < ends[3]!, `stored to ${to}`);
    const expected = Buffer.alloc(4 * PAGE, 0x11);
    for (const n of [0, 1, 2]) from.bytes.copy(expected, n * PAGE + n * 512, n * 1000, ends[n]);
    assert.ok(content(fd, 4 * PAGE).equals(expected), 'what comes before it is stored, no more');
    assert.ok(from.add(0, 512, map.address + 5 * PAGE));
    assert.equal(from.store(), 0, 'the first of all');
    assert.ok(from.add(77, PAGE, map.address + 3 * PAGE + 2048));
    const half = from.store();
    assert.ok(half >= 77 && half < 77 + PAGE, 'a piece over the end counts as not stored');
    assert.ok(from.add(0, 512, map.address), 'and it goes on');
    assert.equal(from.store(), 512);
    assert.ok(content(fd, 512).equals(from.bytes.subarray(0, 512)));
  });
}

test('a map that is not to be written to takes nothing', (t) => {
  const { fd } = mapped(t, '/dev/shm', PAGE);
  const readable = FileMap.open(fd, PAGE);
  assert.ok(readable !== null);
  const from = scatter(t);
  assert.ok(from.add(0, 512, readable.address));
  assert.equal(from.store(), 0);
  assert.ok(content(fd, PAGE).every((byte) => byte === 0x11));
  readable.close();
});

test('after `close` nothing is taken; the memory is given back and may still be touched', (t) => {
  const from = scatter(t);
  const into = Buffer.alloc(64, 0xee);
  assert.ok(from.add(0, 64, addressOf(into)));
  from.store();
  from.close();
  from.close();
  assert.ok(!from.add(0, 64, addressOf(into)));
  assert.equal(from.count, 0);
  assert.ok(from.bytes.every((byte) => byte === 0));
  // A socket that lingers may still receive into it.
  from.bytes.fill(5);
  assert.equal(from.bytes[BUFFER_BYTES - 1], 5);
});

test('many are opened and closed: no descriptor is left', () => {
  const before = openSync('/dev/null', 'r');
  closeSync(before);
  for (let n = 0; n < 200; n++) ScatterBuffer.open(4096)?.close();
  const after = openSync('/dev/null', 'r');
  closeSync(after);
  assert.equal(after, before);
});

test('any pieces: the same as a plain copy of each', (t) => {
  const from = scatter(t);
  const into = Buffer.alloc(BUFFER_BYTES);
  const address = addressOf(into);
  const piece = fc.record({
    gap: fc.integer({ min: -64, max: 5000 }),
    length: fc.integer({ min: 0, max: 3000 }),
    to: fc.nat(BUFFER_BYTES - 3000),
  });
  const round = fc.record({ start: fc.nat(BUFFER_BYTES), pieces: fc.array(piece) });
  fc.assert(
    fc.property(fc.array(round, { maxLength: 5 }), (rounds) => {
      const model = Buffer.from(into);
      for (const { start, pieces } of rounds) {
        let at = start;
        let end = -1;
        for (const { gap, length, to } of pieces) {
          const begin = end < 0 ? at : at + gap;
          const inside = begin >= 0 && begin + length <= BUFFER_BYTES;
          const follows = end < 0 || (gap >= 0 && gap <= SCATTER_GAP_BYTES_MAX);
          assert.equal(from.add(begin, length, address + to), inside && follows);
          if (!inside || !follows) continue;
          from.bytes.copy(model, to, begin, begin + length);
          at = end = begin + length;
        }
        assert.ok(end < 0 || from.store() === end);
      }
      assert.ok(into.equals(model));
    }),
    { numRuns: 1000, seed: 20261122 },
  );
});
