import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Opcode, decodeDataIn, encodeScsiCommand, framePdu, opcodeOf } from '#iscsi/pdu/mod.ts';
import type { KeyValue } from '#iscsi/text.ts';
import { BLOCK_BYTES, USUAL_KEYS, readWrite } from './raw-initiator.ts';
import type { RawInitiator } from './raw-initiator.ts';
import { imageFile, marked, rig } from './rig.ts';

const ORDERED = 2;
/** More than the sockets between them take at once, so that answers pile up in the target. */
const READ_BLOCKS = 2048;
const READS = 12;

/** Data of the reads with these tags, whole, in any order. */
async function collect(peer: RawInitiator, tags: readonly number[]): Promise<Map<number, Buffer>> {
  const parts = new Map<number, Buffer[]>(tags.map((tag) => [tag, []]));
  const whole = new Map<number, Buffer>();
  while (whole.size < tags.length) {
    const pdu = await peer.next();
    if (opcodeOf(pdu) !== Opcode.DATA_IN) continue;
    const part = decodeDataIn(pdu);
    const data = parts.get(part.initiatorTaskTag);
    if (data === undefined) continue;
    data.push(Buffer.from(part.data));
    if (part.hasStatus) whole.set(part.initiatorTaskTag, Buffer.concat(data));
  }
  return whole;
}

test('hostile case 27: an ordered write behind reads that are not taken changes none of them', async (t) => {
  const image = await imageFile(t);
  const r = await rig(t, { device: image.device });
  const peer = await r.enter();
  for (let lba = 0; lba < READ_BLOCKS; lba += 512) {
    assert.equal((await peer.result(peer.write(lba, marked(512 * BLOCK_BYTES, 1)))).status, 0);
  }
  for (let round = 0; round < 5; round++) {
    const old = 1 + round;
    peer.socket.pause();
    const wire: Uint8Array[] = [];
    const tags: number[] = [];
    for (let n = 0; n < READS; n++) {
      const pdu = peer.commandPdu(readWrite('read', 0, READ_BLOCKS), {
        read: true,
        expectedLengthBytes: READ_BLOCKS * BLOCK_BYTES,
      });
      tags.push(pdu.initiatorTaskTag);
      wire.push(framePdu(encodeScsiCommand(pdu), peer.digests));
    }
    for (let lba = 0; lba < READ_BLOCKS; lba += 512) {
      const data = marked(512 * BLOCK_BYTES, old + 1);
      const pdu = peer.commandPdu(readWrite('write', lba, 512), {
        write: true,
        attribute: ORDERED,
        expectedLengthBytes: data.length,
        data,
      });
      wire.push(framePdu(encodeScsiCommand(pdu), peer.digests));
    }
    peer.sendBytes(Buffer.concat(wire));
    peer.socket.resume();
    const got = await collect(peer, tags);
    for (const data of got.values()) {
      assert.equal(data.length, READ_BLOCKS * BLOCK_BYTES);
      assert.ok(
        data.every((byte) => byte === old),
        `round ${round}: the data of before`,
      );
    }
    // Their statuses came behind the reads, or come now.
    const after = await readBack(peer);
    assert.ok(after.equals(marked(READ_BLOCKS * BLOCK_BYTES, old + 1)));
    await quiet(peer);
  }
});

/** Reads all, past statuses of older commands. */
async function readBack(peer: RawInitiator): Promise<Buffer> {
  const tag = peer.issue(readWrite('read', 0, READ_BLOCKS), {
    read: true,
    attribute: ORDERED,
    expectedLengthBytes: READ_BLOCKS * BLOCK_BYTES,
  });
  return (await collect(peer, [tag])).get(tag) ?? Buffer.alloc(0);
}

/** Takes what is left until the echo of a ping. */
async function quiet(peer: RawInitiator): Promise<void> {
  peer.nop(1);
  while (opcodeOf(await peer.next()) !== Opcode.NOP_IN);
}

const DIGESTS: readonly KeyValue[] = [
  ['HeaderDigest', 'CRC32C'],
  ['DataDigest', 'CRC32C'],
];

test('hostile case 26: digests are right for blocks that others write meanwhile', async (t) => {
  const image = await imageFile(t);
  const r = await rig(t, { device: image.device });
  const reader = await r.enter({ isid: '800000000002', keys: [...USUAL_KEYS, ...DIGESTS] });
  const writer = await r.enter({ initiator: 'iqn.2026-11.test:writer' });
  let mark = 0;
  const play = { over: false };
  const writing = (async (): Promise<void> => {
    while (!play.over) {
      mark = (mark % 250) + 1;
      // Of whole pages, and of a part of one: the two ways to the file.
      const blocks = mark % 2 === 0 ? 64 : 3;
      const tag = writer.write(0, marked(blocks * BLOCK_BYTES, mark));
      assert.equal((await writer.result(tag)).status, 0);
    }
  })();
  for (let n = 0; n < 150; n++) {
    const tags = Array.from({ length: 8 }, () =>
      reader.issue(readWrite('read', 0, 64), { read: true, expectedLengthBytes: 64 * BLOCK_BYTES }),
    );
    // A wrong digest throws in the reader's own parser.
    const got = await collect(reader, tags);
    for (const data of got.values()) {
      for (let at = 0; at < data.length; at += BLOCK_BYTES) {
        const block = data.subarray(at, at + BLOCK_BYTES);
        assert.ok(
          block.every((byte) => byte === block[0]),
          'a block is never torn',
        );
      }
    }
  }
  play.over = true;
  await writing;
  assert.ok(mark > 0);
});
