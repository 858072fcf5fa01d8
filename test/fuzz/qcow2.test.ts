/**
 * Hostile case 34: images with damaged headers and tables. Whatever the bytes say, the answer is
 * data, or an error of one of our families; work is bounded, and nothing but the image's own
 * clusters is written.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { before, suite, test } from 'node:test';
import { DecodeError, EnvironmentError, InternalError, UserError } from '#base/mod.ts';
import {
  BlockError,
  MemoryDevice,
  checkQcow2On,
  createQcow2,
  openQcow2,
  openQcow2On,
} from '#block/mod.ts';
import type { BlockDone, Qcow2CreateOptions, Qcow2Device } from '#block/mod.ts';
import { decodeHeader } from '#block/qcow2/header.ts';
import { decodeSnapshotTable } from '#block/qcow2/snapshot-table.ts';
import { zstdFrameBytes } from '#block/qcow2/zstd-frame.ts';
import { MemoryFile } from './qcow2-memory-file.ts';

const KIB = 1024;
const SIZE_BYTES = 512 * KIB;
const NIGHTLY = process.env['POLYBOOT_NIGHTLY'] === '1';
const CASES_PER_IMAGE = NIGHTLY ? 20_000 : 300;

/** A small generator of numbers: the same cases in every run. */
class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed * 2654435761 + 1;
  }

  below(limit: number): number {
    let x = (this.#state = (this.#state + 0x6d2b79f5) | 0);
    x = Math.imul(x ^ (x >>> 15), x | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) % limit;
  }

  of<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }
}

function asked(start: (done: BlockDone) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    start((error) => (error === null ? resolve() : reject(error)));
  });
}

/** Throws when an error is not one that a damaged image may cause. */
function judge(e: unknown): void {
  for (let at: unknown = e; at instanceof Error; at = at.cause) {
    const ours =
      at instanceof BlockError ||
      at instanceof UserError ||
      at instanceof DecodeError ||
      at instanceof EnvironmentError;
    if (!ours || at instanceof InternalError) throw e;
  }
}

const SHAPES: readonly (Omit<Qcow2CreateOptions, 'sizeBytes'> & { overlay?: boolean })[] = [
  { clusterBytes: 4 * KIB },
  { clusterBytes: 512, refcountBits: 1 },
  { clusterBytes: 16 * KIB, extendedL2: true, overlay: true },
  { clusterBytes: 4 * KIB, compat: '0.10', overlay: true },
  { clusterBytes: 64 * KIB, refcountBits: 64 },
];

/** An image with data, holes, zeros, snapshots. */
async function seedImage(folder: string, shape: (typeof SHAPES)[number]): Promise<Buffer> {
  const { overlay = false, ...options } = shape;
  const path = join(folder, 'seed.qcow2');
  rmSync(path, { force: true });
  const named = overlay ? { backing: { file: '/etc/shadow', format: 'raw' as const } } : {};
  await createQcow2(path, { sizeBytes: SIZE_BYTES, ...named, ...options });
  const device = await openQcow2(path, { backing: overlay ? base() : null });
  const write = (at: number, length: number): Promise<void> =>
    asked((done) => {
      device.write(at, Buffer.alloc(length, 0x5a), 0, length, done);
    });
  await write(0, 40 * KIB);
  if (options.refcountBits !== 1) await device.createSnapshot('first');
  await write(16 * KIB, 8 * KIB);
  await asked((done) => {
    device.discard(0, 16 * KIB, done);
  });
  if (options.refcountBits !== 1) await device.createSnapshot('second');
  await write(200 * KIB, 512);
  await asked((done) => {
    device.close(done);
  });
  return readFileSync(path);
}

function base(): MemoryDevice {
  return new MemoryDevice({ sizeBytes: SIZE_BYTES / 2 });
}

/** Numbers that break things: sizes, alignments, sign bits, offsets of other structures. */
const WORDS: readonly number[] = [
  0, 1, 2, 3, 7, 8, 9, 16, 22, 63, 64, 255, 511, 512, 513, 1024, 4096, 4097, 8192, 65_536,
  0x7fffffff, 0x80000000, 0x80001000, 0x40000000, 0x7fffff00, 0xffffffff, 0xfffffe00, 0x00ffffff,
  0x01000000,
];

/** Changes a few bytes, most of them where structures are. */
function damage(bytes: Buffer, dice: Dice): void {
  const clusterBytes = 2 ** bytes.readUInt32BE(20);
  const places = [
    () => dice.below(120),
    () => Number(bytes.readBigUInt64BE(40)) + dice.below(8) * 8,
    () => Number(bytes.readBigUInt64BE(48)) + dice.below(4) * 8,
    () => Number(bytes.readBigUInt64BE(64)) + dice.below(120),
    () => dice.below(Math.floor(bytes.length / clusterBytes)) * clusterBytes + dice.below(256),
    () => dice.below(bytes.length),
  ];
  for (let n = 1 + dice.below(5); n > 0; n--) {
    const at = Math.min(dice.of(places)(), bytes.length - 8) & ~(dice.below(4) === 0 ? 0 : 3);
    if (dice.below(3) === 0) bytes[at] = dice.below(256);
    else bytes.writeUInt32BE(dice.of(WORDS), at);
    if (dice.below(6) === 0) bytes.writeUInt32BE(dice.of(WORDS), at + 4);
  }
}

