/** Writes that are stored together, at random: every read brings what its place says. */
import assert from 'node:assert/strict';
import { tmpdir } from 'node:os';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { Opcode, decodeR2t, decodeScsiResponse, encodeDataOut } from '#iscsi/pdu/mod.ts';
import { framePdu, opcodeOf } from '#iscsi/pdu/mod.ts';
import type { R2t } from '#iscsi/pdu/mod.ts';
import type { KeyValue } from '#iscsi/text.ts';
import { Dice } from '../fuzz/dice.ts';
import { LENT_DISK_BYTES, OLD, allGood, lendsForWriting, lentRig, turns } from './lent-rig.ts';
import { watchStores } from './lent-rig.ts';
import type { Stored } from './lent-rig.ts';
import { RandomPlayer } from './random-player.ts';
import { BLOCK_BYTES, USUAL_KEYS, readWrite } from './raw-initiator.ts';
import type { RawInitiator } from './raw-initiator.ts';

const DISK_BLOCKS = LENT_DISK_BYTES / BLOCK_BYTES;
const DIGESTS: readonly KeyValue[] = [
  ['HeaderDigest', 'CRC32C'],
  ['DataDigest', 'CRC32C'],
];

function piecesOf(calls: readonly Stored[]): number {
  return calls.reduce((sum, call) => sum + call.pieces, 0);
}

async function inOrder(t: TestContext, parent: string, commands: number, seed: number) {
  const r = await lentRig(t, { parent });
  const peer = await r.enter();
  const calls = watchStores(t);
  const model = Buffer.alloc(LENT_DISK_BYTES, OLD);
  const dice = new Dice(seed);
  // So small that most of what is in flight overlaps.
  const region = { lba: 1001, count: 700 };
  const player = new RandomPlayer(peer, { dice, model, region, rule: 'order' });
  await player.run(commands);
  assert.ok(r.disks[0]?.content().equals(model), 'the image is what the model is');
  assert.ok(calls.every((call) => call.whole));
  assert.ok(piecesOf(calls) > player.score.writes / 2, `${piecesOf(calls)} pieces`);
  assert.ok(calls.some((call) => call.pieces > 1));
  assert.equal(r.server.plane.chunks.taken, 0);
}

test('20,000 commands that overlap, in order, on a disk in memory', async (t) => {
  await inOrder(t, '/dev/shm', 20_000, 20261122);
});

test('10,000 commands that overlap, in order, on a disk', async (t) => {
  if (await lendsForWriting(t, tmpdir())) await inOrder(t, tmpdir(), 10_000, 4711);
});

for (const parent of [tmpdir(), '/dev/shm']) {
  test(`three sessions at random beside each other, with discards (${parent})`, async (t) => {
    if (!(await lendsForWriting(t, parent))) return;
    const r = await lentRig(t, { parent });
    const model = Buffer.alloc(LENT_DISK_BYTES, OLD);
    const calls = watchStores(t);
    // Their regions meet in the middle of a page.
    const count = Math.floor(DISK_BLOCKS / 3);
    const players: RandomPlayer[] = [];
    for (const n of [0, 1, 2]) {
      const keys = n === 1 ? [...USUAL_KEYS, ...DIGESTS] : USUAL_KEYS;
      const peer = await r.enter({ initiator: `iqn.2026-11.test:player-${n}`, keys });
      const region = { lba: n * count, count };
      const dice = new Dice(815 + n);
      players.push(new RandomPlayer(peer, { dice, model, region, rule: 'apart' }));
    }
    await Promise.all(players.map((player) => player.run(2500)));
    assert.ok(r.disks[0]?.content().equals(model), 'the image is what the model is');
    assert.ok(piecesOf(calls) > 1500, `${piecesOf(calls)} pieces`);
    // Where something was discarded nothing is lent for a while.
    for (const player of players) player.discards = true;
    await Promise.all(players.map((player) => player.run(1000)));
    assert.ok(r.disks[0]?.content().equals(model), 'with discards, too');
    assert.ok(players.every(({ score }) => score.zeroes > 0 && score.swaps > 0));
    assert.ok(calls.every((call) => call.whole));
    assert.equal(r.server.plane.chunks.taken, 0);
  });
}

const ALL_ASKED_FOR = USUAL_KEYS.filter(([key]) => !/InitialR2T|Immediate|Burst/.test(key));
/** Ways to ask for data: in one go, in bursts of odd size, several of them ahead. */
const WAYS: Readonly<Record<string, readonly KeyValue[]>> = {
  'in one go': [['MaxBurstLength', '1048576']],
  'in bursts': [['MaxBurstLength', '5000']],
  'in bursts, four ahead': [
    ['MaxBurstLength', '3000'],
    ['MaxOutstandingR2T', '4'],
  ],
  'with digests': [['MaxBurstLength', '7000'], ...DIGESTS],
};

