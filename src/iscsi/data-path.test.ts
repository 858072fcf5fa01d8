import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BlockError, MemoryDevice } from '#block/mod.ts';
import { Opcode, decodeDataIn, decodeR2t, encodeDataOut, encodeScsiCommand } from './pdu/mod.ts';
import { framePdu, opcodeOf } from './pdu/mod.ts';
import type { DataIn } from './pdu/mod.ts';
import type { KeyValue } from './text.ts';
import { TEST_DISK_BYTES, pattern, readWrite, testServer } from './testing/disk.ts';
import type { Bench } from './testing/disk.ts';
import { GateDevice } from './testing/gate-device.ts';
import { IPXE_KEYS, NO_TAG, TestInitiator, USUAL_KEYS } from './testing/initiator.ts';

const BLOCK = 512;
const DIGESTS: readonly KeyValue[] = [
  ['HeaderDigest', 'CRC32C'],
  ['DataDigest', 'CRC32C'],
];

/** Logs in and takes the unit attention that every new nexus gets. */
async function ready(
  bench: Bench,
  keys: readonly KeyValue[] = USUAL_KEYS,
  initiator = 'iqn.2026-11.test:initiator',
): Promise<TestInitiator> {
  const i = new TestInitiator(bench.server);
  await i.login({ keys, initiator });
  await i.command([0, 0, 0, 0, 0, 0]);
  return i;
}

function withKeys(changes: readonly KeyValue[]): KeyValue[] {
  const changed = new Set(changes.map(([k]) => k));
  return [...USUAL_KEYS.filter(([k]) => !changed.has(k)), ...changes];
}

/** Ways to write: what is negotiated, and how much goes with the command. */
const WAYS: Record<string, { keys: readonly KeyValue[]; immediateBytes: number }> = {
  'all by R2T': {
    keys: withKeys([
      ['InitialR2T', 'Yes'],
      ['ImmediateData', 'No'],
    ]),
    immediateBytes: 0,
  },
  'all immediate': { keys: USUAL_KEYS, immediateBytes: 65536 },
  'a cut block immediate, the rest by R2T': { keys: USUAL_KEYS, immediateBytes: 1001 },
  'several R2Ts ahead, bursts of odd size': {
    keys: withKeys([
      ['MaxBurstLength', '5000'],
      ['MaxOutstandingR2T', '4'],
    ]),
    immediateBytes: 777,
  },
  'with digests': { keys: [...USUAL_KEYS, ...DIGESTS], immediateBytes: 4096 },
  'as iPXE does': { keys: IPXE_KEYS, immediateBytes: 0 },
};

for (const [name, way] of Object.entries(WAYS)) {
  for (const kind of ['resident', 'cold'] as const) {
    test(`what is written is read: ${name}, ${kind}`, async () => {
      const device =
        kind === 'cold'
          ? new GateDevice({ sizeBytes: TEST_DISK_BYTES })
          : new MemoryDevice({ sizeBytes: TEST_DISK_BYTES });
      if (device instanceof GateDevice) device.gateOpen = true;
      const bench = testServer({ device });
      const i = await ready(bench, way.keys);
      const bytes = pattern(100 * BLOCK);
      const { immediateBytes } = way;
      const written = await i.command(readWrite('write', 8, 100), { write: bytes, immediateBytes });
      assert.deepEqual([written.status, written.residual], [0, 'none']);
      const read = await i.command(readWrite('read', 8, 100), { readBytes: bytes.length });
      assert.deepEqual([read.status, read.residual], [0, 'none']);
      assert.ok(read.data.equals(bytes));
      const traffic = bench.server.stats().traffic;
      assert.deepEqual([traffic.writtenBytes, traffic.readBytes], [bytes.length, bytes.length]);
      assert.equal(bench.server.plane.chunks.taken, 0, 'all output memory came back');
    });
  }
}

test('a whole exchange fed byte by byte', async () => {
  const bench = testServer();
  const i = await ready(bench);
  const bytes = pattern(4 * BLOCK);
  const pdu = i.commandPdu(readWrite('write', 0, 4), {
    write: true,
    expectedLengthBytes: bytes.length,
    data: bytes,
  });
  for (const byte of framePdu(encodeScsiCommand(pdu), i.digests)) i.sendBytes(Uint8Array.of(byte));
  assert.equal((await i.result(pdu.initiatorTaskTag)).status, 0);
  const read = await i.command(readWrite('read', 0, 4), { readBytes: bytes.length });
  assert.ok(read.data.equals(bytes));
});

