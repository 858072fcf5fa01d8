import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  COLD_WRITE_BYTES_MAX,
  COMMAND_WINDOW,
  HELD_BYTES_MAX,
  IMMEDIATE_COMMANDS_MAX,
  PING_AFTER_MS,
  PING_TIMEOUT_MS,
  SERVICE_OUTPUT_BYTES_MAX,
  SWEEP_MS,
} from './limits.ts';
import { NO_DIGESTS, Opcode, RejectReason, TaskFunction, TaskResponse } from './pdu/mod.ts';
import { decodeReject, decodeScsiResponse, decodeTaskManagementResponse } from './pdu/mod.ts';
import { encodeDataOut, encodeScsiCommand, encodeTaskManagementRequest } from './pdu/mod.ts';
import { encodeLogoutRequest, encodeTextRequest, framePdu, opcodeOf } from './pdu/mod.ts';
import type { KeyValue } from './text.ts';
import { TEST_DISK_BYTES, pattern, readWrite, testServer } from './testing/disk.ts';
import type { Bench } from './testing/disk.ts';
import { GateDevice } from './testing/gate-device.ts';
import { NO_TAG, TestInitiator, USUAL_KEYS } from './testing/initiator.ts';

const BLOCK = 512;
const ORDERED = 2;

type Gated = { readonly bench: Bench; readonly device: GateDevice; readonly i: TestInitiator };

async function gated(keys: readonly KeyValue[] = USUAL_KEYS): Promise<Gated> {
  const device = new GateDevice({ sizeBytes: TEST_DISK_BYTES });
  const bench = testServer({ device });
  const i = new TestInitiator(bench.server);
  await i.login({ keys });
  await i.command([0, 0, 0, 0, 0, 0]);
  return { bench, device, i };
}

/** A write with immediate data; returns its tag. */
function write(i: TestInitiator, lba: number, bytes: Uint8Array, attribute = 1): number {
  const pdu = i.commandPdu(readWrite('write', lba, bytes.length / BLOCK), {
    write: true,
    attribute,
    expectedLengthBytes: bytes.length,
    data: bytes,
  });
  i.send(encodeScsiCommand(pdu));
  return pdu.initiatorTaskTag;
}

function abortTask(i: TestInitiator, tag: number, referencedTaskTag: number): void {
  manage(i, TaskFunction.ABORT_TASK, tag, referencedTaskTag);
}

function manage(i: TestInitiator, fn: number, tag: number, referencedTaskTag = NO_TAG): void {
  i.send(
    encodeTaskManagementRequest({
      immediate: true,
      function: fn,
      lun: 0,
      initiatorTaskTag: tag,
      referencedTaskTag,
      cmdSn: i.cmdSn,
      expStatSn: 0,
      refCmdSn: 0,
      expDataSn: 0,
    }),
  );
}

function unsolicited(
  i: TestInitiator,
  tag: number,
  sn: number,
  at: number,
  data: Uint8Array,
  final = false,
): void {
  i.send(
    encodeDataOut({
      final,
      lun: 0,
      initiatorTaskTag: tag,
      targetTransferTag: NO_TAG,
      expStatSn: 0,
      dataSn: sn,
      bufferOffsetBytes: at,
      data,
    }),
  );
}

test('a flood of aborts and logouts for a task that waits for the disk is bounded', async () => {
  const { device, i } = await gated();
  const tag = write(i, 0, pattern(BLOCK));
  for (let n = 0; n < 20_000; n++) abortTask(i, 1000 + n, tag);
  assert.equal(i.received.length, 20_000 - IMMEDIATE_COMMANDS_MAX, 'all others are refused');
  for (const pdu of i.received.splice(0)) {
    assert.equal(decodeReject(pdu).reason, RejectReason.TOO_MANY_IMMEDIATE_COMMANDS);
  }
  const logout = { immediate: true, reason: 0, initiatorTaskTag: 7, cid: 0, expStatSn: 0 };
  i.send(encodeLogoutRequest({ ...logout, cmdSn: i.cmdSn }));
  assert.equal(decodeReject(await i.next()).reason, RejectReason.TOO_MANY_IMMEDIATE_COMMANDS);
  await device.release();
  for (let n = 0; n < IMMEDIATE_COMMANDS_MAX; n++) {
    const answer = decodeTaskManagementResponse(await i.next());
    assert.deepEqual(
      [answer.initiatorTaskTag, answer.response],
      [1000 + n, TaskResponse.FUNCTION_COMPLETE],
    );
  }
  device.gateOpen = true;
  assert.equal((await i.command([0, 0, 0, 0, 0, 0])).status, 0);
});

