/** Images that change, and disks that are full, behind writes that are stored together. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  statSync,
  statfsSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { punchHole } from '#os/mod.ts';
import { need } from '../lab/need.ts';
import { LENT_DISK_BYTES, OLD, Segment, allGood, answers, blocks } from './lent-rig.ts';
import { lendsForWriting, lentRig, watchStores } from './lent-rig.ts';
import type { LentRig, LentRigOptions } from './lent-rig.ts';
import { BLOCK_BYTES, readWrite } from './raw-initiator.ts';
import type { RawInitiator } from './raw-initiator.ts';

const MIB = 1024 * 1024;
const GOOD = 0;
const CHECK_CONDITION = 2;
const DATA_PROTECT = 7;
/** SPACE ALLOCATION FAILED WRITE PROTECT (SBC-3 §4.7.3.6). */
const SPACE_ALLOCATION_FAILED = [0x27, 0x07];

function blockOf(r: LentRig, lba: number, count = 1, disk = 0): Buffer {
  return r.disks[disk]!.content().subarray(lba * BLOCK_BYTES, (lba + count) * BLOCK_BYTES);
}

/** Writes of 8 blocks in one segment; their statuses, in order. */
async function statuses(peer: RawInitiator, writes: readonly [lba: number, mark: number][]) {
  const s = new Segment(peer);
  for (const [lba, mark] of writes) s.write(lba, blocks(8, mark));
  s.send();
  const done = await answers(peer, s.tags);
  return s.tags.map((tag) => done.get(tag)!);
}

for (const parent of [tmpdir(), '/dev/shm']) {
  test(`hostile case 36: an image is cut short between two segments of writes (${parent})`, async (t) => {
    if (!(await lendsForWriting(t, parent))) return;
    const r = await lentRig(t, { parent, disks: 2 });
    const other = await r.enter({ initiator: 'iqn.2026-11.test:other' });
    const peer = await r.enter();
    const calls = watchStores(t);
    const image = r.disks[0]!.path;
    const near: [number, number][] = [0, 8, 16].map((lba) => [lba, 1 + lba]);
    const far: [number, number][] = [4000, 8000, 4008].map((lba) => [lba, lba & 255]);
    for (let round = 0; round < 6; round++) {
      truncateSync(image, LENT_DISK_BYTES);
      truncateSync(image, 64 * 1024);
      const mixed = [near[0]!, far[0]!, near[1]!, far[1]!, near[2]!, far[2]!];
      const results = await statuses(peer, mixed);
      // The pages are gone, so the call that stores them says; a plain write makes the file longer.
      assert.deepEqual(
        results.map((result) => result.status),
        mixed.map(() => GOOD),
      );
      assert.equal(statSync(image).size, 8008 * BLOCK_BYTES, 'as long as the last write needs');
      for (const [lba, mark] of mixed) assert.ok(blockOf(r, lba, 8).equals(blocks(8, mark)));
      assert.equal(blockOf(r, 4016)[0], 0, 'what was cut off is not there again');
      // Nobody else noticed.
      const s = new Segment(other);
      for (let n = 0; n < 16; n++) s.write(n, blocks(1, 1 + round * 16 + n), { lun: 1 });
      s.read(0, 16, { lun: 1 });
      s.read(0, 8);
      s.send();
      const done = await allGood(other, s.tags);
      assert.ok(done.get(s.tags.at(-2)!)?.data.equals(blockOf(r, 0, 16, 1)));
      assert.ok(done.get(s.tags.at(-1)!)?.data.equals(blocks(8, near[0]![1])));
    }
    assert.ok(
      calls.some((call) => call.pieces > 1 && !call.whole),
      'pages that had gone were found by the call',
    );
    assert.ok(calls.some((call) => call.whole));
  });

  test(`hostile case 36: an image is emptied and filled while writes come (${parent})`, async (t) => {
    if (!(await lendsForWriting(t, parent))) return;
    const r = await lentRig(t, { parent });
    const peer = await r.enter();
    const calls = watchStores(t);
    const image = r.disks[0]!.path;
    for (let round = 0; round < 60; round++) {
      const s = new Segment(peer);
      for (let n = 0; n < 48; n++) s.write((n * 167) % 8000, blocks(1 + (n % 8), 1 + (n % 250)));
      s.send();
      truncateSync(image, round % 3 === 0 ? 0 : (round * 4096 * 13) % LENT_DISK_BYTES);
      await allGood(peer, s.tags);
    }
    truncateSync(image, LENT_DISK_BYTES);
    const last = await statuses(peer, [
      [0, 7],
      [8000, 8],
    ]);
    assert.deepEqual(
      last.map((result) => result.status),
      [GOOD, GOOD],
    );
    assert.ok(blockOf(r, 0, 8).equals(blocks(8, 7)));
    assert.ok(blockOf(r, 8000, 8).equals(blocks(8, 8)));
    assert.ok(calls.some((call) => !call.whole) && calls.some((call) => call.whole));
  });
}

