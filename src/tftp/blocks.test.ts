import assert from 'node:assert/strict';
import { test } from 'node:test';
import { STAGING_BYTES, StreamFrame, WholeFrame, frameWhole, packetBytes } from './blocks.ts';
import type { BlockSource } from './blocks.ts';
import { FrameCache } from './frame-cache.ts';
import { memoryReader, type FileReader } from './reader.ts';

function pattern(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, n) => (n * 7 + (n >> 8)) & 255);
}

/** The packets of a span, cut as the kernel cuts them. */
function packets(source: BlockSource, first: number, count: number, blockBytes: number): Buffer[] {
  const out: Buffer[] = [];
  while (out.length < count) {
    const span = source.at(first + out.length, count - out.length);
    assert.ok(span !== undefined && span.blockCount > 0);
    const step = packetBytes(blockBytes);
    for (let n = 0; n < span.blockCount; n++) {
      const from = span.at + n * step;
      const to = Math.min(from + step, span.at + span.lengthBytes);
      out.push(Buffer.from(span.bytes.slice(from, to)));
    }
  }
  return out;
}

function expected(content: Uint8Array, block: number, blockBytes: number): Buffer {
  const header = Buffer.from([0, 3, (block >> 8) & 255, block & 255]);
  return Buffer.concat([header, content.subarray((block - 1) * blockBytes, block * blockBytes)]);
}

test('whole and streamed frames hold the same packets, at every size around a border', () => {
  const staging = new Uint8Array(STAGING_BYTES);
  for (const blockBytes of [8, 512, 1428, 65_464]) {
    // A chunk of the stream is 64 KiB of blocks: sizes around blocks and around that.
    const chunk = Math.max(1, Math.floor(65_536 / blockBytes)) * blockBytes;
    for (const size of [0, 1, blockBytes - 1, blockBytes, blockBytes + 1, chunk, 2 * chunk + 3]) {
      const content = pattern(size);
      const last = Math.floor(size / blockBytes) + 1;
      const sources = [
        new WholeFrame(frameWhole(content, blockBytes), blockBytes),
        new StreamFrame(memoryReader(content), blockBytes, 1, staging),
      ];
      for (const source of sources) {
        for (const block of new Set([1, Math.ceil(last / 2), last - 1, last])) {
          if (block < 1) continue;
          const [packet] = packets(source, block, 1, blockBytes);
          assert.deepEqual(packet, expected(content, block, blockBytes), `${blockBytes} ${size}`);
        }
      }
    }
  }
});

test('a window across the border of two chunks, sent and sent again', () => {
  const blockBytes = 1000;
  const content = pattern(300_000);
  const source = new StreamFrame(
    memoryReader(content),
    blockBytes,
    16,
    new Uint8Array(STAGING_BYTES),
  );
  for (const first of [1, 60, 60, 65, 58, 120, 286]) {
    const count = Math.min(16, 301 - first + 1);
    const got = packets(source, first, count, blockBytes);
    got.forEach((packet, n) => {
      assert.deepEqual(packet, expected(content, first + n, blockBytes), `block ${first + n}`);
    });
  }
});

test('block numbers on the wire wrap', () => {
  const framed = new WholeFrame(frameWhole(pattern(8 * 65_537), 8), 8);
  const headers = packets(framed, 65_535, 3, 8).map((p) => p.toString('hex', 0, 4));
  assert.deepEqual(headers, ['0003ffff', '00030000', '00030001']);
});

test('cold data is undefined until it was loaded', async () => {
  const content = pattern(200_000);
  const cold: FileReader = {
    ...memoryReader(content),
    readNow: () => -1,
  };
  const source = new StreamFrame(cold, 512, 4, new Uint8Array(STAGING_BYTES));
  assert.equal(source.at(1, 4), undefined);
  await source.load(1);
  assert.deepEqual(packets(source, 1, 1, 512)[0], expected(content, 1, 512));
  assert.equal(source.at(200, 1), undefined);
  await source.load(200);
  assert.deepEqual(packets(source, 200, 1, 512)[0], expected(content, 200, 512));
});

test('a file that became shorter is an error, not wrong data', async () => {
  const content = pattern(1000);
  const shrunk: FileReader = { ...memoryReader(content), sizeBytes: 5000 };
  const source = new StreamFrame(shrunk, 512, 1, new Uint8Array(STAGING_BYTES));
  assert.throws(() => source.at(1, 1), { code: 'file-changed' });
  await assert.rejects(source.load(1), { code: 'file-changed' });
});

test('frames are shared, kept while used, dropped for room, and refused without room', () => {
  const cache = new FrameCache(25_000);
  const [a, b] = [pattern(10_000), pattern(10_001)];
  const first = cache.acquire(a, 512);
  assert.equal(cache.acquire(a, 512)?.frame, first?.frame);
  assert.notEqual(cache.acquire(a, 1024)?.frame, first?.frame);
  // All room is in use.
  assert.equal(cache.acquire(b, 512), undefined);
  const small = new FrameCache(15_000);
  small.acquire(a, 512)?.release();
  assert.ok(small.acquire(b, 512) !== undefined);
  assert.ok(small.heldBytes < 11_000);
  // Tiny blocks would make a frame much larger than the file.
  assert.equal(new FrameCache().acquire(a, 8), undefined);
});
