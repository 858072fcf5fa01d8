import assert from 'node:assert/strict';
import { test } from 'node:test';
import { COMMAND_WINDOW, IMMEDIATE_COMMANDS_MAX } from '#iscsi/limits.ts';
import { Opcode, RejectReason, decodeNopIn, decodeR2t, decodeReject } from '#iscsi/pdu/mod.ts';
import { encodeDataOut, encodeScsiCommand } from '#iscsi/pdu/mod.ts';
import { framePdu, opcodeOf } from '#iscsi/pdu/mod.ts';
import type { DataOut, R2t } from '#iscsi/pdu/mod.ts';
import type { KeyValue } from '#iscsi/text.ts';
import { MemoryDevice } from '#block/mod.ts';
import { BLOCK_BYTES, USUAL_KEYS, readWrite } from './raw-initiator.ts';
import type { RawInitiator } from './raw-initiator.ts';
import { DISK_BYTES, HeldDevice, marked, rig, until } from './rig.ts';

const READ = { read: true, expectedLengthBytes: BLOCK_BYTES } as const;
const ONE_BLOCK = readWrite('read', 0, 1);
const NO_TAG = 0xffffffff;
const ABORTED_COMMAND = 0x0b;

function keysWith(changes: Readonly<Record<string, string>>): readonly KeyValue[] {
  const kept = USUAL_KEYS.filter(([key]) => changes[key] === undefined);
  return [...kept, ...Object.entries(changes)];
}

/** A write command without its data; returns the first R2T. */
async function asksFor(
  peer: RawInitiator,
  blocks: number,
  lba = 0,
): Promise<{ tag: number; r2t: R2t }> {
  const expectedLengthBytes = blocks * BLOCK_BYTES;
  const tag = peer.issue(readWrite('write', lba, blocks), { write: true, expectedLengthBytes });
  return { tag, r2t: decodeR2t(await peer.next()) };
}

function onDisk(device: MemoryDevice, lba: number, blocks: number): Buffer {
  const bytes = Buffer.alloc(blocks * BLOCK_BYTES);
  device.tryRead(lba * BLOCK_BYTES, bytes, 0, bytes.length);
  return bytes;
}

async function alive(peer: RawInitiator): Promise<void> {
  assert.equal((await peer.read(0, 1)).length, BLOCK_BYTES);
}

/** The echo of a ping: what came before it was dealt with. Returns what was said meanwhile. */
async function echo(peer: RawInitiator): Promise<{ expCmdSn: number; maxCmdSn: number }> {
  peer.nop(0x4e0b);
  const pdu = await peer.next();
  assert.equal(opcodeOf(pdu), Opcode.NOP_IN, 'nothing but the echo');
  return decodeNopIn(pdu);
}

test('hostile case 26: a CmdSN that was used, or is out of the window, is ignored', async (t) => {
  const r = await rig(t);
  const peer = await r.enter();
  const at = peer.cmdSn;
  const strange = [at - 1, at - 2, at - COMMAND_WINDOW, at + COMMAND_WINDOW, at + 2 ** 31];
  for (const cmdSn of strange) {
    const pdu = peer.commandPdu(ONE_BLOCK, { ...READ, immediate: true });
    peer.send(encodeScsiCommand({ ...pdu, immediate: false, cmdSn: cmdSn >>> 0 }));
  }
  const { expCmdSn } = await echo(peer);
  assert.equal(expCmdSn, at);
  assert.equal(r.server.stats().counters['commands-outside-window'], strange.length);
  await alive(peer);
});

test('hostile case 26: a gap in CmdSN can never be filled on one connection', async (t) => {
  const r = await rig(t);
  const peer = await r.enter();
  const pdu = peer.commandPdu(ONE_BLOCK, READ);
  peer.send(encodeScsiCommand({ ...pdu, cmdSn: pdu.cmdSn + 1 }));
  await peer.ended();
  await until(() => r.server.stats().sessions.length === 0);
});