test('commands that were aborted take their room until the disk answers', async () => {
  const { device, i } = await gated();
  const begin = i.cmdSn;
  const responses: number[] = [];
  for (let round = 0; round < 6; round++) {
    for (let n = 0; n < COMMAND_WINDOW; n++) {
      i.send(encodeScsiCommand(i.commandPdu([0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0])));
    }
    // Were their room free at once, there would be five times as many as there are places for.
    assert.equal(device.waiting.length, COMMAND_WINDOW);
    manage(i, TaskFunction.ABORT_TASK_SET, 9000 + round);
  }
  assert.equal(i.received.length, 0, 'nothing is over yet');
  await device.release();
  for (let round = 0; round < 6; round++) {
    const answer = decodeTaskManagementResponse(await i.next());
    assert.equal(answer.response, TaskResponse.FUNCTION_COMPLETE);
    assert.equal(answer.expCmdSn, begin + COMMAND_WINDOW);
    assert.equal(answer.maxCmdSn - answer.expCmdSn, COMMAND_WINDOW - 1);
    responses.push(answer.initiatorTaskTag);
  }
  assert.deepEqual(responses, [9000, 9001, 9002, 9003, 9004, 9005]);
  i.cmdSn = begin + COMMAND_WINDOW;
  assert.equal((await i.command([0, 0, 0, 0, 0, 0])).status, 0);
});

test('small writes that the disk has not taken hold small memory', async () => {
  const { bench, device, i } = await gated();
  let written = 0;
  while (!i.paused) {
    const pdu = i.commandPdu(readWrite('write', 0, 512), {
      write: true,
      final: false,
      expectedLengthBytes: 512 * BLOCK,
    });
    i.send(encodeScsiCommand(pdu));
    for (let n = 0; n < 512 && !i.paused; n++, written++) {
      unsolicited(i, pdu.initiatorTaskTag, n, n * BLOCK, pattern(BLOCK));
    }
  }
  // A chunk of 1 KiB each, whatever else: 4,097 × 260 KiB would be a gigabyte.
  assert.equal(written, COLD_WRITE_BYTES_MAX / 1024 + 1);
  assert.equal(bench.server.plane.chunks.taken, written);
  await device.release();
  assert.equal(bench.server.plane.chunks.taken, 0);
});

test('an initiator that is not heard, because the disk stalls, is not called silent', async () => {
  const { bench, device, i } = await gated();
  for (let lba = 0; !i.paused; lba += 512) write(i, lba % 8192, pattern(512 * BLOCK));
  for (let passedMs = 0; passedMs < 2 * (PING_AFTER_MS + PING_TIMEOUT_MS); passedMs += SWEEP_MS) {
    bench.clock.advance(SWEEP_MS);
  }
  assert.equal(bench.server.stats().counters['pings-unanswered'], 0);
  assert.ok(!i.closed);
  device.gateOpen = true;
  await device.release();
  assert.ok(!i.paused);
  // From now on it is heard, and says nothing.
  for (let passedMs = 0; passedMs < 2 * (PING_AFTER_MS + PING_TIMEOUT_MS); passedMs += SWEEP_MS) {
    bench.clock.advance(SWEEP_MS);
  }
  assert.equal(bench.server.stats().counters['pings-unanswered'], 1);
});

