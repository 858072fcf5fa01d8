import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeClock, InternalError } from '#base/mod.ts';
import { BlockError } from '../device.ts';
import type { BlockDevice } from '../device.ts';
import { CounterDevice } from '../filter/counter.ts';
import { FilterDevice } from '../filter/base.ts';
import { DelayDevice } from '../filter/delay.ts';
import { ErrorDevice } from '../filter/error.ts';
import { MemoryDevice } from '../memory.ts';
import { ABSENT, BlockTable } from './block-table.ts';
import { CachedDevice } from './cached-device.ts';
import { CACHE_BLOCK_BYTES, HotBlocks } from './hot-blocks.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

/** A disk whose every 512 bytes say where they are. */
function numbered(sizeBytes: number): MemoryDevice {
  const bytes = Buffer.alloc(sizeBytes);
  for (let at = 0; at < sizeBytes; at += 512) bytes.writeUInt32LE(at / 512 + 1, at);
  const device = new MemoryDevice({ sizeBytes, readOnly: true });
  device.load(bytes);
  return device;
}

function isNumbered(bytes: Buffer, offset: number): boolean {
  for (let at = 0; at < bytes.length; at += 512) {
    if (bytes.readUInt32LE(at) !== (offset + at) / 512 + 1) return false;
  }
  return true;
}

function read(device: BlockDevice, offset: number, length: number): Promise<Buffer> {
  const into = Buffer.alloc(length);
  if (device.tryRead(offset, into, 0, length)) return Promise.resolve(into);
  return new Promise((resolve, reject) => {
    device.read(offset, into, 0, length, (error) => {
      if (error === null) resolve(into);
      else reject(error);
    });
  });
}

/** A slow disk that counts, and the cache in front of it. */
function slow(sizeBytes: number, cacheBytes: number) {
  const clock = new FakeClock();
  const below = new CounterDevice(new DelayDevice(numbered(sizeBytes), clock, { readMs: 10 }));
  const hot = new HotBlocks(cacheBytes);
  return { clock, below, hot, device: new CachedDevice(below, hot) };
}

test('cache: what can be written is refused', () => {
  const device = new MemoryDevice({ sizeBytes: MIB });
  assert.throws(() => new CachedDevice(device, new HotBlocks(MIB)), InternalError);
});

test('cache_storm: a hundred readers of the same bytes cost one read of each block', async () => {
  const { clock, below, device } = slow(4 * MIB, 8 * MIB);
  const reads: Promise<Buffer>[] = [];
  for (let reader = 0; reader < 100; reader++) {
    const shift = (reader % 7) * 512; // not all of them begin at the same byte
    for (let at = shift; at + 64 * KIB <= 4 * MIB; at += 64 * KIB) {
      reads.push(read(device, at, 64 * KIB).then((b) => (assert.ok(isNumbered(b, at)), b)));
    }
    if (reader % 10 === 5) clock.advance(3);
  }
  clock.advance(1000);
  await Promise.all(reads);
  assert.equal(below.readBytes, 4 * MIB);
  const again = await read(device, 0, 256 * KIB);
  assert.ok(isNumbered(again, 0));
  assert.equal(below.readBytes, 4 * MIB);
});

test('cache_stream: one machine that reads a large disk does not flush what many read', async () => {
  const { clock, below, device } = slow(64 * MIB, 4 * MIB);
  const go = async (offset: number, length: number): Promise<void> => {
    const reading = read(device, offset, length);
    clock.advance(10);
    assert.ok(isNumbered(await reading, offset));
  };
  for (let round = 0; round < 3; round++) {
    for (let at = 0; at < 2 * MIB; at += 16 * KIB) await go(at, 16 * KIB);
  }
  for (let at = 8 * MIB; at < 64 * MIB; at += 4 * KIB) await go(at, 4 * KIB);
  for (let at = 8 * MIB; at < 9 * MIB; at += 512) await go(at, 512); // as DOS does it
  const before = below.readBytes;
  for (let at = 0; at < 2 * MIB; at += 16 * KIB) await go(at, 16 * KIB);
  assert.equal(below.readBytes - before, 0, 'all of it was still there');
});

test('cache_ghost: a block that comes back after it had to leave stays', async () => {
  const { clock, below, device } = slow(64 * MIB, MIB);
  const go = async (offset: number): Promise<void> => {
    const reading = read(device, offset, CACHE_BLOCK_BYTES);
    clock.advance(10);
    await reading;
  };
  for (let at = 0; at < 2 * MIB; at += 4 * KIB) await go(at); // the first of it has left
  await go(MIB + 512 * KIB);
  for (let at = 2 * MIB; at < 2 * MIB + 512 * KIB; at += 4 * KIB) await go(at);
  const before = below.readBytes;
  await go(MIB + 512 * KIB);
  assert.equal(below.readBytes, before);
});