test('hostile case 26: CmdSN goes on at the end of its 32 bits', async (t) => {
  const r = await rig(t);
  const peer = await r.dial();
  const names: readonly KeyValue[] = [
    ['InitiatorName', 'iqn.2026-11.test:wrap'],
    ['TargetName', 'iqn.2026-11.test:disk'],
  ];
  peer.cmdSn = 0xfffffff0;
  await peer.loginStep([...names, ...USUAL_KEYS], { cmdSn: peer.cmdSn });
  await peer.settle();
  for (let n = 0; n < 40; n++) await alive(peer);
  assert.ok(peer.cmdSn < 100);
});

test('hostile case 26: the window is full when nothing is answered, and opens again', async (t) => {
  const device = new HeldDevice(new MemoryDevice({ sizeBytes: DISK_BYTES }));
  const r = await rig(t, { device });
  const peer = await r.enter();
  const tags = Array.from({ length: COMMAND_WINDOW }, (_, n) =>
    peer.issue(readWrite('read', n, 1), READ),
  );
  const late = peer.commandPdu(ONE_BLOCK, { ...READ, immediate: true });
  peer.send(encodeScsiCommand({ ...late, immediate: false }));
  const window = await echo(peer);
  assert.deepEqual([window.expCmdSn, window.maxCmdSn], [peer.cmdSn, peer.cmdSn - 1]);
  assert.equal(r.server.stats().counters['commands-outside-window'], 1);
  device.unlock();
  for (const tag of tags) assert.equal((await peer.result(tag)).status, 0);
  await alive(peer);
});

test('hostile case 26: a flood of immediate commands, and of tags in use', async (t) => {
  const device = new HeldDevice(new MemoryDevice({ sizeBytes: DISK_BYTES }));
  const r = await rig(t, { device });
  const peer = await r.enter();
  const tags: number[] = [];
  for (let n = 0; n < 1000; n++) tags.push(peer.issue(ONE_BLOCK, { ...READ, immediate: true }));
  const refused = new Set<number>();
  while (refused.size < 1000 - IMMEDIATE_COMMANDS_MAX) {
    const reject = decodeReject(await peer.next());
    assert.equal(reject.reason, RejectReason.TOO_MANY_IMMEDIATE_COMMANDS);
    refused.add(Buffer.from(reject.data).readUInt32BE(16));
  }
  const taken = tags.filter((tag) => !refused.has(tag));
  for (const initiatorTaskTag of taken) {
    const twin = peer.commandPdu(ONE_BLOCK, { ...READ, initiatorTaskTag });
    peer.send(encodeScsiCommand(twin));
    const reject = decodeReject(await peer.next());
    assert.equal(reject.reason, RejectReason.TASK_IN_PROGRESS);
  }
  device.unlock();
  for (const tag of taken) assert.equal((await peer.result(tag)).status, 0);
  await alive(peer);
});

test('hostile case 26: a Data-Out with one wrong field fails its command, and writes nothing', async (t) => {
  const spoils: Record<string, Partial<DataOut>> = {
    'DataSN ahead': { dataSn: 1 },
    'DataSN far': { dataSn: 0xffffffff },
    'offset ahead': { bufferOffsetBytes: BLOCK_BYTES },
    'offset far': { bufferOffsetBytes: 0xfffffe00 },
    'past the R2T': { data: marked(3 * BLOCK_BYTES, 1) },
    'final too early': { data: marked(BLOCK_BYTES, 1) },
    'final missing': { final: false },
    'no tag': { targetTransferTag: NO_TAG },
  };
  for (const [what, spoil] of Object.entries(spoils)) {
    const device = new MemoryDevice({ sizeBytes: DISK_BYTES });
    const r = await rig(t, { device });
    const peer = await r.enter();
    const { tag, r2t } = await asksFor(peer, 2);
    peer.dataOut(r2t, { data: marked(2 * BLOCK_BYTES, 1), ...spoil });
    // Where the spoilt PDU did not end what was asked for, an honest end does.
    if (what === 'final missing' || what === 'no tag') peer.dataOut(r2t, { dataSn: 1 });
    const result = await peer.result(tag);
    assert.deepEqual([result.status, result.sense[2]], [2, ABORTED_COMMAND], what);
    assert.ok(onDisk(device, 0, 4).equals(Buffer.alloc(4 * BLOCK_BYTES)), `${what}: on disk`);
    await alive(peer);
  }
});