const TASKS = 8;
const TASK_BLOCKS = 24;

/** R2Ts until the echo of a ping; whoever is answered meanwhile is taken from `left`. */
async function r2ts(peer: RawInitiator, left: Set<number>): Promise<R2t[]> {
  const found: R2t[] = [];
  peer.nop(1);
  for (;;) {
    const pdu = await peer.next();
    const opcode = opcodeOf(pdu);
    if (opcode === Opcode.NOP_IN) return found;
    if (opcode === Opcode.R2T) {
      found.push(decodeR2t(pdu));
    } else {
      assert.equal(opcode, Opcode.SCSI_RESPONSE);
      const { status, initiatorTaskTag } = decodeScsiResponse(pdu);
      assert.equal(status, 0);
      assert.ok(left.delete(initiatorTaskTag), 'one status for each');
    }
  }
}

/** The Data-Outs of all of them, each in order, mixed with each other. */
function mixed(peer: RawInitiator, dice: Dice, asked: readonly R2t[], data: Map<number, Buffer>) {
  const wire: Uint8Array[] = [];
  const open = asked.map((r2t) => ({ r2t, at: 0, dataSn: 0 }));
  // Of one task the R2Ts are answered in their order.
  const first = (one: (typeof open)[number]): boolean =>
    open.find((o) => o.r2t.initiatorTaskTag === one.r2t.initiatorTaskTag) === one;
  while (open.length > 0) {
    const one = dice.pick(open.filter(first));
    const { r2t } = one;
    const length = Math.min(1 + dice.roll(2500), r2t.desiredLengthBytes - one.at);
    const from = r2t.bufferOffsetBytes + one.at;
    const final = one.at + length === r2t.desiredLengthBytes;
    const pdu = encodeDataOut({
      final,
      lun: 0,
      initiatorTaskTag: r2t.initiatorTaskTag,
      targetTransferTag: r2t.targetTransferTag,
      expStatSn: 0,
      dataSn: one.dataSn++,
      bufferOffsetBytes: from,
      data: data.get(r2t.initiatorTaskTag)!.subarray(from, from + length),
    });
    wire.push(framePdu(pdu, peer.digests));
    one.at += length;
    if (final) open.splice(open.indexOf(one), 1);
  }
  return Buffer.concat(wire);
}

for (const [name, way] of Object.entries(WAYS)) {
  test(`data of several tasks in between each other, cut anywhere: asked for ${name}`, async (t) => {
    const r = await lentRig(t, { parent: '/dev/shm' });
    const keys: readonly KeyValue[] = [
      ...ALL_ASKED_FOR,
      ['InitialR2T', 'Yes'],
      ['ImmediateData', 'No'],
      ...way,
    ];
    // A session with digests reads by copy, which makes no disk worth lending.
    await r.enter({ initiator: 'iqn.2026-11.test:other' });
    const peer = await r.enter({ keys });
    const calls = watchStores(t);
    const dice = new Dice(99);
    const model = Buffer.alloc(LENT_DISK_BYTES, OLD);
    for (let round = 0; round < 12; round++) {
      const data = new Map<number, Buffer>();
      for (let n = 0; n < TASKS; n++) {
        const bytes = Buffer.from(dice.bytes(TASK_BLOCKS * BLOCK_BYTES));
        // Neighbours share a page.
        const lba = 33 + n * TASK_BLOCKS + round;
        bytes.copy(model, lba * BLOCK_BYTES);
        const tag = peer.issue(readWrite('write', lba, TASK_BLOCKS), {
          write: true,
          expectedLengthBytes: bytes.length,
        });
        data.set(tag, bytes);
      }
      const left = new Set(data.keys());
      let asked = await r2ts(peer, left);
      while (asked.length > 0) {
        const wire = mixed(peer, dice, asked, data);
        for (let at = 0; at < wire.length;) {
          const end = Math.min(wire.length, at + 1 + dice.roll(20_000));
          peer.sendBytes(wire.subarray(at, end));
          at = end;
          await turns(dice.roll(3));
        }
        asked = await r2ts(peer, left);
      }
      assert.equal(left.size, 0);
      assert.ok(r.disks[0]?.content().equals(model), `round ${round}`);
    }
    await allGood(peer, [peer.issue([0, 0, 0, 0, 0, 0])]);
    assert.ok(calls.every((call) => call.whole));
    assert.ok(piecesOf(calls) > 12 * TASKS, `${calls.length} calls, ${piecesOf(calls)} pieces`);
    assert.ok(calls.some((call) => call.pieces > 1));
  });
}
