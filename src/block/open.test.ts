import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { FakeClock, UserError } from '#base/mod.ts';
import { BasePool } from './base-pool.ts';
import { BlockError } from './device.ts';
import type { BlockDevice } from './device.ts';
import { CounterDevice } from './filter/counter.ts';
import { DelayDevice } from './filter/delay.ts';
import { MemoryDevice } from './memory.ts';
import { CHAIN_LEVELS_MAX, frozenFile, openDisk } from './open.ts';
import type { DiskSource, RawSource } from './open.ts';
import { createQcow2 } from './qcow2/mod.ts';

const MIB = 1024 * 1024;

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'polyboot-open-'));
  t.after(() => {
    rmSync(path, { recursive: true, force: true });
  });
  return path;
}

/** A base of 1 MiB full of sevens, and where overlays of it go. */
function withBase(t: TestContext): { home: string; base: RawSource } {
  const home = folder(t);
  const path = join(home, 'base.img');
  writeFileSync(path, Buffer.alloc(MIB, 7));
  return { home, base: { kind: 'raw', path } };
}

async function overlay(home: string, name: string, backing: DiskSource): Promise<DiskSource> {
  const path = join(home, name);
  const written = { file: 'never-read', format: 'raw' } as const;
  await createQcow2(path, { sizeBytes: MIB, backing: written });
  return { kind: 'qcow2', path, backing };
}

function ask(start: (done: (e: BlockError | null) => void) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    start((error) => {
      if (error === null) resolve();
      else reject(error);
    });
  });
}

const close = (device: BlockDevice): Promise<void> => ask((done) => device.close(done));

async function byteAt(device: BlockDevice, offset: number): Promise<number | undefined> {
  const into = Buffer.alloc(512);
  if (!device.tryRead(offset, into, 0, 512)) {
    await ask((done) => device.read(offset, into, 0, 512, done));
  }
  return into[0];
}

async function write(device: BlockDevice, offset: number, fill: number): Promise<void> {
  const from = Buffer.alloc(512, fill);
  if (device.tryWrite(offset, from, 0, 512)) return;
  await ask((done) => device.write(offset, from, 0, 512, done));
}

const code = (wanted: string) => (e: unknown) => e instanceof UserError && e.code === wanted;

test('open_overlays share one open base, which closes with the last of them', async (t) => {
  const { home, base } = withBase(t);
  const pool = new BasePool();
  const sources = [await overlay(home, 'a', base), await overlay(home, 'b', base)];
  const [a, b] = await Promise.all(sources.map((s) => openDisk(s, {}, pool)));
  assert.ok(a !== undefined && b !== undefined);
  assert.equal(pool.size, 1);
  await write(a, 0, 1);
  assert.deepEqual([await byteAt(a, 0), await byteAt(b, 0), await byteAt(a, 4096)], [1, 7, 7]);
  await assert.rejects(openDisk(base, {}, pool), code('image-in-use'));
  await close(a);
  assert.equal(await byteAt(b, 8192), 7);
  await close(b);
  assert.equal(pool.size, 0);
  const writer = await openDisk(base, {}, pool);
  assert.equal(pool.size, 0, 'what is written to is not shared');
  await close(writer);
});

test('open_read-only disks are shared too, and refuse to be written', async (t) => {
  const { base } = withBase(t);
  const pool = new BasePool();
  const two = [await openDisk(base, { readOnly: true }, pool)];
  two.push(await openDisk(base, { readOnly: true }, pool));
  assert.equal(pool.size, 1);
  for (const disk of two) {
    assert.throws(
      () => disk.tryWrite(0, Buffer.alloc(512), 0, 512),
      (e) => e instanceof BlockError && e.kind === 'read-only',
    );
  }
  const other = await openDisk({ ...base, blockBytes: 2048 }, { readOnly: true }, pool);
  assert.deepEqual([pool.size, other.blockBytes], [2, 2048]);
  await Promise.all([...two, other].map(close));
  assert.equal(pool.size, 0);
});

test('open_frozen: a base that is not what was frozen is refused, in words (hostile case 36)', async (t) => {
  const { home, base } = withBase(t);
  const pool = new BasePool();
  const frozen = await frozenFile(base.path);
  const sealed: RawSource = { ...base, frozen };
  const disk = await overlay(home, 'a', sealed);
  const first = await openDisk(disk, {}, pool);
  const changes: readonly (readonly [() => void, RegExp])[] = [
    [() => utimesSync(base.path, 1, 1), /last changed at 1970-01-01T00:00:01/],
    [() => writeFileSync(base.path, Buffer.alloc(2 * MIB)), /has 2097152 bytes and had 1048576/],
    [
      () => {
        rmSync(base.path);
        writeFileSync(`${base.path}.new`, Buffer.alloc(MIB));
        writeFileSync(base.path, Buffer.alloc(MIB));
      },
      /another file of that name|last changed/,
    ],
  ];
  for (const [change, why] of changes) {
    change();
    // Also while another disk has the base open already.
    await assert.rejects(openDisk(disk, {}, pool), (e) => {
      assert.ok(e instanceof UserError && e.code === 'base-changed', String(e));
      assert.match(e.message, why);
      return true;
    });
  }
  await close(first);
  assert.equal(pool.size, 0);
  await assert.rejects(openDisk(sealed, { readOnly: true }, pool), code('base-changed'));
  await assert.rejects(frozenFile(home), code('freeze-kind'));
  await assert.rejects(frozenFile(join(home, 'no')), code('image-missing'));
});