/** Does to the disk what a client and an owner do. */
async function use(device: Qcow2Device, dice: Dice): Promise<void> {
  const buffer = Buffer.alloc(64 * KIB, 0x77);
  const steps: (() => Promise<unknown>)[] = [
    () => asked((done) => device.write(4 * KIB, buffer, 0, 512, done)),
    () => asked((done) => device.write(100 * KIB, buffer, 0, 20 * KIB, done)),
    () => asked((done) => device.discard(8 * KIB, 64 * KIB, done)),
    () => asked((done) => device.writeZeroes(20 * KIB, 3 * KIB, done)),
    () => asked((done) => device.flush(done)),
    () => device.createSnapshot('third'),
    () => device.applySnapshot(device.snapshots()[0]?.id ?? '1'),
    () => device.deleteSnapshot(device.snapshots()[0]?.id ?? '1'),
    () => asked((done) => device.grow(device.sizeBytes + 64 * KIB, done)),
  ];
  const limit = Math.min(device.sizeBytes, SIZE_BYTES);
  for (let at = 0; at + 16 * KIB <= limit; at += 16 * KIB) {
    await attempt(async () => {
      if (device.tryRead(at, buffer, 0, 16 * KIB)) return;
      await asked((done) => device.read(at, buffer, 0, 16 * KIB, done));
    });
  }
  if (limit < SIZE_BYTES) return;
  for (let n = 0; n < 4; n++) {
    // A damaged snapshot can make the disk smaller.
    if (device.sizeBytes >= SIZE_BYTES) await attempt(dice.of(steps));
  }
  await attempt(() => Promise.resolve(device.extentAt(0, device.sizeBytes)));
}

async function attempt(step: () => Promise<unknown>): Promise<void> {
  try {
    await step();
  } catch (e) {
    judge(e);
  }
}

suite('hostile case 34: damaged qcow2 images', () => {
  const seeds: Buffer[] = [];
  before(async () => {
    const folder = mkdtempSync(join(tmpdir(), 'polyboot-fuzz-'));
    for (const shape of SHAPES) seeds.push(await seedImage(folder, shape));
    rmSync(folder, { recursive: true });
  });

  for (const [n, shape] of SHAPES.entries()) {
    test(`engine, ${JSON.stringify(shape)}`, async () => {
      for (let seed = 0; seed < CASES_PER_IMAGE; seed++) {
        const dice = new Dice(seed * 31 + n);
        const bytes = Buffer.from(seeds[n]!);
        damage(bytes, dice);
        const file = new MemoryFile(bytes);
        const keep = process.env['POLYBOOT_FUZZ_KEEP'];
        try {
          await attempt(async () => {
            const backing = shape.overlay === true ? base() : null;
            const readOnly = dice.below(4) === 0;
            const device = await openQcow2On(file, 'hostile', { backing, readOnly });
            await use(device, dice);
            await attempt(() => asked((done) => device.close(done)));
          });
          file.readBytes = 0;
          await attempt(() => checkQcow2On(file, 'hostile'));
          file.readBytes = 0;
          await attempt(() => checkQcow2On(file, 'hostile', { repair: 'all' }));
        } catch (cause) {
          if (keep !== undefined) writeFileSync(keep, bytes);
          throw new Error(`seed ${seed}: ${String(cause)}`, { cause });
        }
      }
    });
  }

  test('the header and the snapshot table decode or say why, cut anywhere and changed', () => {
    for (const seed of seeds) {
      for (let length = 0; length < 256; length++) {
        decodes(() => decodeHeader(seed.subarray(0, length), seed.length));
      }
      const dice = new Dice(9);
      for (let round = 0; round < 20_000; round++) {
        const bytes = Buffer.from(seed.subarray(0, 4096));
        damage(bytes, dice);
        const header = decodes(() => decodeHeader(bytes, seed.length));
        if (header === undefined || round % 8 !== 0) continue;
        const at = Number(seed.readBigUInt64BE(64));
        const table = Buffer.from(seed.subarray(at, at + 512));
        for (let n = 0; n < 3; n++) table.writeUInt8(dice.below(256), dice.below(table.length));
        decodes(() => decodeSnapshotTable(table, 1 + dice.below(4), 4 * KIB));
      }
    }
  });

  test('the length of a zstd frame is found or not, in any bytes', () => {
    const dice = new Dice(5);
    for (let round = 0; round < 100_000; round++) {
      const bytes = Buffer.alloc(dice.below(40));
      for (let n = 0; n < bytes.length; n++) bytes[n] = dice.below(256);
      if (bytes.length >= 4) bytes.writeUInt32LE(0xfd2fb528, 0);
      const length = zstdFrameBytes(bytes);
      assert.ok(length === null || (length >= 6 && length <= bytes.length));
    }
  });
});

function decodes<T>(step: () => T): T | undefined {
  try {
    return step();
  } catch (e) {
    assert.ok(e instanceof DecodeError, String(e));
    return undefined;
  }
}