/** A file system of 16 MiB in memory, with an image of 32 MiB of which the first 8 have data. */
function smallDisk(t: TestContext): LentRigOptions | undefined {
  if (!need(t, { root: true, tools: ['mount'] })) return undefined;
  const root = mkdtempSync(join(tmpdir(), 'polyboot-small-'));
  const parent = join(root, 'disk');
  mkdirSync(parent);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=16m', 'tmpfs', parent]);
  const image = join(parent, 'disk.img');
  writeFileSync(image, Buffer.alloc(8 * MIB, OLD));
  truncateSync(image, 32 * MIB);
  const ended = (): void => {
    // The map of the image is taken apart in the background.
    execFileSync('umount', ['--lazy', parent]);
    rmSync(root, { recursive: true, force: true });
  };
  return { parent, images: [image], warmBytes: 4 * MIB, ended };
}

/** Leaves nothing free. */
function fillUp(folder: string): string {
  const { bavail, bsize } = statfsSync(folder);
  const path = join(folder, 'ballast');
  writeFileSync(path, Buffer.alloc(bavail * bsize, 'b'));
  assert.equal(statfsSync(folder).bavail, 0);
  return path;
}

test('hostile case 37: writes to holes of an image on a full disk fail, those beside them do not', async (t) => {
  const disk = smallDisk(t);
  if (disk === undefined) return;
  const r = await lentRig(t, disk);
  const peer = await r.enter();
  const calls = watchStores(t);
  const hole = (12 * MIB) / BLOCK_BYTES;
  const ballast = fillUp(disk.parent);
  const results = await statuses(peer, [
    [0, 1],
    [8, 2],
    [hole, 3],
    [16, 4],
    [hole + 8, 5],
    [24, 6],
  ]);
  assert.deepEqual(
    results.map((result) => result.status),
    [GOOD, GOOD, CHECK_CONDITION, GOOD, CHECK_CONDITION, GOOD],
  );
  for (const n of [2, 4]) full(results[n]!.sense);
  assert.deepEqual(
    [0, 8, 16, 24].map((lba) => blockOf(r, lba)[0]),
    [1, 2, 4, 6],
  );
  assert.equal(blockOf(r, hole)[0], 0);
  assert.ok(calls.some((call) => call.pieces > 1) && calls.every((call) => call.whole));
  rmSync(ballast);
  const again = await statuses(peer, [
    [hole, 3],
    [0, 9],
  ]);
  assert.deepEqual(
    again.map((result) => result.status),
    [GOOD, GOOD],
    'it works once there is space',
  );
  assert.ok(blockOf(r, hole, 8).equals(blocks(8, 3)));
});

test('hostile case 37: pages that somebody else gave back, on a disk that is full by then', async (t) => {
  const disk = smallDisk(t);
  if (disk === undefined) return;
  const r = await lentRig(t, disk);
  const peer = await r.enter();
  const calls = watchStores(t);
  // Known as resident still; storing there must allocate, and cannot.
  const fd = openSync(r.disks[0]!.path, 'r+');
  punchHole(fd, MIB, MIB);
  closeSync(fd);
  fillUp(disk.parent);
  const gone = MIB / BLOCK_BYTES;
  const results = await statuses(peer, [
    [0, 1],
    [gone + 16, 2],
    [8, 3],
    [gone, 4],
    [16, 5],
  ]);
  assert.deepEqual(
    results.map((result) => result.status),
    [GOOD, CHECK_CONDITION, GOOD, CHECK_CONDITION, GOOD],
  );
  for (const n of [1, 3]) full(results[n]!.sense);
  assert.ok(
    calls.some((call) => !call.whole),
    'the call that stores them found it',
  );
  assert.deepEqual(
    [0, 8, 16, gone, gone + 16].map((lba) => blockOf(r, lba)[0]),
    [1, 3, 5, 0, 0],
  );
  const tag = peer.issue(readWrite('read', 0, 8), {
    read: true,
    expectedLengthBytes: 8 * BLOCK_BYTES,
  });
  assert.equal((await peer.result(tag)).data[0], 1);
});

function full(sense: Uint8Array): void {
  assert.equal(sense[2]! & 15, DATA_PROTECT);
  assert.deepEqual([...sense.subarray(12, 14)], SPACE_ALLOCATION_FAILED);
}