test('hostile case 25: a write cut at every boundary leaves the same on the disk', async () => {
  const bytes = pattern(3 * BLOCK + 0);
  for (let cut = 1; cut < 48 + bytes.length; cut += 13) {
    const device = new MemoryDevice({ sizeBytes: TEST_DISK_BYTES });
    const i = await ready(testServer({ device }));
    const pdu = i.commandPdu(readWrite('write', 1, 3), {
      write: true,
      expectedLengthBytes: bytes.length,
      data: bytes,
    });
    const wire = framePdu(encodeScsiCommand(pdu), i.digests);
    i.sendBytes(wire.subarray(0, cut));
    i.sendBytes(wire.subarray(cut));
    assert.equal((await i.result(pdu.initiatorTaskTag)).status, 0);
    const on = new Uint8Array(bytes.length);
    device.tryRead(BLOCK, on, 0, on.length);
    assert.deepEqual(on, bytes, `cut at ${cut}`);
  }
});

/** All Data-In PDUs of one read. */
async function dataIns(i: TestInitiator, blocks: number): Promise<DataIn[]> {
  const pdu = i.commandPdu(readWrite('read', 0, blocks), {
    read: true,
    expectedLengthBytes: blocks * BLOCK,
  });
  i.send(encodeScsiCommand(pdu));
  const out: DataIn[] = [];
  do out.push(decodeDataIn(await i.next()));
  while (out.at(-1)?.hasStatus !== true);
  return out;
}

/** One long read as iPXE does it, PDU by PDU. */
async function checkSegments(cold: boolean): Promise<void> {
  const device = cold
    ? new GateDevice({ sizeBytes: TEST_DISK_BYTES })
    : new MemoryDevice({ sizeBytes: TEST_DISK_BYTES });
  if (device instanceof GateDevice) device.gateOpen = true;
  const bytes = pattern(2 * 1024 * 1024);
  device.load(bytes);
  const i = await ready(testServer({ device }), IPXE_KEYS);
  const pdus = await dataIns(i, 4000);
  assert.equal(pdus.length, Math.ceil((4000 * BLOCK) / 8192));
  let offset = 0;
  for (const [n, pdu] of pdus.entries()) {
    assert.deepEqual([pdu.dataSn, pdu.bufferOffsetBytes], [n, offset]);
    assert.ok(pdu.data.length <= 8192);
    offset += pdu.data.length;
    const last = offset === 4000 * BLOCK;
    assert.equal(pdu.final, last || offset % 262144 === 0, `F bit at ${offset}`);
    assert.equal(pdu.hasStatus, last);
  }
  const all = Buffer.concat(pdus.map((p) => p.data));
  assert.ok(all.equals(bytes.subarray(0, all.length)));
}

test('Data-In keeps to segment and burst limits, resident', () => checkSegments(false));
test('Data-In keeps to segment and burst limits, cold', () => checkSegments(true));

test('tiny segments on a disk of 4 KiB blocks', async () => {
  const device = new MemoryDevice({ sizeBytes: TEST_DISK_BYTES, blockBytes: 4096 });
  const bytes = pattern(10 * 4096);
  device.load(bytes);
  const bench = testServer({ device });
  const i = await ready(bench, withKeys([['MaxRecvDataSegmentLength', '1000'], ...DIGESTS]));
  const read = await i.command(readWrite('read', 0, 10), { readBytes: bytes.length });
  assert.ok(read.data.equals(bytes));
  const write = pattern(4096, 9);
  await i.command(readWrite('write', 3, 1), { write, immediateBytes: 100 });
  const again = await i.command(readWrite('read', 3, 1), { readBytes: 4096 });
  assert.ok(again.data.equals(write));
});

