/** Writes that are stored together, and what ends in the same segment. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Opcode, decodeR2t, encodeDataOut, encodeScsiCommand, opcodeOf } from '#iscsi/pdu/mod.ts';
import type { Pdu } from '#iscsi/pdu/mod.ts';
import type { KeyValue } from '#iscsi/text.ts';
import { OLD, Segment, allGood, answers, blocks, lentRig, watchStores } from './lent-rig.ts';
import { BLOCK_BYTES, USUAL_KEYS, readWrite } from './raw-initiator.ts';
import type { RawInitiator } from './raw-initiator.ts';
import { until } from './rig.ts';

const WRITES = 8;

/** PDUs after which a target cannot go on. */
const FATAL: Readonly<Record<string, (peer: RawInitiator) => Pdu>> = {
  'a command is missing': (peer) => {
    const pdu = peer.commandPdu(readWrite('write', 0, 1), {
      cmdSn: peer.cmdSn + 1,
      write: true,
      expectedLengthBytes: BLOCK_BYTES,
      data: blocks(1, 0xee),
    });
    return encodeScsiCommand(pdu);
  },
  'a data segment is too long': (peer) => {
    const data = blocks(2 * 1024 + 1, 0xee);
    const pdu = peer.commandPdu(readWrite('write', 0, 2049), {
      write: true,
      expectedLengthBytes: data.length,
      data,
    });
    return encodeScsiCommand(pdu);
  },
};

for (const [name, fatal] of Object.entries(FATAL)) {
  test(`writes, and then ${name}: they are on the disk, the session is over`, async (t) => {
    const r = await lentRig(t, { parent: '/dev/shm' });
    const other = await r.enter({ initiator: 'iqn.2026-11.test:other' });
    const calls = watchStores(t);
    for (let round = 0; round < 4; round++) {
      const peer = await r.enter();
      const before = calls.length;
      const s = new Segment(peer);
      for (let n = 0; n < WRITES; n++) s.write(8 + n, blocks(1, 1 + round * WRITES + n));
      s.add(fatal(peer));
      s.send();
      await peer.ended();
      await until(() => r.server.stats().sessions.length === 1);
      const content = r.disks[0]!.content();
      assert.equal(content[0], OLD);
      for (let n = 0; n < WRITES; n++) {
        const block = content.subarray((8 + n) * BLOCK_BYTES, (9 + n) * BLOCK_BYTES);
        assert.ok(block.equals(blocks(1, 1 + round * WRITES + n)), `write ${n}`);
      }
      assert.ok(calls.length > before);
      // What was not stored then would be now, by somebody else.
      await allGood(other, [other.write(8, blocks(WRITES, OLD))]);
      assert.ok((await other.read(8, WRITES)).equals(blocks(WRITES, OLD)));
    }
    assert.equal(r.server.plane.chunks.taken, 0);
  });
}

const BY_R2T: readonly KeyValue[] = [
  ...USUAL_KEYS.filter(([key]) => key !== 'InitialR2T'),
  ['InitialR2T', 'Yes'],
];

test('the last data of COMPARE AND WRITE behind a write that it must not miss', async (t) => {
  const r = await lentRig(t, { parent: '/dev/shm' });
  const peer = await r.enter({ keys: BY_R2T });
  const calls = watchStores(t);
  for (let round = 0; round < 20; round++) {
    const lba = 100 + round;
    const [mark, last] = [1 + round, 101 + round];
    const data = Buffer.concat([blocks(1, mark), blocks(1, last)]);
    const cdb = [0x89, 0, 0, 0, 0, 0, 0, 0, 0, lba, 0, 0, 0, 1, 0, 0];
    const swap = peer.issue(cdb, { write: true, expectedLengthBytes: data.length });
    const pdu = await peer.next();
    assert.equal(opcodeOf(pdu), Opcode.R2T);
    const { initiatorTaskTag, targetTransferTag } = decodeR2t(pdu);
    const s = new Segment(peer);
    const write = s.write(lba, blocks(1, mark));
    const to = { initiatorTaskTag, targetTransferTag, lun: 0, expStatSn: 0 };
    s.add(encodeDataOut({ ...to, final: true, dataSn: 0, bufferOffsetBytes: 0, data }));
    const next = s.write(lba + 1, blocks(1, 250));
    s.send();
    const done = await answers(peer, [swap, write, next]);
    assert.equal(done.get(swap)?.status, 0, `round ${round}: it compares with what was written`);
    assert.equal(done.get(write)?.status, 0);
    const content = r.disks[0]!.content();
    assert.equal(content[lba * BLOCK_BYTES], last, 'and its own data is the last');
    assert.equal(content[(lba + 1) * BLOCK_BYTES], 250);
  }
  assert.ok(calls.length >= 20 && calls.every((call) => call.whole));
});
