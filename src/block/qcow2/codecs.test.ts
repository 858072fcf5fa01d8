import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { DecodeError } from '#base/mod.ts';
import { blankEntry, decodeEntry, encodeHi, encodeLo, offsetOf } from './entry.ts';
import {
  JOURNAL_HEAD_BYTES,
  RECORD_BYTES,
  RecordKind,
  decodeHalf,
  decodeRecord,
  encodeHalf,
  encodeRecord,
} from './journal-codec.ts';
import { decodeL1, encodeL1 } from './l1-table.ts';
import type { Layout } from './layout.ts';
import { getRefcount, setRefcount } from './refcount-codec.ts';
import { decodeSnapshotTable, encodeSnapshotTable } from './snapshot-table.ts';
import type { SnapshotEntry } from './snapshot-table.ts';
import { WritePlan, maskOf } from './write-plan.ts';

const CLUSTER_BYTES = 64 * 1024;
const hostOffset = fc.nat(2 ** 31 - 1).map((n) => n * CLUSTER_BYTES);
const word = fc.integer({ min: 0, max: 0xffffffff });

function layout(extended: boolean): Layout {
  const clusterBytes = CLUSTER_BYTES;
  return {
    version: 3,
    clusterBits: 16,
    clusterBytes,
    extended,
    subclusters: extended ? 32 : 1,
    subclusterBytes: extended ? clusterBytes / 32 : clusterBytes,
    fullMask: extended ? 0xffffffff : 1,
    entryBytes: extended ? 16 : 8,
    entryWords: extended ? 4 : 2,
    entriesPerTable: clusterBytes / (extended ? 16 : 8),
    sliceBytes: 4096,
    entriesPerSlice: 4096 / (extended ? 16 : 8),
    slicesPerTable: 16,
    refcountOrder: 4,
    refcountBits: 16,
    refcountMax: 65_535,
    entriesPerRefcountBlock: clusterBytes / 2,
    compressionType: 0,
  };
}

test('refcounts of every width: what is set is read, and its neighbours stay', () => {
  for (let order = 0; order <= 6; order++) {
    const bits = 2 ** order;
    const most = bits >= 53 ? Number.MAX_SAFE_INTEGER : 2 ** bits - 1;
    fc.assert(
      fc.property(fc.array(fc.nat(most), { minLength: 8, maxLength: 32 }), (values) => {
        const block = new Uint8Array(256);
        for (const [n, value] of values.entries()) setRefcount(block, n, order, value);
        for (const [n, value] of values.entries()) {
          assert.equal(getRefcount(block, n, order), value);
        }
        assert.equal(getRefcount(block, values.length, order), 0);
      }),
      { seed: 1, numRuns: 50 },
    );
  }
});

test('refcounts: one bit counts from the least significant on (specification)', () => {
  const block = Uint8Array.of(0b0000_0101);
  assert.deepEqual(
    [0, 1, 2, 3].map((n) => getRefcount(block, n, 0)),
    [1, 0, 1, 0],
  );
  assert.equal(getRefcount(Uint8Array.of(0x12, 0x34), 0, 4), 0x1234);
});

test('an L2 entry that we write is read back', () => {
  fc.assert(
    fc.property(hostOffset, fc.boolean(), (host, zero) => {
      const words = Uint32Array.of(encodeHi(host), encodeLo(host, zero));
      const entry = blankEntry();
      assert.equal(decodeEntry(layout(false), words, 0, entry), null);
      assert.deepEqual(
        [entry.host, entry.copied, entry.zero, entry.alloc],
        [host, host !== 0, zero ? 1 : 0, !zero && host !== 0 ? 1 : 0],
      );
    }),
    { seed: 2 },
  );
});

test('a compressed entry: offset below, sectors above (specification)', () => {
  // Clusters of 64 KiB: x = 62 - 8 = 54. Three more sectors, data from byte 0x12345678a on.
  const value = (1n << 62n) | (3n << 54n) | 0x1_2345_678an;
  const words = Uint32Array.of(Number(value >> 32n), Number(value & 0xffffffffn));
  const entry = blankEntry();
  assert.equal(decodeEntry(layout(false), words, 0, entry), null);
  assert.equal(entry.host, 0x1_2345_678a);
  assert.equal(entry.compressedBytes, 4 * 512 - (0x1_2345_678a % 512));
});

test('any words decode to an entry or to a reason', () => {
  const { entryWords } = layout(true);
  fc.assert(
    fc.property(fc.array(word, { minLength: entryWords, maxLength: entryWords }), (words) => {
      const entry = blankEntry();
      for (const extended of [false, true]) {
        const why = decodeEntry(layout(extended), Uint32Array.from(words), 0, entry);
        if (why !== null || entry.compressed) continue;
        assert.equal(entry.host % CLUSTER_BYTES, 0);
        assert.equal(entry.alloc & entry.zero, 0);
      }
    }),
    { seed: 3, numRuns: 20_000 },
  );
});

