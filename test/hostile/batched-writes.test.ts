/** Writes that arrive together are stored together: nobody can tell the difference. */
import assert from 'node:assert/strict';
import { tmpdir } from 'node:os';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { RawDevice } from '#block/raw.ts';
import { Opcode, TaskFunction, TaskResponse, decodeLogoutResponse } from '#iscsi/pdu/mod.ts';
import { decodeTaskManagementResponse, encodeLogoutRequest } from '#iscsi/pdu/mod.ts';
import { encodeLoginRequest, encodeScsiCommand, opcodeOf } from '#iscsi/pdu/mod.ts';
import type { KeyValue } from '#iscsi/text.ts';
import { LENT_DISK_BYTES, OLD, Segment, allGood, answers, blocks } from './lent-rig.ts';
import { lendsForWriting, lentRig, turns, watchStores } from './lent-rig.ts';
import type { LentRig } from './lent-rig.ts';
import {
  BLOCK_BYTES,
  USUAL_KEYS,
  loginRequest,
  readWrite,
  taskManagement,
} from './raw-initiator.ts';
import type { RawInitiator } from './raw-initiator.ts';
import { TARGET, until } from './rig.ts';

const FOLDERS = [tmpdir(), '/dev/shm'];
const GOOD = 0;
/** Task attribute (RFC 7143 §11.3.1). */
const ORDERED = 2;
const CHECK_CONDITION = 2;
const MISCOMPARE = 14;
const FUA = 0x08;
const DISK_BLOCKS = LENT_DISK_BYTES / BLOCK_BYTES;
const DIGESTS: readonly KeyValue[] = [
  ['HeaderDigest', 'CRC32C'],
  ['DataDigest', 'CRC32C'],
];

/** A test on a disk's file system and one in memory; each must lend for writing. */
function onBoth(name: string, body: (t: TestContext, parent: string) => Promise<void>): void {
  for (const parent of FOLDERS) {
    test(`${name} (${parent})`, async (t) => {
      if (await lendsForWriting(t, parent)) await body(t, parent);
    });
  }
}

/** A block of the disk as the file system has it. */
function blockOf(r: LentRig, lba: number, count = 1): Buffer {
  return r.disks[0]!.content().subarray(lba * BLOCK_BYTES, (lba + count) * BLOCK_BYTES);
}

function compareAndWrite(lba: number, verify: Uint8Array, write: Uint8Array) {
  const bytes = [lba >>> 24, lba >>> 16, lba >>> 8, lba].map((b) => b & 255);
  const cdb = [0x89, 0, 0, 0, 0, 0, ...bytes, 0, 0, 0, verify.length / BLOCK_BYTES, 0, 0];
  const data = Buffer.concat([verify, write]);
  return { cdb, more: { write: true, expectedLengthBytes: data.length, data } } as const;
}

onBoth('a read in the midst of writes sees what came before it', async (t, parent) => {
  const r = await lentRig(t, { parent });
  const peer = await r.enter();
  const calls = watchStores(t);
  const s = new Segment(peer);
  const expected = new Map<number, Buffer>();
  const current = blocks(64, OLD);
  for (let mark = 1; mark <= 40; mark++) {
    const lba = (mark * 5) % 56;
    const data = blocks(1 + (mark % 8), mark);
    s.write(1000 + lba, data);
    data.copy(current, lba * BLOCK_BYTES);
    expected.set(s.read(1000, 64), Buffer.from(current));
  }
  s.send();
  const done = await allGood(peer, s.tags);
  for (const [tag, data] of expected) assert.ok(done.get(tag)?.data.equals(data), `read ${tag}`);
  assert.ok(blockOf(r, 1000, 64).equals(current));
  // One may have been cut by the end of what was received at once.
  assert.ok(calls.length >= 36, `${calls.length} calls: each before the read behind it`);
  assert.ok(calls.every((call) => call.whole));
});

onBoth('writes of one segment that overlap: the last one wins', async (t, parent) => {
  const r = await lentRig(t, { parent });
  const peer = await r.enter();
  const calls = watchStores(t);
  const model = blocks(128, OLD);
  for (let round = 0; round < 20; round++) {
    const s = new Segment(peer);
    for (let n = 0; n < 24; n++) {
      const lba = (n * 7 + round) % 100;
      const data = blocks(1 + ((n * 5 + round) % 27), 1 + ((round * 24 + n) % 250));
      s.write(2000 + lba, data);
      data.copy(model, lba * BLOCK_BYTES);
    }
    s.send();
    await allGood(peer, s.tags);
    assert.ok(blockOf(r, 2000, 128).equals(model), `round ${round}`);
  }
  assert.ok(calls.every((call) => call.whole));
  assert.ok(
    calls.some((call) => call.pieces >= 4),
    'many at a time',
  );
  const pieces = calls.reduce((sum, call) => sum + call.pieces, 0);
  assert.ok(pieces >= 20 * 24, `${pieces} pieces`);
});