test('residuals: what the CDB moves and what the initiator expects differ', async () => {
  const i = await ready(testServer());
  const bytes = pattern(4 * BLOCK);
  await i.command(readWrite('write', 0, 4), { write: bytes, immediateBytes: bytes.length });
  const short = await i.command(readWrite('read', 0, 4), { readBytes: 700 });
  assert.deepEqual(
    [short.status, short.residual, short.residualBytes, short.data.length],
    [0, 'overflow', 4 * BLOCK - 700, 700],
  );
  assert.ok(short.data.equals(bytes.subarray(0, 700)));
  const long = await i.command(readWrite('read', 0, 1), { readBytes: 5000 });
  assert.deepEqual(
    [long.residual, long.residualBytes, long.data.length],
    ['underflow', 5000 - BLOCK, BLOCK],
  );
  const none = await i.command(readWrite('read', 0, 2));
  assert.deepEqual([none.status, none.residual, none.residualBytes], [0, 'overflow', 2 * BLOCK]);
  const over = pattern(3 * BLOCK, 5);
  const wide = await i.command(readWrite('write', 9, 1), { write: over, immediateBytes: 100 });
  assert.deepEqual([wide.status, wide.residual, wide.residualBytes], [0, 'underflow', 2 * BLOCK]);
  const narrow = await i.command(readWrite('write', 20, 3), { write: over.slice(0, BLOCK) });
  assert.deepEqual([narrow.status, narrow.residual], [0, 'overflow']);
  const back = await i.command(readWrite('read', 9, 2), { readBytes: 2 * BLOCK });
  assert.ok(back.data.equals(Buffer.concat([over.subarray(0, BLOCK), Buffer.alloc(BLOCK)])));
});

test('a failing disk: the read that failed has sense data, others go on', async () => {
  const device = new GateDevice({ sizeBytes: TEST_DISK_BYTES });
  const bench = testServer({ device });
  const i = await ready(bench);
  const failing = i.commandPdu(readWrite('read', 0, 2048), {
    read: true,
    expectedLengthBytes: 2048 * BLOCK,
  });
  i.send(encodeScsiCommand(failing));
  assert.equal(device.waiting.length, 4, 'several ranges are read at a time');
  await device.release(2);
  await device.release(1, new BlockError('io', 'bad sector', 2 * 262144));
  await device.release();
  const result = await i.result(failing.initiatorTaskTag);
  assert.deepEqual([result.status, result.sense[2]! & 15], [2, 3]);
  assert.equal(result.data.length, 2 * 262144);
  assert.equal(bench.server.plane.chunks.taken, 0);
  const failed = i.command(readWrite('write', 0, 1), {
    write: pattern(BLOCK),
    immediateBytes: BLOCK,
  });
  await device.release(1, new BlockError('no-space', 'full', 0));
  assert.equal((await failed).status, 2);
});

test('hostile case 29: a reader that never reads stops itself and nobody else', async () => {
  const bench = testServer();
  const stuck = await ready(bench, USUAL_KEYS, 'iqn.2026-11.test:stuck');
  const other = await ready(bench, USUAL_KEYS, 'iqn.2026-11.test:other');
  stuck.stalled = true;
  const tags: number[] = [];
  for (let n = 0; n < 100; n++) {
    const pdu = stuck.commandPdu(readWrite('read', 0, 1024), {
      read: true,
      expectedLengthBytes: 1024 * BLOCK,
    });
    tags.push(pdu.initiatorTaskTag);
    stuck.send(encodeScsiCommand(pdu));
  }
  assert.ok(stuck.paused, 'no more is received from it');
  const held = stuck.stuck.reduce((sum, s) => sum + s.lengthBytes, 0);
  assert.ok(held <= 2.6 * 1024 * 1024, `${held} bytes held`);
  const read = await other.command(readWrite('read', 0, 8), { readBytes: 8 * BLOCK });
  assert.equal(read.status, 0);
  stuck.unstall();
  for (const tag of tags) {
    const result = await stuck.result(tag);
    assert.deepEqual([result.status, result.data.length], [0, 1024 * BLOCK]);
  }
  assert.ok(!stuck.paused);
});

test('writes that the disk does not take at once: memory is bounded, then it goes on', async () => {
  const device = new GateDevice({ sizeBytes: 64 * 1024 * 1024 });
  const i = await ready(testServer({ device }), withKeys([['FirstBurstLength', '262144']]));
  const bytes = pattern(262144);
  const tags: number[] = [];
  while (!i.paused) {
    const pdu = i.commandPdu(readWrite('write', tags.length * 512, 512), {
      write: true,
      expectedLengthBytes: bytes.length,
      data: bytes,
    });
    tags.push(pdu.initiatorTaskTag);
    i.send(encodeScsiCommand(pdu));
  }
  assert.equal(tags.length, 253, '64 MiB of chunks are held, and the one that went over');
  await device.release();
  for (const tag of tags) assert.equal((await i.result(tag)).status, 0);
  assert.ok(!i.paused);
  assert.deepEqual(device.content(252 * 262144, 262144), bytes);
});