test('open_chain: too long, or one that meets itself, is refused (hostile case 35)', async (t) => {
  const { home, base } = withBase(t);
  const pool = new BasePool();
  let chain: DiskSource = base;
  for (let i = 1; i < CHAIN_LEVELS_MAX; i++) chain = await overlay(home, `level${i}`, chain);
  const longest = await openDisk(chain, {}, pool);
  assert.equal(await byteAt(longest, 512), 7);
  assert.equal(pool.size, CHAIN_LEVELS_MAX - 1);
  await close(longest);
  assert.equal(pool.size, 0);
  await assert.rejects(openDisk(await overlay(home, 'more', chain), {}, pool), code('chain-long'));
  const a = await overlay(home, 'a', base);
  symlinkSync(a.kind === 'qcow2' ? a.path : '', join(home, 'same'));
  const loop: DiskSource = { kind: 'qcow2', path: join(home, 'same'), backing: a };
  await assert.rejects(openDisk(loop, {}, pool), code('chain-loop'));
  const ring = { kind: 'qcow2', path: join(home, 'a') } as { backing?: DiskSource };
  ring.backing = ring as DiskSource;
  await assert.rejects(openDisk(ring as DiskSource, {}, pool), code('chain-loop'));
});

test('open_missing: whatever of a chain cannot be opened leaves nothing open', async (t) => {
  const { home, base } = withBase(t);
  const pool = new BasePool();
  const disk = await overlay(home, 'a', base);
  assert.ok(disk.kind === 'qcow2');
  await assert.rejects(openDisk({ kind: 'qcow2', path: disk.path }, {}, pool), UserError);
  writeFileSync(join(home, 'junk'), Buffer.alloc(MIB));
  const junk: DiskSource = { kind: 'qcow2', path: join(home, 'junk'), backing: base };
  await assert.rejects(openDisk(junk, {}, pool), UserError);
  const nowhere: DiskSource = { kind: 'raw', path: join(home, 'no') };
  await assert.rejects(openDisk({ ...disk, backing: nowhere }, {}, pool), code('image-missing'));
  assert.equal(pool.size, 0);
  const writer = await openDisk(base, {}, pool);
  await assert.rejects(openDisk(disk, {}, pool), code('image-in-use'), 'raw and overlay (case 43)');
  assert.equal(pool.size, 0);
  await close(writer);
});

test('open_volatile: a flush does nothing, by declared policy; growing still works', async (t) => {
  const { base } = withBase(t);
  const disk = await openDisk(base, { volatile: true }, new BasePool());
  await write(disk, 0, 1);
  await ask((done) => disk.flush(done));
  assert.ok(disk.grow !== undefined);
  await ask((done) => disk.grow?.(2 * MIB, done));
  assert.equal(disk.sizeBytes, 2 * MIB);
  await close(disk);
  await assert.rejects(
    ask((done) => disk.flush(done)),
    (e) => e instanceof BlockError && e.kind === 'gone',
  );
});

test('pool: openers that come together wait for one opening, and all hear why it failed', async () => {
  const pool = new BasePool();
  let openings = 0;
  const fails = (): Promise<BlockDevice> => {
    openings += 1;
    return Promise.reject(new UserError('not-found', 'x', { what: 'x' }));
  };
  const results = await Promise.allSettled([pool.acquire('k', fails), pool.acquire('k', fails)]);
  assert.deepEqual([results.map((r) => r.status), openings], [['rejected', 'rejected'], 1]);
  assert.equal(pool.size, 0);
});

test('pool: letting go waits for the reads of that holder, and for no others', async () => {
  const clock = new FakeClock();
  const memory = new MemoryDevice({ sizeBytes: MIB, readOnly: true });
  const below = new CounterDevice(new DelayDevice(memory, clock, { readMs: 10 }));
  const pool = new BasePool();
  const open = (): Promise<BlockDevice> => Promise.resolve(below);
  const [a, b] = [await pool.acquire('k', open), await pool.acquire('k', open)];
  const order: string[] = [];
  const note = (what: string) => (): void => {
    order.push(what);
  };
  const into = Buffer.alloc(512);
  const reading = ask((done) => a.read(0, into, 0, 512, done)).then(note('a read'));
  const closings = [close(b).then(note('b closed')), close(a).then(note('a closed'))];
  await closings[0];
  assert.deepEqual(order, ['b closed']);
  assert.throws(() => a.tryRead(0, into, 0, 512), BlockError);
  clock.advance(10);
  await Promise.all([reading, ...closings]);
  assert.deepEqual(order, ['b closed', 'a read', 'a closed']);
  await close(a);
});