test('a write with FUA, and a flush behind writes, come after the data', async (t) => {
  const r = await lentRig(t, { parent: '/dev/shm' });
  const peer = await r.enter();
  const story: string[] = [];
  const calls = watchStores(t, () => story.push('store'));
  // oxlint-disable-next-line typescript/unbound-method -- because it is called with its `this`
  const { flush } = RawDevice.prototype;
  t.mock.method(RawDevice.prototype, 'flush', function (this: RawDevice, done: () => void): void {
    // What a crash would leave if it came right behind this flush.
    story.push(`flush ${blockOf(r, 10)[0]} ${blockOf(r, 20)[0]}`);
    flush.call(this, done);
  });
  const s = new Segment(peer);
  s.write(10, blocks(1, 1));
  const fua = s.command([0x2a, FUA, ...readWrite('write', 20, 1).slice(2)], {
    write: true,
    expectedLengthBytes: BLOCK_BYTES,
    data: blocks(1, 2),
  });
  s.write(10, blocks(1, 3));
  s.command([0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  s.write(20, blocks(1, 4));
  s.send();
  const done = await allGood(peer, s.tags);
  assert.ok(done.has(fua));
  assert.deepEqual(story, ['store', 'flush 3 2', 'flush 3 2', 'store']);
  assert.deepEqual(
    calls.map((call) => call.pieces),
    [3, 1],
  );
  assert.deepEqual([blockOf(r, 10)[0], blockOf(r, 20)[0]], [3, 4]);
});

onBoth('COMPARE AND WRITE compares with the write right before it', async (t, parent) => {
  const r = await lentRig(t, { parent });
  const peer = await r.enter();
  const calls = watchStores(t);
  const s = new Segment(peer);
  const expected: number[] = [];
  for (let n = 0; n < 10; n++) {
    const lba = 300 + n;
    s.write(lba, blocks(1, 10 + n));
    expected.push(GOOD);
    const swap = compareAndWrite(lba, blocks(1, 10 + n), blocks(1, 100 + n));
    s.command(swap.cdb, swap.more);
    expected.push(GOOD);
    const stale = compareAndWrite(lba, blocks(1, OLD), blocks(1, 200));
    s.command(stale.cdb, stale.more);
    expected.push(CHECK_CONDITION);
  }
  s.send();
  const done = await answers(peer, s.tags);
  assert.deepEqual(
    s.tags.map((tag) => done.get(tag)?.status),
    expected,
  );
  for (const [n, tag] of s.tags.entries()) {
    if (expected[n] === CHECK_CONDITION) assert.equal(done.get(tag)!.sense[2]! & 15, MISCOMPARE);
  }
  const now = blockOf(r, 300, 10);
  for (let n = 0; n < 10; n++) assert.equal(now[n * BLOCK_BYTES], 100 + n);
  assert.ok(calls.length > 0 && calls.every((call) => call.whole));
});

onBoth('aborts behind writes in one segment: done by then, or never', async (t, parent) => {
  const r = await lentRig(t, { parent });
  const other = await r.enter({ initiator: 'iqn.2026-11.test:other' });
  const peer = await r.enter();
  const calls = watchStores(t);
  const s = new Segment(peer);
  for (let n = 0; n < 16; n++) s.write(n * 8, blocks(8, 1 + n));
  const whole = s.tags.at(-1)!;
  s.add(taskManagement(peer, TaskFunction.ABORT_TASK, whole));
  // Half of its data never comes.
  const half = s.command(readWrite('write', 500, 8), {
    write: true,
    expectedLengthBytes: 8 * BLOCK_BYTES,
    data: blocks(4, 0x77),
  });
  s.add(taskManagement(peer, TaskFunction.ABORT_TASK, half));
  s.read(500, 8);
  s.send();
  const responses: number[] = [];
  const tags = s.tags.filter((tag) => tag !== half);
  const done = await answers(peer, tags, (pdu) => {
    if (opcodeOf(pdu) === Opcode.R2T) return;
    assert.equal(opcodeOf(pdu), Opcode.TASK_MANAGEMENT_RESPONSE);
    responses.push(decodeTaskManagementResponse(pdu).response);
  });
  assert.deepEqual(responses, [TaskResponse.TASK_DOES_NOT_EXIST, TaskResponse.FUNCTION_COMPLETE]);
  for (const result of done.values()) assert.equal(result.status, GOOD);
  const expected = Buffer.concat([blocks(4, 0x77), blocks(4, OLD)]);
  assert.ok(done.get(s.tags.at(-1)!)?.data.equals(expected), 'what came of it was stored');
  for (let n = 0; n < 16; n++) assert.ok(blockOf(r, n * 8, 8).equals(blocks(8, 1 + n)));
  assert.equal((await other.read(0, 1))[0], 1);
  assert.ok(calls.some((call) => call.pieces > 1));
  assert.equal(r.server.plane.chunks.taken, 0);
});

/** Another session, and one with a segment that begins with 32 writes of a block. */
async function behindWrites(t: TestContext, parent: string) {
  const r = await lentRig(t, { parent });
  const other = await r.enter({ initiator: 'iqn.2026-11.test:other' });
  const peer = await r.enter();
  const calls = watchStores(t);
  const s = new Segment(peer);
  for (let n = 0; n < 32; n++) s.write(n, blocks(1, 1 + n));
  return { r, other, peer, calls, s };
}

onBoth('a reset of the unit behind writes in one segment', async (t, parent) => {
  const { r, other, peer, calls, s } = await behindWrites(t, parent);
  s.add(taskManagement(peer, TaskFunction.LOGICAL_UNIT_RESET));
  s.send();
  const done = await answers(peer, s.tags);
  for (const result of done.values()) assert.equal(result.status, GOOD);
  const pdu = await peer.next();
  assert.equal(decodeTaskManagementResponse(pdu).response, TaskResponse.FUNCTION_COMPLETE);
  for (let n = 0; n < 32; n++) assert.equal(blockOf(r, n)[0], 1 + n);
  await other.settle();
  await peer.settle();
  assert.equal((await other.read(31, 1))[0], 32);
  await allGood(peer, [peer.write(31, blocks(1, 99))]);
  assert.equal((await other.read(31, 1))[0], 99);
  assert.ok(calls.some((call) => call.pieces > 1));
});

onBoth('a logout behind writes in one segment: they are answered before it', async (t, parent) => {
  const { r, other, peer, calls, s } = await behindWrites(t, parent);
  s.add(
    encodeLogoutRequest({
      immediate: true,
      reason: 0,
      initiatorTaskTag: peer.nextTag(),
      cid: 0,
      cmdSn: peer.cmdSn,
      expStatSn: 0,
    }),
  );
  // Nobody listens to what comes behind it.
  s.write(40, blocks(1, 99));
  s.send();
  await allGood(peer, s.tags.slice(0, 32));
  assert.equal(decodeLogoutResponse(await peer.next()).response, 0);
  await peer.ended();
  for (let n = 0; n < 32; n++) assert.equal(blockOf(r, n)[0], 1 + n);
  assert.equal(blockOf(r, 40)[0], OLD);
  assert.equal((await other.read(5, 1))[0], 6);
  assert.equal(r.server.stats().sessions.length, 1);
  assert.ok(calls.some((call) => call.pieces > 1));
});

/** Writes 24 × 8 blocks in one segment that ends in the middle of the last one's data. */
function cutSegment(peer: RawInitiator): Buffer {
  const s = new Segment(peer);
  for (let n = 0; n < 24; n++) s.write(n * 8, blocks(8, 1 + n));
  return s.bytes.subarray(0, s.bytes.length - 3 * BLOCK_BYTES - 100);
}

for (const how of ['end', 'reset'] as const) {
  onBoth(`the connection is cut behind writes, by ${how}`, async (t, parent) => {
    const r = await lentRig(t, { parent });
    const other = await r.enter({ initiator: 'iqn.2026-11.test:other' });
    const calls = watchStores(t);
    for (let round = 0; round < 8; round++) {
      await allGood(other, [other.write(0, blocks(24 * 8, OLD))]);
      const peer = await r.enter();
      const before = calls.length;
      peer.sendBytes(cutSegment(peer));
      if (how === 'end') peer.socket.end();
      // A reset may overtake what was sent, or come while it is worked on.
      else if (round % 2 === 0) peer.cut();
      else await turns(1).then(() => peer.cut());
      await until(() => r.server.stats().sessions.length === 1);
      const now = blockOf(r, 0, 24 * 8);
      for (let lba = 0; lba < 24 * 8; lba++) {
        const block = now.subarray(lba * BLOCK_BYTES, (lba + 1) * BLOCK_BYTES);
        assert.ok([OLD, 1 + (lba >> 3)].includes(block[0]!), `block ${lba}: ${block[0]}`);
        assert.ok(
          block.every((byte) => byte === block[0]),
          `block ${lba} is torn`,
        );
      }
      if (how === 'end') {
        assert.ok(calls.length > before);
        // The last write lacks four blocks and a piece of one: what came whole is there.
        assert.equal(now[(23 * 8 + 3) * BLOCK_BYTES], 24);
        assert.equal(now[(23 * 8 + 4) * BLOCK_BYTES], OLD);
      }
      assert.equal((await other.read(0, 1)).length, BLOCK_BYTES);
    }
    assert.ok(calls.length > 0);
    assert.equal(r.server.plane.chunks.taken, 0);
  });
}

onBoth('an ORDERED write that begins in the midst of its own data', async (t, parent) => {
  const r = await lentRig(t, { parent });
  const peer = await r.enter();
  for (const cut of [1, 511, 512, 1000, 4095]) {
    const segment = new Segment(peer);
    const data = [blocks(8, cut & 255), blocks(8, (cut + 1) & 255)];
    for (const [n, bytes] of data.entries()) segment.write(8 * n, bytes, { attribute: ORDERED });
    const pduBytes = segment.bytes.length / 2;
    await segment.sendCut([pduBytes + 48 + cut]);
    await allGood(peer, segment.tags);
    assert.ok(blockOf(r, 0, 16).equals(Buffer.concat(data)));
  }
});

onBoth('writes cut anywhere, between any two segments', async (t, parent) => {
  const r = await lentRig(t, { parent });
  const calls = watchStores(t);
  for (const keys of [USUAL_KEYS, [...USUAL_KEYS, ...DIGESTS]]) {
    const peer = await r.enter({ keys });
    const length = 6 * (48 + 8 + 3 * BLOCK_BYTES);
    for (let cut = 1; cut < length; cut += 37) {
      const s = new Segment(peer);
      const mark = 1 + (cut % 250);
      for (let n = 0; n < 6; n++) s.write(700 + 3 * n, blocks(3, (mark + n) & 255));
      await s.sendCut([cut, Math.min(length, cut + 700), Math.min(length, cut + 701)]);
      await allGood(peer, s.tags);
      const now = blockOf(r, 700, 18);
      for (let n = 0; n < 6; n++) {
        const piece = now.subarray(n * 3 * BLOCK_BYTES, (n + 1) * 3 * BLOCK_BYTES);
        assert.ok(piece.equals(blocks(3, (mark + n) & 255)), `cut at ${cut}, write ${n}`);
      }
    }
    peer.cut();
  }
  assert.ok(calls.some((call) => call.pieces > 1));
  assert.ok(calls.every((call) => call.whole));
});

test('a login and writes in one segment', async (t) => {
  const r = await lentRig(t, { parent: '/dev/shm' });
  await r.enter({ initiator: 'iqn.2026-11.test:other' });
  const calls = watchStores(t);
  const peer = await r.dial();
  const s = new Segment(peer);
  const text: readonly KeyValue[] = [
    ['InitiatorName', 'iqn.2026-11.test:hasty'],
    ['TargetName', TARGET],
    ...USUAL_KEYS,
  ];
  s.add(encodeLoginRequest(loginRequest(text)));
  // They take the unit attentions of a new nexus.
  for (let n = 0; n < 4; n++) s.command([0, 0, 0, 0, 0, 0]);
  const writes = Array.from({ length: 12 }, (_, n) => s.write(n * 2, blocks(2, 1 + n)));
  s.send();
  assert.equal((await peer.answer()).status, GOOD);
  const done = await answers(peer, s.tags);
  for (const tag of writes) assert.equal(done.get(tag)?.status, GOOD);
  for (let n = 0; n < 12; n++) assert.ok(blockOf(r, n * 2, 2).equals(blocks(2, 1 + n)));
  assert.ok(calls.some((call) => call.pieces > 1));
});

test('the end of the disk, and writes that fail in the midst of others', async (t) => {
  const r = await lentRig(t, { parent: '/dev/shm' });
  const peer = await r.enter();
  const calls = watchStores(t);
  const s = new Segment(peer);
  s.write(DISK_BLOCKS - 2, blocks(2, 1));
  s.write(DISK_BLOCKS - 1, blocks(2, 2));
  s.write(5, blocks(1, 3));
  const short = peer.commandPdu(readWrite('write', 6, 4), {
    write: true,
    expectedLengthBytes: 2 * BLOCK_BYTES,
    data: blocks(2, 4),
  });
  s.add(encodeScsiCommand(short));
  s.tags.push(short.initiatorTaskTag);
  s.write(DISK_BLOCKS - 1, blocks(1, 5));
  s.send();
  const done = await answers(peer, s.tags);
  assert.deepEqual(
    s.tags.map((tag) => done.get(tag)?.status),
    [GOOD, CHECK_CONDITION, GOOD, GOOD, GOOD],
  );
  assert.deepEqual(
    [...blockOf(r, 5, 5)].filter((_, n) => n % BLOCK_BYTES === 0),
    [3, 4, 4, OLD, OLD],
  );
  assert.equal(blockOf(r, DISK_BLOCKS - 2)[0], 1);
  assert.equal(blockOf(r, DISK_BLOCKS - 1)[0], 5);
  assert.equal(r.disks[0]?.content().length, LENT_DISK_BYTES);
  assert.ok(calls.length > 0);
});
