import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RECEIVE_SEGMENT_BYTES_MAX } from '#iscsi/limits.ts';
import { NO_DIGESTS, Opcode, RejectReason, decodeLoginResponse } from '#iscsi/pdu/mod.ts';
import { encodeLoginRequest, encodeNopOut, encodeScsiCommand, framePdu } from '#iscsi/pdu/mod.ts';
import { decodeNopIn, decodeReject, encodeDataOut, opcodeOf } from '#iscsi/pdu/mod.ts';
import type { KeyValue } from '#iscsi/text.ts';
import { BLOCK_BYTES, USUAL_KEYS, loginRequest, readWrite } from './raw-initiator.ts';
import type { RawInitiator } from './raw-initiator.ts';
import { TARGET, imageFile, marked, rig, until } from './rig.ts';

const OPCODES = [0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x10, 0x1c, 0x3f];
const NOP = { immediate: true, lun: 0, targetTransferTag: 0xffffffff, expStatSn: 0 } as const;

/** Small: it is read whole after each cut. */
const IMAGE_BYTES = 64 * 1024;

/** A header of an opcode with these lengths, and nothing else set. */
function header(opcode: number, ahsWords: number, dataBytes: number): Buffer {
  const bytes = Buffer.alloc(48);
  bytes[0] = opcode | 0x40;
  bytes[1] = 0x80;
  bytes.writeUInt32BE(((ahsWords << 24) | dataBytes) >>> 0, 4);
  bytes.writeUInt32BE(0x77, 16);
  bytes.writeUInt32BE(0xffffffff, 20);
  return bytes;
}

/** The session still works. */
async function alive(peer: RawInitiator): Promise<void> {
  assert.equal((await peer.read(0, 1)).length, BLOCK_BYTES);
}

test('hostile case 25: a data segment of 16 MiB in any PDU ends the connection at once', async (t) => {
  const r = await rig(t);
  const witness = await r.enter({ initiator: 'iqn.2026-11.test:witness' });
  for (const opcode of OPCODES) {
    for (const length of [0xffffff, RECEIVE_SEGMENT_BYTES_MAX + 1]) {
      const before = process.memoryUsage().arrayBuffers;
      const peer = await r.enter();
      peer.sendBytes(header(opcode, 0, length));
      await peer.ended();
      assert.equal(peer.received.length, 0);
      // The length alone must not make anybody take memory for it.
      assert.ok(process.memoryUsage().arrayBuffers - before < 8 * 1024 * 1024);
    }
  }
  await until(() => r.server.stats().sessions.length === 1);
  await alive(witness);
});

test('hostile case 25: 255 words of additional header in any PDU', async (t) => {
  const r = await rig(t);
  for (const opcode of OPCODES) {
    const peer = await r.enter();
    peer.sendBytes(Buffer.concat([header(opcode, 255, 0), Buffer.alloc(255 * 4, 0x5a)]));
    peer.nop(0x99);
    // An answer, a reject or the end: and where the stream goes on, the next PDU is found.
    for (;;) {
      const pdu = await peer.next().catch(() => null);
      if (pdu === null) break;
      if (opcodeOf(pdu) === Opcode.NOP_IN && decodeNopIn(pdu).initiatorTaskTag === 0x99) break;
    }
    if (opcode === 0x01) await alive(peer);
    peer.cut();
  }
});

test('hostile case 25: a bad additional header is rejected, the one behind it is read', async (t) => {
  const r = await rig(t);
  const peer = await r.enter();
  const ahs: readonly Uint8Array[] = [
    Uint8Array.of(0xff, 0xff, 1, 0),
    Uint8Array.of(0, 0, 1, 0),
    Uint8Array.of(0, 0x40, 1, 0, 1, 2, 3, 4),
  ];
  for (const bytes of ahs) {
    const pdu = encodeScsiCommand(peer.commandPdu([0, 0, 0, 0, 0, 0]));
    pdu.header[4] = bytes.length / 4;
    peer.send({ ...pdu, ahs: bytes });
    const answer = await peer.next();
    if (opcodeOf(answer) === Opcode.REJECT) {
      assert.equal(decodeReject(answer).reason, RejectReason.INVALID_PDU_FIELD);
    } else {
      assert.equal(opcodeOf(answer), Opcode.SCSI_RESPONSE);
    }
    await alive(peer);
  }
});

test('hostile case 25: a header that never comes to its end', async (t) => {
  const r = await rig(t);
  for (let bytes = 0; bytes < 48; bytes++) {
    const peer = await r.enter();
    peer.sendBytes(header(Opcode.NOP_OUT, 0, 0).subarray(0, bytes));
    peer.socket.end();
    await peer.ended();
  }
  await until(() => r.server.stats().sessions.length === 0);
  assert.equal(r.server.plane.chunks.taken, 0);
});