test('unsolicited data after the command, within FirstBurstLength', async () => {
  const device = new MemoryDevice({ sizeBytes: TEST_DISK_BYTES });
  const i = await ready(testServer({ device }));
  const bytes = pattern(8 * BLOCK);
  const pdu = i.commandPdu(readWrite('write', 0, 8), {
    write: true,
    final: false,
    expectedLengthBytes: bytes.length,
    data: bytes.slice(0, 300),
  });
  i.send(encodeScsiCommand(pdu));
  const common = {
    lun: 0,
    initiatorTaskTag: pdu.initiatorTaskTag,
    targetTransferTag: NO_TAG,
    expStatSn: 0,
  };
  const cuts = [300, 1500, 4000];
  for (const [n, from] of cuts.slice(0, -1).entries()) {
    const to = cuts[n + 1]!;
    i.send(
      encodeDataOut({
        ...common,
        final: n === 1,
        dataSn: n,
        bufferOffsetBytes: from,
        data: bytes.slice(from, to),
      }),
    );
  }
  const r2t = decodeR2t(await i.next());
  assert.deepEqual([r2t.bufferOffsetBytes, r2t.desiredLengthBytes], [4000, 96]);
  const { targetTransferTag } = r2t;
  const rest = { final: true, dataSn: 0, bufferOffsetBytes: 4000, data: bytes.slice(4000) };
  i.send(encodeDataOut({ ...common, targetTransferTag, ...rest }));
  assert.equal((await i.result(pdu.initiatorTaskTag)).status, 0);
  const on = new Uint8Array(bytes.length);
  device.tryRead(0, on, 0, on.length);
  assert.deepEqual(on, bytes);
});

test('an ordered write waits for a cold read, and a read behind it sees its data', async () => {
  const device = new GateDevice({ sizeBytes: TEST_DISK_BYTES });
  const i = await ready(testServer({ device }));
  const bytes = pattern(BLOCK, 3);
  const read = { read: true, expectedLengthBytes: BLOCK } as const;
  const first = i.commandPdu(readWrite('read', 0, 1), read);
  const write = i.commandPdu(readWrite('write', 0, 1), {
    write: true,
    attribute: 2,
    expectedLengthBytes: BLOCK,
    data: bytes,
  });
  const last = i.commandPdu(readWrite('read', 0, 1), read);
  for (const pdu of [first, write, last]) i.send(encodeScsiCommand(pdu));
  assert.deepEqual(
    device.waiting.map((w) => w.kind),
    ['read'],
  );
  await device.release();
  assert.deepEqual(
    device.waiting.map((w) => w.kind),
    ['write'],
  );
  await device.release();
  await device.release();
  assert.ok((await i.result(first.initiatorTaskTag)).data.equals(Buffer.alloc(BLOCK)));
  assert.equal((await i.result(write.initiatorTaskTag)).status, 0);
  assert.ok((await i.result(last.initiatorTaskTag)).data.equals(bytes));
});

/** Sends 16 reads in one piece, and tells in how many sends they were answered. */
function sendsForReads(i: TestInitiator): number {
  const last = i.received.at(-1);
  const expStatSn = last === undefined ? 0 : Buffer.from(last.header).readUInt32BE(24) + 1;
  const wires = Array.from({ length: 16 }, () => {
    const pdu = i.commandPdu(readWrite('read', 0, 8), {
      read: true,
      expectedLengthBytes: 8 * BLOCK,
      expStatSn,
    });
    return framePdu(encodeScsiCommand(pdu), i.digests);
  });
  const bytes = Buffer.concat(wires);
  i.received.length = 0;
  i.stalled = true;
  i.connection.received(bytes, new DataView(bytes.buffer, bytes.byteOffset), 0, bytes.length);
  const sends = i.stuck.length;
  i.unstall();
  assert.equal(i.received.length, 16);
  assert.ok(i.received.every((pdu) => opcodeOf(pdu) === Opcode.DATA_IN));
  return sends;
}

test('answers to what one tick brought go out in one send, of one session alone in some', async () => {
  const bench = testServer();
  const first = await ready(bench);
  const second = await ready(bench, USUAL_KEYS, 'iqn.2026-11.test:second');
  for (let n = 0; n < 8; n++) {
    assert.equal(sendsForReads(first), 1);
    assert.equal(sendsForReads(second), 1);
  }
  let alone = 0;
  for (let n = 0; n < 8; n++) alone = sendsForReads(second);
  assert.ok(alone > 1 && alone <= 4, `${alone} sends`);
  assert.equal(sendsForReads(first), 1);
  assert.equal(sendsForReads(second), alone, 'one call of another changes nothing');
});
