import assert from 'node:assert/strict';
import { truncateSync, writeFileSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import type { TestContext } from 'node:test';
import { createQcow2 } from '#block/mod.ts';
import { need } from '../lab/need.ts';
import { Running } from '../lab/process.ts';
import { cdb10 } from '../sim/cdb.ts';
import { BLOCK_BYTES, readStamp, writeStamp } from '../sim/stamp.ts';
import { LoopDevice, SmallDisk } from './fault-rig.ts';
import { TARGET_IQN } from './target.ts';
import type { TargetDisk } from './target.ts';
import { WireInitiator } from './wire-initiator.ts';
import type { WireAnswer } from './wire-initiator.ts';

/**
 * Real faults below the target, made by the kernel: a full file system, and a block device whose
 * reads and flushes fail (durability contract 4, hostile cases 37 and 38). What the initiator is
 * told, what stays whole, and what goes on when the fault is gone.
 */
const NEEDS = { root: true, tools: ['unshare', 'losetup', 'blockdev', 'mount'] } as const;
const MIB = 1024 * 1024;
const DISK_BYTES = 4 * MIB;
const DISK_BLOCKS = DISK_BYTES / BLOCK_BYTES;
/** Blocks of one write: 32 KiB. */
const RUN = 64;

const WRITE = 0x2a;
const FUA = 0x08;
const NO_SPACE = '7/27/07';
const WRITE_ERROR = '3/0c/00';
const READ_ERROR = '3/11/00';
const FAILED = '4/44/00';

type Kind = 'raw' | 'qcow2';
const KINDS: readonly Kind[] = ['raw', 'qcow2'];

type Served = { readonly initiator: WireInitiator; readonly stop: () => Promise<void> };

async function serve(t: TestContext, disks: readonly TargetDisk[]): Promise<Served> {
  const program = new URL('target.ts', import.meta.url).pathname;
  const target = new Running(process.execPath, [program, JSON.stringify({ disks })]);
  const stop = async (): Promise<void> => {
    await target.stop('SIGKILL');
  };
  t.after(stop);
  const port = Number((await target.waitFor(/ready (\d+) /))[1]);
  return { initiator: await WireInitiator.login(port, TARGET_IQN, 'one', disks.length), stop };
}

/** An empty folder, and one that is `sizeBytes` large. */
async function places(
  t: TestContext,
  sizeBytes: number,
): Promise<{ large: string; small: string }> {
  const large = await mkdtemp(join(tmpdir(), 'polyboot-faults-'));
  t.after(() => rm(large, { recursive: true }));
  await mkdir(join(large, 'small'));
  const disk = await SmallDisk.mount(join(large, 'small'), sizeBytes);
  t.after(() => disk.close());
  return { large, small: disk.path };
}

function sparse(path: string, lengthBytes: number): string {
  writeFileSync(path, '');
  truncateSync(path, lengthBytes);
  return path;
}

const raw = (path: string): TargetDisk => ({ source: { kind: 'raw', path }, cache: 'writeback' });
const qcow2 = (path: string): TargetDisk => ({
  source: { kind: 'qcow2', path },
  cache: 'writeback',
});

/** A disk of 4 MiB in the file `at`, which takes space only as it is written. */
async function sparseDisk(kind: Kind, at: string): Promise<TargetDisk> {
  if (kind === 'raw') return raw(sparse(at, DISK_BYTES));
  await createQcow2(at, { sizeBytes: DISK_BYTES });
  return qcow2(at);
}

/** A disk of 4 MiB on a block device; a qcow2 image can lie on one too. */
async function deviceDisk(kind: Kind, device: string, folder: string): Promise<TargetDisk> {
  if (kind === 'raw') return raw(device);
  const image = join(folder, 'image.qcow2');
  await createQcow2(image, { sizeBytes: DISK_BYTES });
  await writeFile(device, await readFile(image), { flag: 'r+' });
  return qcow2(device);
}

/** Writes one run of stamped blocks. */
function write(at: WireInitiator, lun: number, lba: number, generation: number, flags = 0) {
  const out = Buffer.alloc(RUN * BLOCK_BYTES);
  for (let i = 0; i < RUN; i++) writeStamp(out, i * BLOCK_BYTES, { tag: lba + i, generation });
  const cdb = cdb10(WRITE, flags, lba, RUN);
  return at.run(lun, { name: 'WRITE', cdb, out, inBytes: 0 });
}

function read(at: WireInitiator, lun: number, lba: number): Promise<WireAnswer> {
  const cdb = cdb10(0x28, 0, lba, RUN);
  return at.run(lun, { name: 'READ', cdb, out: null, inBytes: RUN * BLOCK_BYTES });
}

/** Throws unless the run of blocks at `lba` holds what `write` wrote with this generation. */
async function holds(at: WireInitiator, lun: number, lba: number, generation: number) {
  const { status, sense, data } = await read(at, lun, lba);
  assert.equal(status, 0, `READ of ${lba}: ${sense}`);
  for (let i = 0; i < RUN; i++) {
    assert.deepEqual(readStamp(data, i * BLOCK_BYTES), { tag: lba + i, generation });
  }
}

function simple(at: WireInitiator, lun: number, opcode: number): Promise<WireAnswer> {
  const cdb = cdb10(opcode, 0, 0, 0);
  return at.run(lun, { name: `opcode ${opcode}`, cdb, out: null, inBytes: 0 });
}

const sync = (at: WireInitiator, lun: number): Promise<WireAnswer> => simple(at, lun, 0x35);

/** INFORMATION of fixed-format sense data: it must be valid, and within the run at `lba`. */
function assertInformation({ raw: bytes }: WireAnswer, lba: number): void {
  assert.equal(bytes[0], 0xf0);
  const information = bytes.readUInt32BE(3);
  assert.ok(information >= lba && information < lba + RUN, `${information} in ${lba} + ${RUN}`);
}

async function fillsUp(t: TestContext, kind: Kind): Promise<void> {
  const { large, small } = await places(t, 3 * MIB);
  writeFileSync(join(small, 'ballast'), Buffer.alloc(MIB));
  const full = await sparseDisk(kind, join(small, 'disk'));
  const beside = raw(sparse(join(large, 'disk.raw'), DISK_BYTES));
  const { initiator } = await serve(t, [full, beside]);
  let lba = 0;
  let answer = await write(initiator, 0, lba, 1);
  for (; answer.status === 0; answer = await write(initiator, 0, lba, 1)) lba += RUN;
  assert.ok(lba >= RUN && lba < DISK_BLOCKS, 'some of it found room');
  assert.equal(answer.sense, NO_SPACE);
  assertInformation(answer, lba);
  // With FUA and as WRITE SAME it is the same; a flush has nothing to complain about.
  assert.equal((await write(initiator, 0, DISK_BLOCKS - RUN, 1, FUA)).sense, NO_SPACE);
  const block = Buffer.alloc(BLOCK_BYTES, 7);
  const same = cdb10(0x41, 0, DISK_BLOCKS - RUN, RUN);
  const filled = await initiator.run(0, { name: 'SAME', cdb: same, out: block, inBytes: 0 });
  assert.equal(filled.sense, NO_SPACE);
  assert.equal((await sync(initiator, 0)).status, 0);
  for (let at = 0; at < lba; at += RUN) await holds(initiator, 0, at, 1);
  // What has its space can be written over, and the disk beside knows nothing of all this.
  assert.equal((await write(initiator, 0, 0, 2)).status, 0);
  await holds(initiator, 0, 0, 2);
  assert.equal((await write(initiator, 1, lba, 3, FUA)).status, 0);
  await holds(initiator, 1, lba, 3);
  await rm(join(small, 'ballast'));
  assert.equal((await write(initiator, 0, lba, 4, FUA)).status, 0);
  await holds(initiator, 0, lba, 4);
  await holds(initiator, 0, 0, 2);
}

async function flushFails(t: TestContext, kind: Kind): Promise<void> {
  const { large, small } = await places(t, 3 * MIB);
  // A disk that claims more than there is: writes fail when the kernel brings them there.
  const file = sparse(join(small, 'backing'), 2 * DISK_BYTES);
  writeFileSync(join(small, 'ballast'), Buffer.alloc(MIB));
  const loop = await LoopDevice.attach(file);
  t.after(() => loop.detach());
  const beside = raw(sparse(join(large, 'disk.raw'), DISK_BYTES));
  const disks = [await deviceDisk(kind, loop.path, large), beside];
  const first = await serve(t, disks);
  const { initiator } = first;
  assert.equal((await write(initiator, 0, 0, 1, FUA)).status, 0);
  for (let lba = 0; lba < DISK_BLOCKS; lba += RUN) {
    assert.equal((await write(initiator, 0, lba, 2)).status, 0, 'the page cache takes all');
  }
  assert.equal((await sync(initiator, 0)).sense, WRITE_ERROR);
  // The kernel would say that the next fdatasync succeeded (it counts the lost pages as clean).
  await rm(join(small, 'ballast'));
  for (let again = 0; again < 3; again++) {
    assert.equal((await sync(initiator, 0)).sense, FAILED);
    assert.equal((await write(initiator, 0, 0, 3)).sense, FAILED);
    assert.equal((await write(initiator, 0, 0, 3, FUA)).sense, FAILED);
    assert.equal((await read(initiator, 0, 0)).sense, FAILED);
    assert.equal((await simple(initiator, 0, 0x00)).sense, FAILED);
  }
  assert.equal((await write(initiator, 1, 0, 3, FUA)).status, 0);
  await holds(initiator, 1, 0, 3);
  await first.stop();
  // What the page cache shows of the lost pages is not on the disk.
  await loop.dropCache();
  const { initiator: next } = await serve(t, disks);
  const kept = await read(next, 0, 0);
  const generation = readStamp(kept.data, 0)?.generation ?? 0;
  assert.ok(generation === 1 || generation === 2, 'what was flushed, or what came after it');
  assert.equal((await write(next, 0, 0, 4, FUA)).status, 0);
  await holds(next, 0, 0, 4);
}

suite('faults of the kernel', () => {
  for (const kind of KINDS) {
    test(`ENOSPC, ${kind}: told so, nothing else is harmed, it goes on with space`, async (t) => {
      if (need(t, NEEDS)) await fillsUp(t, kind);
    });
    test(`a flush that fails, ${kind}: the disk ends until it is opened again`, async (t) => {
      if (need(t, NEEDS)) await flushFails(t, kind);
    });
  }

  test('EIO on a read: MEDIUM ERROR with the LBA, and the rest can be read', async (t) => {
    if (!need(t, NEEDS)) return;
    const { small } = await places(t, 8 * MIB);
    const file = sparse(join(small, 'backing'), 4 * MIB);
    const loop = await LoopDevice.attach(file);
    t.after(() => loop.detach());
    const before = await serve(t, [raw(loop.path)]);
    for (let lba = 0; lba < DISK_BLOCKS; lba += RUN) await write(before.initiator, 0, lba, 1);
    assert.equal((await sync(before.initiator, 0)).status, 0);
    const half = DISK_BLOCKS / 2;
    truncateSync(file, half * BLOCK_BYTES);
    await loop.dropCache();
    // One that never saw these blocks in memory: what was lent a moment ago ends the connection.
    await before.stop();
    const { initiator } = await serve(t, [raw(loop.path)]);
    const bad = await read(initiator, 0, half + RUN);
    assert.equal(bad.sense, READ_ERROR);
    assertInformation(bad, half + RUN);
    for (let lba = 0; lba < half; lba += RUN) await holds(initiator, 0, lba, 1);
    assert.equal((await read(initiator, 0, half + RUN)).sense, READ_ERROR);
    assert.equal((await write(initiator, 0, 0, 2, FUA)).status, 0);
    await holds(initiator, 0, 0, 2);
    // The bad place can be written anew, as on a disk that remaps it.
    assert.equal((await write(initiator, 0, half + RUN, 2, FUA)).status, 0);
    await holds(initiator, 0, half + RUN, 2);
  });
});