test('L1 tables go there and back', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(hostOffset, fc.boolean())), (list) => {
      const offsets = Float64Array.from(list.map(([o]) => o));
      const copied = Uint8Array.from(list.map(([o, c]) => (c && o !== 0 ? 1 : 0)));
      assert.deepEqual(decodeL1(encodeL1(offsets, copied)), { offsets, copied });
    }),
    { seed: 4 },
  );
  assert.equal(offsetOf(0x80000001, 0x00010000), 2 ** 32 + 65_536);
});

test('a journal ends where a record is cut, changed, or of another epoch', () => {
  const bytes = new Uint8Array(4 * RECORD_BYTES);
  const view = new DataView(bytes.buffer);
  const put = (n: number, epoch: number): void => {
    const index = 2 ** 33 + n;
    encodeRecord(bytes, view, n * RECORD_BYTES, epoch, RecordKind.ENTRY, index, n, 2, 3, 4);
  };
  put(0, 7);
  put(1, 6);
  const first = decodeRecord(bytes, view, 0, 7);
  assert.deepEqual(first, { kind: 1, index: 2 ** 33, hi: 0, lo: 2, bitmapHi: 3, bitmapLo: 4 });
  assert.equal(decodeRecord(bytes, view, RECORD_BYTES, 7), null);
  assert.equal(decodeRecord(bytes, view, 4 * RECORD_BYTES, 7), null);
  for (let at = 0; at < RECORD_BYTES; at++) {
    bytes[at]! ^= 0x40;
    assert.equal(decodeRecord(bytes, view, 0, 7), null);
    bytes[at]! ^= 0x40;
  }
});

test('half a journal of another boot is not believed', () => {
  const boot = new Uint8Array(16).fill(1);
  const half = encodeHalf(12, boot);
  assert.equal(half.length, JOURNAL_HEAD_BYTES);
  assert.equal(decodeHalf(half, boot), 12);
  assert.equal(decodeHalf(half, new Uint8Array(16).fill(2)), null);
  assert.equal(decodeHalf(half.subarray(0, 100), boot), null);
  assert.equal(decodeHalf(new Uint8Array(JOURNAL_HEAD_BYTES), boot), null);
});

const fields: fc.Arbitrary<SnapshotEntry> = fc.record({
  l1Offset: fc.nat(1000).map((n) => (n + 1) * CLUSTER_BYTES),
  l1Entries: fc.nat(1000),
  id: fc.uint8Array({ maxLength: 10 }),
  name: fc.uint8Array({ maxLength: 40 }),
  seconds: word,
  nanoseconds: word,
  guestClock: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  vmStateBytes: fc.nat(),
  sizeBytes: fc.nat(),
  extraTail: fc.uint8Array({ maxLength: 20 }),
});

const snapshot = fields.map((f) => ({ ...f }));

test('snapshot tables go there and back, and are never read past a cut', () => {
  fc.assert(
    fc.property(fc.array(snapshot, { maxLength: 5 }), (entries) => {
      const bytes = encodeSnapshotTable(entries);
      const decoded = decodeSnapshotTable(bytes, entries.length, CLUSTER_BYTES);
      assert.deepEqual(decoded, { entries, lengthBytes: bytes.length });
    }),
    { seed: 5 },
  );
  const one = fc.sample(snapshot, { seed: 6, numRuns: 1 });
  const bytes = encodeSnapshotTable(one);
  for (let length = 0; length <= bytes.length - 8; length++) {
    const cut = bytes.subarray(0, length);
    assert.throws(() => decodeSnapshotTable(cut, 1, CLUSTER_BYTES), DecodeError);
  }
});

test('a write plan covers the write, whole subclusters where nothing is, and no more', () => {
  const l = layout(true);
  const plan = new WritePlan();
  const range = fc.tuple(fc.nat(127), fc.nat(127)).map(([a, b]) => {
    const [from, to] = a < b ? [a, b] : [b, a];
    return { from: from * 512, to: (to + 1) * 512 };
  });
  fc.assert(
    fc.property(range, word, fc.boolean(), ({ from, to }, alloc, copied) => {
      const entry = { ...blankEntry(), host: CLUSTER_BYTES, copied, alloc, zero: ~alloc >>> 0 };
      plan.plan(l, entry, from, to);
      assert.ok(plan.start <= from && plan.end >= to);
      assert.equal(plan.alloc & plan.zero, 0);
      const first = Math.floor(from / l.subclusterBytes);
      const last = Math.floor((to - 1) / l.subclusterBytes);
      assert.equal(plan.alloc, (alloc | maskOf(first, last)) >>> 0);
      if (plan.moves) {
        assert.ok(!copied);
        return;
      }
      assert.ok(from - plan.start < l.subclusterBytes && plan.end - to < l.subclusterBytes);
      const there = (sub: number): boolean => copied && ((alloc >>> sub) & 1) === 1;
      assert.equal(plan.start, there(first) ? from : first * l.subclusterBytes);
      assert.equal(plan.end, there(last) ? to : (last + 1) * l.subclusterBytes);
    }),
    { seed: 8, numRuns: 2000 },
  );
});