test('hostile case 26: the transfer tag of another task, and Data-Out that came twice', async (t) => {
  const device = new MemoryDevice({ sizeBytes: DISK_BYTES });
  const r = await rig(t, { device });
  const peer = await r.enter();
  const one = await asksFor(peer, 1, 0);
  const two = await asksFor(peer, 1, 1);
  const swapped = { targetTransferTag: two.r2t.targetTransferTag, data: marked(BLOCK_BYTES, 9) };
  peer.dataOut(one.r2t, swapped);
  await echo(peer);
  assert.equal(r.server.stats().counters['data-out-dropped'], 1, 'nobody has that pair of tags');
  peer.dataOut(two.r2t, { data: marked(BLOCK_BYTES, 2) });
  assert.equal((await peer.result(two.tag)).status, 0);
  peer.dataOut(two.r2t, { data: marked(BLOCK_BYTES, 3) });
  peer.dataOut(one.r2t, { data: marked(BLOCK_BYTES, 1) });
  assert.equal((await peer.result(one.tag)).status, 0);
  await echo(peer);
  const bytes = onDisk(device, 0, 2);
  assert.deepEqual([bytes[0], bytes[BLOCK_BYTES]], [1, 2], 'what came twice was not written twice');
});

test('hostile case 26: several R2Ts answered out of order', async (t) => {
  const device = new MemoryDevice({ sizeBytes: DISK_BYTES });
  const r = await rig(t, { device });
  const keys = keysWith({ MaxBurstLength: '512', FirstBurstLength: '512', MaxOutstandingR2T: '4' });
  const peer = await r.enter({ keys });
  const { tag, r2t } = await asksFor(peer, 4);
  const more = [decodeR2t(await peer.next()), decodeR2t(await peer.next())];
  const last = decodeR2t(await peer.next());
  assert.deepEqual(
    [r2t, ...more, last].map((each) => each.bufferOffsetBytes),
    [0, 512, 1024, 1536],
  );
  peer.dataOut(last, { data: marked(512, 1) });
  for (const each of [r2t, ...more]) peer.dataOut(each, { data: marked(512, 1) });
  peer.dataOut(last, { data: marked(512, 1) });
  const result = await peer.result(tag);
  // DataSequenceInOrder=Yes was agreed on.
  assert.deepEqual([result.status, result.sense[2]], [2, ABORTED_COMMAND]);
  await alive(peer);
});

test('hostile case 26: data past the expected length, in all the ways it can come', async (t) => {
  const device = new MemoryDevice({ sizeBytes: DISK_BYTES });
  const r = await rig(t, { device });
  const peer = await r.enter();
  const two = readWrite('write', 0, 2);
  const immediate = peer.issue(two, {
    write: true,
    expectedLengthBytes: BLOCK_BYTES,
    data: marked(2 * BLOCK_BYTES, 1),
  });
  assert.equal((await peer.result(immediate)).status, 2);
  const tag = peer.issue(two, { write: true, final: false, expectedLengthBytes: BLOCK_BYTES });
  const out = { final: true, lun: 0, initiatorTaskTag: tag, targetTransferTag: NO_TAG };
  const at = { expStatSn: 0, dataSn: 0, bufferOffsetBytes: 0 };
  peer.send(encodeDataOut({ ...out, ...at, data: marked(2 * BLOCK_BYTES, 1) }));
  assert.equal((await peer.result(tag)).status, 2, 'its F bit is the end of it');
  const noWrite = peer.issue(ONE_BLOCK, { ...READ, data: marked(BLOCK_BYTES, 1) });
  // Data with a READ is for nobody: it is dropped, and the command has its one answer.
  assert.ok([0, 2].includes((await peer.result(noWrite)).status));
  assert.ok(onDisk(device, 0, 2).equals(Buffer.alloc(2 * BLOCK_BYTES)));
  await alive(peer);
});