/** Every byte of a session: login, a read, a write in four ways, a ping with data. */
function wholeSession(digests: boolean): Buffer {
  const on: readonly KeyValue[] = digests
    ? [
        ['HeaderDigest', 'CRC32C'],
        ['DataDigest', 'CRC32C'],
      ]
    : [];
  const used = { header: digests, data: digests };
  const names: readonly KeyValue[] = [
    ['InitiatorName', 'iqn.2026-11.test:split'],
    ['TargetName', TARGET],
  ];
  const login = encodeLoginRequest(loginRequest([...names, ...USUAL_KEYS, ...on]));
  const base = { read: false, write: false, attribute: 1, lun: 0, expStatSn: 0 } as const;
  const none = { extendedCdb: new Uint8Array(), readLengthBytes: null, data: new Uint8Array() };
  const fixed = { immediate: false, final: true, ...base, ...none, expectedLengthBytes: 0 };
  const command = (cdb: readonly number[], cmdSn: number, more: object): Uint8Array =>
    framePdu(
      encodeScsiCommand({
        ...fixed,
        cdb: Uint8Array.from(cdb),
        cmdSn,
        initiatorTaskTag: cmdSn,
        ...more,
      }),
      used,
    );
  const write = { write: true, expectedLengthBytes: 1024 };
  const out = { lun: 0, targetTransferTag: 0xffffffff, expStatSn: 0, dataSn: 0 };
  return Buffer.concat([
    framePdu(login, NO_DIGESTS),
    command([0, 0, 0, 0, 0, 0], 1, {}),
    command(readWrite('write', 0, 2), 2, { ...write, data: marked(1024, 0xa1) }),
    command(readWrite('write', 2, 2), 3, { ...write, final: false, data: marked(100, 0xa2) }),
    framePdu(
      encodeDataOut({
        ...out,
        final: true,
        initiatorTaskTag: 3,
        bufferOffsetBytes: 100,
        data: marked(924, 0xa2),
      }),
      used,
    ),
    framePdu(
      encodeNopOut({ ...NOP, initiatorTaskTag: 70, cmdSn: 4, data: marked(33, 0x70) }),
      used,
    ),
    // ORDERED: behind the writes.
    command(readWrite('read', 0, 4), 4, { read: true, attribute: 2, expectedLengthBytes: 2048 }),
  ]);
}

for (const digests of [false, true]) {
  const name = digests ? 'with digests' : 'without digests';
  test(`hostile case 25: a session cut in two at every byte, ${name}`, async (t) => {
    const image = await imageFile(t, IMAGE_BYTES);
    const r = await rig(t, { device: image.device });
    const bytes = wholeSession(digests);
    const expected = Buffer.concat([marked(1024, 0xa1), marked(1024, 0xa2)]);
    for (let cut = 1; cut < bytes.length; cut++) {
      const peer = await r.dial();
      peer.socket.setNoDelay(true);
      peer.sendBytes(bytes.subarray(0, cut));
      // The first half has to have arrived alone.
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
      peer.sendBytes(bytes.subarray(cut));
      await follow(peer, digests);
      assert.deepEqual(image.content().subarray(0, 2048), expected, `cut at ${cut}`);
      peer.cut();
    }
  });
}

test('hostile case 25: a session byte by byte', async (t) => {
  const image = await imageFile(t, IMAGE_BYTES);
  const r = await rig(t, { device: image.device });
  for (const digests of [false, true]) {
    const peer = await r.dial();
    for (const byte of wholeSession(digests)) {
      peer.sendBytes(Uint8Array.of(byte));
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
    }
    await follow(peer, digests);
    assert.deepEqual(image.content().subarray(1024, 2048), Buffer.from(marked(1024, 0xa2)));
    peer.cut();
  }
});

/** Takes every answer of `wholeSession`. */
async function follow(peer: RawInitiator, digests: boolean): Promise<void> {
  assert.equal(decodeLoginResponse(await peer.next()).status, 0);
  assert.equal(peer.digests.data, digests);
  const statuses = new Map<number, number>();
  let read: Buffer = Buffer.alloc(0);
  for (let left = 5; left > 0;) {
    const pdu = await peer.next();
    const tag = Buffer.from(pdu.header).readUInt32BE(16);
    if (opcodeOf(pdu) === Opcode.DATA_IN) read = Buffer.concat([read, pdu.data]);
    if (opcodeOf(pdu) === Opcode.NOP_IN) assert.equal(pdu.data.length, 33);
    const over = opcodeOf(pdu) !== Opcode.DATA_IN || (pdu.header[1]! & 1) !== 0;
    if (over) statuses.set(tag, pdu.header[3]!);
    if (over) left -= 1;
  }
  const [attention, ...rest] = [1, 2, 3, 4].map((tag) => statuses.get(tag));
  assert.deepEqual([attention, rest], [2, [0, 0, 0]]);
  const expected = Buffer.concat([marked(1024, 0xa1), marked(1024, 0xa2)]);
  assert.deepEqual(read, expected);
}
