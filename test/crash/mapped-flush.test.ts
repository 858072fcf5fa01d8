import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { answered, lendForWritingFrom, openRaw } from '#block/mod.ts';
import { ScatterBuffer } from '#os/mod.ts';
import { need } from '../lab/need.ts';
import { run } from '../lab/process.ts';
import { LoopDevice, SmallDisk } from './fault-rig.ts';

const MIB = 1024 * 1024;
const BACKING_BYTES = 64 * MIB;
const IMAGE_BYTES = 4 * MIB;
/** Pages that are written by address; more than one run of ext4's journal credits. */
const PAGES = 512;
const PAGE_BYTES = 4096;

/** Mounts the ext4 in a file; returns where. */
async function mounted(t: TestContext, backing: string, at: string): Promise<SmallDisk> {
  mkdirSync(at);
  const loop = await LoopDevice.attach(backing);
  t.after(() => loop.detach());
  const disk = await SmallDisk.mountDevice(at, loop.path);
  t.after(() => disk.close());
  return disk;
}

/**
 * Durability contract 3 and 4 for blocks that are written by their address in a mapping: what a
 * flush has answered is in what lies below the file system. The copy is what a power cut would
 * have left.
 */
test('a flush covers what was written by address', async (t) => {
  const tools = ['unshare', 'losetup', 'mount', 'mkfs.ext4'];
  if (!need(t, { root: true, tools })) return;
  const folder = await mkdtemp(join(tmpdir(), 'polyboot-flush-'));
  t.after(() => rm(folder, { recursive: true }));
  const backing = join(folder, 'backing');
  writeFileSync(backing, '');
  truncateSync(backing, BACKING_BYTES);
  await run('mkfs.ext4', ['-q', '-F', backing]);
  const disk = await mounted(t, backing, join(folder, 'before'));
  const path = join(disk.path, 'disk.raw');
  writeFileSync(path, Buffer.alloc(IMAGE_BYTES, 0x11));
  const device = await openRaw(path);
  const buffer = ScatterBuffer.open(PAGES * PAGE_BYTES);
  assert.ok(buffer !== null);
  for (const generation of [0x22, 0x33]) {
    buffer.bytes.fill(generation);
    for (let page = 0; page < PAGES; page++) {
      const offset = 2 * page * PAGE_BYTES;
      let address = 0;
      // What is used often is lent; asked for until it is.
      for (let n = 0; n < 4096 && address === 0; n++) {
        address = lendForWritingFrom(device, offset, PAGE_BYTES);
      }
      assert.ok(address !== 0, `page ${page} is not lent`);
      assert.ok(buffer.add(page * PAGE_BYTES, PAGE_BYTES, address));
    }
    assert.equal(buffer.store(), PAGES * PAGE_BYTES);
    await answered((done) => device.flush(done));
    const copy = join(folder, `copy-${generation}`);
    copyFileSync(backing, copy);
    const after = await mounted(t, copy, join(folder, `after-${generation}`));
    const found = readFileSync(join(after.path, 'disk.raw'));
    for (let page = 0; page < 2 * PAGES; page++) {
      const expected = page % 2 === 0 ? generation : 0x11;
      const bytes = found.subarray(page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
      assert.ok(bytes.equals(Buffer.alloc(PAGE_BYTES, expected)), `page ${page}`);
    }
  }
  buffer.close();
  await answered((done) => device.close(done));
});