test('cache_bounds: memory never exceeds what was allowed, and goes to other disks', async () => {
  const hot = new HotBlocks(MIB);
  const disks = Array.from({ length: 4 }, () => new CachedDevice(numbered(4 * MIB), hot));
  for (let round = 0; round < 2; round++) {
    for (const disk of disks) {
      for (let at = 0; at < 4 * MIB; at += 32 * KIB) {
        assert.ok(isNumbered(await read(disk, at, 32 * KIB), at));
      }
    }
  }
  assert.equal(hot.bytes, MIB);
  assert.equal(hot.size, MIB / CACHE_BLOCK_BYTES);
  for (const disk of disks) {
    await new Promise<void>((resolve) => {
      disk.close(() => {
        resolve();
      });
    });
    assert.throws(() => disk.tryRead(0, Buffer.alloc(512), 0, 512), BlockError);
  }
  assert.equal(hot.size, 0);
  const next = new CachedDevice(numbered(2 * MIB), hot);
  for (let at = 0; at < 2 * MIB; at += 4096) await read(next, at, 4096);
  assert.equal(hot.bytes, MIB);
});

test('cache_large: long reads go past it', async () => {
  const { clock, hot, device } = slow(4 * MIB, 8 * MIB);
  const reading = read(device, 0, MIB);
  clock.advance(10);
  assert.ok(isNumbered(await reading, 0));
  assert.equal(hot.size, 0);
});

test('cache_error: a bad sector fails those who asked for it and nobody else', async () => {
  const clock = new FakeClock();
  const bad = 64 * KIB + 1024;
  const faulty = new ErrorDevice(numbered(MIB), (_operation, offset, length) =>
    offset <= bad && bad < offset + length ? 'io' : null,
  );
  const delayed = new DelayDevice(faulty, clock, { readMs: 1 });
  const device = new CachedDevice(delayed, new HotBlocks(MIB));
  const settled = Promise.allSettled([
    read(device, 64 * KIB, 512), // the same block of the cache, another sector
    read(device, bad, 512),
    read(device, 60 * KIB, 8 * KIB),
    read(device, 32 * KIB, 4 * KIB),
  ]);
  clock.advance(1);
  await Promise.resolve();
  clock.advance(1);
  const results = await settled;
  assert.deepEqual(
    results.map((r) => r.status),
    ['fulfilled', 'rejected', 'rejected', 'fulfilled'],
  );
  const [, , whole] = results;
  assert.ok(whole?.status === 'rejected' && whole.reason instanceof BlockError);
});

test('cache_random: whatever is asked in whatever order, the bytes are right', async () => {
  const size = 2 * MIB + 1536; // the last block is a short one
  const clock = new FakeClock();
  const delayed = new DelayDevice(numbered(size), clock, { readMs: 5 });
  const device = new CachedDevice(delayed, new HotBlocks(256 * KIB));
  let seed = 3;
  const random = (n: number): number => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    return (seed >>> 8) % n;
  };
  const reads: Promise<void>[] = [];
  for (let i = 0; i < 5000; i++) {
    const offset = random(size / 512) * 512;
    const length = Math.min(1 + random(random(8) === 0 ? 600 : 20), (size - offset) / 512) * 512;
    reads.push(read(device, offset, length).then((b) => assert.ok(isNumbered(b, offset))));
    if (random(3) === 0) clock.advance(random(7));
    if (random(10) === 0) await Promise.resolve();
  }
  clock.advance(100);
  await Promise.resolve();
  clock.advance(100);
  await Promise.all(reads);
});

test('cache_rescan: a short last block that is on its way while the disk grows is not kept', async () => {
  class Growing extends FilterDevice {
    size = 4 * KIB + 512;
    override get sizeBytes(): number {
      return this.size;
    }
  }
  const clock = new FakeClock();
  const below = new Growing(new DelayDevice(numbered(8 * KIB), clock, { readMs: 10 }));
  const device = new CachedDevice(below, new HotBlocks(256 * KIB));
  const before = read(device, 4 * KIB, 512);
  const grown = new Promise((resolve) => {
    device.rescan(resolve);
    below.size = 8 * KIB;
  });
  assert.equal(await grown, null);
  const joined = read(device, 4 * KIB, 4 * KIB);
  clock.advance(10);
  assert.ok(isNumbered(await before, 4 * KIB));
  assert.ok(isNumbered(await joined, 4 * KIB), 'who comes meanwhile gets all of it');
  const after = read(device, 6 * KIB, 512);
  clock.advance(10);
  assert.ok(isNumbered(await after, 6 * KIB));
});

test('block-table: leaves come and go with what they hold', () => {
  const table = new BlockTable();
  assert.equal(table.get(2 ** 40), ABSENT);
  table.set(2 ** 30, 5);
  table.set(2 ** 30 + 1, 6);
  table.set(7, ABSENT);
  assert.equal(table.get(2 ** 30), 5);
  assert.equal(table.leaves, 1);
  table.set(2 ** 30, -7);
  const seen: number[] = [];
  table.forEach((block, value) => {
    seen.push(block - 2 ** 30, value);
  });
  assert.deepEqual(seen, [0, -7, 1, 6]);
  table.set(2 ** 30, ABSENT);
  table.set(2 ** 30, ABSENT);
  table.set(2 ** 30 + 1, ABSENT);
  assert.equal(table.leaves, 0);
});