test('hostile case 26: unsolicited data that was negotiated away', async (t) => {
  const r = await rig(t);
  const quiet = await r.enter({ keys: keysWith({ ImmediateData: 'No' }) });
  const early = quiet.write(0, marked(BLOCK_BYTES, 1));
  const refused = await quiet.result(early);
  assert.deepEqual([refused.status, refused.sense[12], refused.sense[13]], [2, 0x0c, 0x0c]);
  await alive(quiet);
  const asked = await r.enter({ isid: '800000000002', keys: keysWith({ InitialR2T: 'Yes' }) });
  const tag = asked.issue(readWrite('write', 0, 1), {
    write: true,
    final: false,
    expectedLengthBytes: BLOCK_BYTES,
  });
  const out = { final: true, lun: 0, initiatorTaskTag: tag, targetTransferTag: NO_TAG };
  const at = { expStatSn: 0, dataSn: 0, bufferOffsetBytes: 0, data: marked(BLOCK_BYTES, 1) };
  asked.send(encodeDataOut({ ...out, ...at }));
  assert.equal((await asked.result(tag)).status, 2);
  await alive(asked);
});

test('hostile case 26: digests: a bad data digest fails one command, a bad header digest all', async (t) => {
  const device = new MemoryDevice({ sizeBytes: DISK_BYTES });
  const r = await rig(t, { device });
  const keys = [...USUAL_KEYS, ['HeaderDigest', 'CRC32C'], ['DataDigest', 'CRC32C']] as const;
  const peer = await r.enter({ keys });
  const { tag, r2t } = await asksFor(peer, 1);
  const data = framePdu(
    encodeDataOut({
      final: true,
      lun: 0,
      initiatorTaskTag: tag,
      targetTransferTag: r2t.targetTransferTag,
      expStatSn: 0,
      dataSn: 0,
      bufferOffsetBytes: 0,
      data: marked(BLOCK_BYTES, 1),
    }),
    peer.digests,
  );
  data[100]! ^= 0x10;
  peer.sendBytes(data);
  assert.equal(decodeReject(await peer.next()).reason, RejectReason.DATA_DIGEST_ERROR);
  const result = await peer.result(tag);
  assert.deepEqual([result.status, result.sense[12], result.sense[13]], [2, 0x47, 0x05]);
  assert.ok(onDisk(device, 0, 1).equals(Buffer.alloc(BLOCK_BYTES)));
  await alive(peer);
  const pdu = framePdu(encodeScsiCommand(peer.commandPdu(ONE_BLOCK, READ)), peer.digests);
  pdu[40]! ^= 1;
  peer.sendBytes(pdu);
  await peer.ended();
  const { counters } = r.server.stats();
  assert.deepEqual([counters['header-digest-errors'], counters['data-digest-errors']], [1, 1]);
});

test('hostile case 26: a WRITE that says it reads, and a READ that says it writes', async (t) => {
  const device = new MemoryDevice({ sizeBytes: DISK_BYTES });
  const r = await rig(t, { device });
  const peer = await r.enter();
  const reads = peer.issue(readWrite('write', 0, 1), READ);
  assert.equal((await peer.result(reads)).status, 2, 'nothing was written: that is not GOOD');
  const data = marked(BLOCK_BYTES, 1);
  const write = { write: true, expectedLengthBytes: BLOCK_BYTES, data } as const;
  // The reverse may end GOOD, libiscsi's Read10Invalid wants it so; but no data goes either way.
  const reverse = await peer.result(peer.issue(ONE_BLOCK, write));
  assert.equal(reverse.data.length, 0);
  assert.ok(onDisk(device, 0, 1).equals(Buffer.alloc(BLOCK_BYTES)));
  await alive(peer);
});

test('hostile case 26: the last PDU of unsolicited data never has its F bit', async (t) => {
  const r = await rig(t);
  const peer = await r.enter();
  const tag = peer.issue(readWrite('write', 0, 2), {
    write: true,
    final: false,
    expectedLengthBytes: 2 * BLOCK_BYTES,
  });
  const out = { final: false, lun: 0, initiatorTaskTag: tag, targetTransferTag: NO_TAG };
  const data = marked(2 * BLOCK_BYTES, 1);
  peer.send(encodeDataOut({ ...out, expStatSn: 0, dataSn: 0, bufferOffsetBytes: 0, data }));
  await echo(peer);
  await alive(peer);
  // It waits for the F bit; an abort frees the tag, and the session was never blocked.
  assert.equal(r.server.stats().sessions.length, 1);
});