test('small cold reads are read 32 deep and more', async () => {
  const { device, i } = await gated();
  const read = { read: true, expectedLengthBytes: 8 * BLOCK } as const;
  const tags = Array.from({ length: 200 }, (_, n) => {
    const pdu = i.commandPdu(readWrite('read', n * 8, 8), read);
    i.send(encodeScsiCommand(pdu));
    return pdu.initiatorTaskTag;
  });
  assert.equal(device.waiting.length, 200);
  const large = { read: true, expectedLengthBytes: 512 * BLOCK } as const;
  const more = Array.from({ length: 8 }, (_, n) => {
    const pdu = i.commandPdu(readWrite('read', n * 512, 512), large);
    i.send(encodeScsiCommand(pdu));
    return pdu.initiatorTaskTag;
  });
  assert.equal(device.waiting.length, 201, 'the bytes in flight are bounded');
  device.gateOpen = true;
  await device.release();
  for (const tag of [...tags, ...more]) assert.equal((await i.result(tag)).status, 0);
});

test('data that is out of order does not widen what may be held for waiting commands', async () => {
  const { bench, device, i } = await gated();
  const reader = i.commandPdu(readWrite('read', 0, 1), { read: true, expectedLengthBytes: BLOCK });
  i.send(encodeScsiCommand(reader));
  const held = (): number => {
    const pdu = i.commandPdu(readWrite('write', 0, 512), {
      write: true,
      final: false,
      attribute: ORDERED,
      expectedLengthBytes: 512 * BLOCK,
    });
    i.send(encodeScsiCommand(pdu));
    return pdu.initiatorTaskTag;
  };
  const piece = pattern(65536);
  for (let n = 0; n < 20; n++) {
    const tag = held();
    for (let k = 0; k < 8; k++) unsolicited(i, tag, 5, 7, piece);
    abortTask(i, 1000 + n, tag);
  }
  for (const pdu of i.received.splice(0)) {
    assert.equal(opcodeOf(pdu), Opcode.TASK_MANAGEMENT_RESPONSE);
  }
  const tags: number[] = [];
  for (let bytes = 0; bytes <= HELD_BYTES_MAX; bytes += piece.length) {
    const tag = held();
    tags.push(tag);
    unsolicited(i, tag, 0, 0, piece);
  }
  const finish = (tag: number): void => {
    i.send(
      encodeDataOut({
        final: true,
        lun: 0,
        initiatorTaskTag: tag,
        targetTransferTag: NO_TAG,
        expStatSn: 0,
        dataSn: 1,
        bufferOffsetBytes: piece.length,
        data: pattern(512 * BLOCK - piece.length),
      }),
    );
  };
  const last = tags.at(-1)!;
  for (const tag of tags.slice(0, -1)) abortTask(i, 5000 + tag, tag);
  i.received.length = 0;
  device.gateOpen = true;
  await device.release();
  assert.equal((await i.result(reader.initiatorTaskTag)).status, 0);
  finish(last);
  const full = await i.result(last);
  assert.equal(full.status, 0x28, 'TASK SET FULL, when the rest of its data has come');
  assert.equal(bench.server.stats().traffic.writtenBytes, 0);
});

test('unsolicited data of a command that waits needs no leave for immediate data', async () => {
  const keys: readonly KeyValue[] = [
    ['InitialR2T', 'No'],
    ['ImmediateData', 'No'],
  ];
  const { device, i } = await gated(keys);
  const reader = i.commandPdu(readWrite('read', 0, 1), { read: true, expectedLengthBytes: BLOCK });
  i.send(encodeScsiCommand(reader));
  const ordered = { write: true, attribute: ORDERED, expectedLengthBytes: BLOCK } as const;
  const good = i.commandPdu(readWrite('write', 1, 1), { ...ordered, final: false });
  i.send(encodeScsiCommand(good));
  const data = pattern(BLOCK);
  unsolicited(i, good.initiatorTaskTag, 0, 0, data, true);
  // This one is as wrong as if it had not to wait.
  const bad = i.commandPdu(readWrite('write', 2, 1), { ...ordered, data });
  i.send(encodeScsiCommand(bad));
  device.gateOpen = true;
  await device.release();
  assert.equal((await i.result(reader.initiatorTaskTag)).status, 0);
  assert.equal((await i.result(good.initiatorTaskTag)).status, 0);
  const refused = await i.result(bad.initiatorTaskTag);
  assert.deepEqual([refused.status, refused.sense[12], refused.sense[13]], [2, 0x0c, 0x0c]);
  assert.deepEqual(device.content(BLOCK, BLOCK), data);
  assert.deepEqual(device.content(2 * BLOCK, BLOCK), new Uint8Array(BLOCK));
});

test('a command that waited numbers the data it is asked for from zero', async () => {
  const { device, i } = await gated([
    ['InitialR2T', 'No'],
    ['FirstBurstLength', '1024'],
  ]);
  const reader = i.commandPdu(readWrite('read', 0, 1), { read: true, expectedLengthBytes: BLOCK });
  i.send(encodeScsiCommand(reader));
  const data = pattern(4 * BLOCK);
  const writer = i.commandPdu(readWrite('write', 0, 4), {
    write: true,
    attribute: ORDERED,
    final: false,
    expectedLengthBytes: data.length,
  });
  i.send(encodeScsiCommand(writer));
  unsolicited(i, writer.initiatorTaskTag, 0, 0, data.slice(0, BLOCK));
  unsolicited(i, writer.initiatorTaskTag, 1, BLOCK, data.slice(BLOCK, 2 * BLOCK), true);
  device.gateOpen = true;
  await device.release();
  assert.equal((await i.result(reader.initiatorTaskTag)).status, 0);
  assert.equal((await i.result(writer.initiatorTaskTag, data)).status, 0);
  assert.deepEqual(device.content(0, data.length), data);
});

test('a command that is refused in its turn takes no data of the one that is being received', async () => {
  const { device, i } = await gated();
  const ordered = { read: true, attribute: ORDERED, expectedLengthBytes: BLOCK } as const;
  const reader = i.commandPdu(readWrite('read', 0, 1), ordered);
  i.send(encodeScsiCommand(reader));
  const both = i.commandPdu(readWrite('read', 0, 1), {
    read: true,
    write: true,
    expectedLengthBytes: BLOCK,
  });
  i.send(encodeScsiCommand(both));
  const data = pattern(2 * BLOCK);
  const writer = i.commandPdu(readWrite('write', 0, 2), {
    write: true,
    expectedLengthBytes: data.length,
    data,
  });
  const bytes = framePdu(encodeScsiCommand(writer), NO_DIGESTS);
  i.sendBytes(bytes.subarray(0, 100));
  device.gateOpen = true;
  await device.release();
  assert.equal((await i.result(reader.initiatorTaskTag)).status, 0);
  assert.equal(decodeScsiResponse(await i.next()).initiatorTaskTag, both.initiatorTaskTag);
  i.sendBytes(bytes.subarray(100));
  const response = await i.next();
  assert.equal(opcodeOf(response), Opcode.SCSI_RESPONSE, 'nothing is asked for twice');
  assert.equal(decodeScsiResponse(response).status, 0);
  assert.deepEqual(device.content(0, data.length), data);
});

test('a data digest error fails a command that waits for an older one, in its turn', async () => {
  const { bench, device, i } = await gated([...USUAL_KEYS, ['DataDigest', 'CRC32C']]);
  const reader = i.commandPdu(readWrite('read', 0, 1), { read: true, expectedLengthBytes: BLOCK });
  i.send(encodeScsiCommand(reader));
  const ordered = { write: true, attribute: ORDERED, expectedLengthBytes: BLOCK } as const;
  const immediate = i.commandPdu(readWrite('write', 0, 1), { ...ordered, data: pattern(BLOCK) });
  const spoiled = framePdu(encodeScsiCommand(immediate), i.digests);
  spoiled[100]! ^= 1;
  i.sendBytes(spoiled);
  const later = i.commandPdu(readWrite('write', 1, 1), { ...ordered, final: false });
  i.send(encodeScsiCommand(later));
  const out = framePdu(
    encodeDataOut({
      final: true,
      lun: 0,
      initiatorTaskTag: later.initiatorTaskTag,
      targetTransferTag: NO_TAG,
      expStatSn: 0,
      dataSn: 0,
      bufferOffsetBytes: 0,
      data: pattern(BLOCK),
    }),
    i.digests,
  );
  out[100]! ^= 1;
  i.sendBytes(out);
  for (let n = 0; n < 2; n++) {
    assert.equal(decodeReject(await i.next()).reason, RejectReason.DATA_DIGEST_ERROR);
  }
  device.gateOpen = true;
  await device.release();
  assert.equal((await i.result(reader.initiatorTaskTag)).status, 0);
  for (const tag of [immediate.initiatorTaskTag, later.initiatorTaskTag]) {
    const response = decodeScsiResponse(await i.next());
    assert.equal(response.initiatorTaskTag, tag);
    assert.deepEqual([response.status, response.sense[12], response.sense[13]], [2, 0x47, 0x05]);
  }
  assert.deepEqual(device.content(0, BLOCK), new Uint8Array(BLOCK));
  assert.equal(bench.server.plane.chunks.taken, 0);
});

test('who asks for text faster than it reads is dropped', async () => {
  const bench = testServer();
  for (let n = 0; n < 200; n++) {
    const iqn = `iqn.2026-11.test:machine-${n}`;
    bench.server.addExport({ iqn, access: 'any', takeover: true }, bench.units);
  }
  const i = new TestInitiator(bench.server);
  await i.login({ discovery: true, keys: [] });
  i.stalled = true;
  const one = framePdu(
    encodeTextRequest({
      immediate: true,
      final: true,
      more: false,
      lun: 0,
      initiatorTaskTag: 3,
      targetTransferTag: NO_TAG,
      cmdSn: i.cmdSn,
      expStatSn: 0,
      data: Buffer.from('SendTargets=All\0'),
    }),
    NO_DIGESTS,
  );
  i.sendBytes(Buffer.concat(Array.from({ length: 7000 }, () => one)));
  assert.ok(i.closed);
  const held = i.stuck.reduce((sum, s) => sum + s.lengthBytes, 0);
  assert.ok(held <= SERVICE_OUTPUT_BYTES_MAX + 1024 * 1024, `${held} bytes`);
});

test('unsolicited data past the expected length, with the F bit, is answered', async () => {
  const { device, i } = await gated();
  const pdu = i.commandPdu(readWrite('write', 0, 1), {
    write: true,
    final: false,
    expectedLengthBytes: BLOCK,
  });
  i.send(encodeScsiCommand(pdu));
  i.send(
    encodeDataOut({
      final: true,
      lun: 0,
      initiatorTaskTag: pdu.initiatorTaskTag,
      targetTransferTag: NO_TAG,
      expStatSn: 0,
      dataSn: 0,
      bufferOffsetBytes: 0,
      data: pattern(2 * BLOCK),
    }),
  );
  const result = await i.result(pdu.initiatorTaskTag);
  assert.deepEqual([result.status, result.sense[12], result.sense[13]], [2, 0x0c, 0x0c]);
  assert.equal(device.waiting.length, 0);
});

test('an answer that is ready after the end of its connection holds no memory', async () => {
  const { bench, device, i } = await gated();
  const tag = write(i, 0, pattern(BLOCK));
  for (let n = 0; n < 5; n++) abortTask(i, 1000 + n, tag);
  i.connection.lost('gone');
  await device.release();
  assert.equal(bench.server.plane.chunks.taken, 0);
});

test('repeated logouts are one logout', async () => {
  const { bench, device, i } = await gated();
  write(i, 0, pattern(BLOCK));
  const logout = { immediate: true, reason: 0, initiatorTaskTag: 7, cid: 0, expStatSn: 0 };
  for (let n = 0; n < 5; n++) i.send(encodeLogoutRequest({ ...logout, cmdSn: i.cmdSn }));
  await device.release();
  await i.ended();
  assert.equal(bench.server.stats().counters.logouts, 1);
  assert.equal(bench.server.plane.chunks.taken, 0);
});

test('a WRITE whose header says that it reads fails and moves nothing', async () => {
  const { device, i } = await gated();
  device.gateOpen = true;
  const write10 = await i.command(readWrite('write', 0, 1), { readBytes: BLOCK });
  const read10 = await i.command(readWrite('read', 0, 1), {
    write: pattern(BLOCK),
    immediateBytes: BLOCK,
  });
  const { status, sense, data } = write10;
  assert.deepEqual([status, sense[2]! & 15, sense[12], sense[13]], [2, 0x0b, 0x0e, 0x03]);
  assert.deepEqual([data.length, read10.data.length, read10.status], [0, 0, 0]);
  assert.deepEqual(device.content(0, BLOCK), new Uint8Array(BLOCK));
});
