import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InternalError } from '#base/mod.ts';
import { COLD_WRITES_BYTES_MAX, COLD_WRITE_ASK_BYTES, COLD_WRITE_BYTES_MAX } from './limits.ts';
import { Opcode, TaskFunction, decodeNopIn, decodeR2t, encodeDataOut } from './pdu/mod.ts';
import {
  encodeNopOut,
  encodeScsiCommand,
  encodeTaskManagementRequest,
  opcodeOf,
} from './pdu/mod.ts';
import type { R2t } from './pdu/mod.ts';
import { pattern, readWrite, testServer } from './testing/disk.ts';
import type { Bench } from './testing/disk.ts';
import { GateDevice } from './testing/gate-device.ts';
import { NO_TAG, TestInitiator } from './testing/initiator.ts';

const BLOCK = 512;
const MIB = 1024 * 1024;
const FIRST_BURST = MIB / 4;
const DATA = pattern(MIB);

type Gated = { readonly bench: Bench; readonly device: GateDevice };

function gated(): Gated {
  const device = new GateDevice({ sizeBytes: 64 * MIB });
  return { bench: testServer({ device }), device };
}

async function entered(bench: Bench, isid = '800000000001'): Promise<TestInitiator> {
  const i = new TestInitiator(bench.server);
  await i.login({ isid });
  await i.command([0, 0, 0, 0, 0, 0]);
  return i;
}

/** A write of 1 MiB, `immediateBytes` of it with the command; returns its tag. */
function write(i: TestInitiator, n: number, immediateBytes = FIRST_BURST): number {
  const pdu = i.commandPdu(readWrite('write', n * (MIB / BLOCK), MIB / BLOCK), {
    write: true,
    expectedLengthBytes: MIB,
    data: DATA.subarray(0, immediateBytes),
  });
  i.send(encodeScsiCommand(pdu));
  return pdu.initiatorTaskTag;
}

/** The R2Ts that came. */
function takeR2ts(i: TestInitiator): R2t[] {
  const r2ts = i.received.filter((pdu) => opcodeOf(pdu) === Opcode.R2T);
  const others = i.received.filter((pdu) => opcodeOf(pdu) !== Opcode.R2T);
  i.received.splice(0, Infinity, ...others);
  return r2ts.map((pdu) => decodeR2t(pdu));
}

function fulfil(i: TestInitiator, r2t: R2t): void {
  const { bufferOffsetBytes, desiredLengthBytes, initiatorTaskTag, targetTransferTag } = r2t;
  const data = DATA.subarray(bufferOffsetBytes, bufferOffsetBytes + desiredLengthBytes);
  const common = { lun: 0, initiatorTaskTag, targetTransferTag, expStatSn: 0, dataSn: 0 };
  i.send(encodeDataOut({ ...common, final: true, bufferOffsetBytes, data }));
}

function ping(i: TestInitiator): void {
  i.send(
    encodeNopOut({
      immediate: true,
      lun: 0,
      initiatorTaskTag: 7,
      targetTransferTag: NO_TAG,
      cmdSn: i.cmdSn,
      expStatSn: 0,
      data: new Uint8Array(),
    }),
  );
}

test('an initiator is heard while its disk takes nothing; what it is asked for is bounded', async () => {
  const { bench, device } = gated();
  const i = await entered(bench);
  const tags = Array.from({ length: 32 }, (_, n) => write(i, n));
  assert.ok(!i.paused);
  const [first, ...more] = takeR2ts(i);
  assert.ok(first !== undefined);
  // 8 MiB of early data are the most of which more is asked for.
  const asked = (COLD_WRITE_ASK_BYTES - FIRST_BURST) / MIB;
  assert.ok(more.length < asked && more.length > asked / 2, `${more.length} more`);
  for (const r2t of [first, ...more]) fulfil(i, r2t);
  assert.deepEqual(takeR2ts(i), []);
  assert.ok(!i.paused);
  ping(i);
  assert.equal(decodeNopIn(await i.next()).initiatorTaskTag, 7);
  // The disk comes back: every command is asked for the rest, and answered.
  device.gateOpen = true;
  const statuses: number[] = [];
  while (statuses.length < tags.length) {
    await device.release();
    for (const r2t of takeR2ts(i)) fulfil(i, r2t);
    for (const pdu of i.received.splice(0)) {
      assert.equal(opcodeOf(pdu), Opcode.SCSI_RESPONSE);
      statuses.push(pdu.header[3]!);
    }
  }
  assert.ok(statuses.every((status) => status === 0));
  for (const n of tags.keys()) assert.deepEqual(device.content(n * MIB, MIB), DATA);
  assert.deepEqual(
    [bench.server.plane.chunks.taken, bench.server.plane.chunks.coldWriteBytes],
    [0, 0],
  );
});

test('data that was asked for and will not come does not keep others waiting', async () => {
  const { bench, device } = gated();
  const i = await entered(bench);
  // One operation of a stalled disk, so that asking is bounded.
  write(i, 60);
  const doomed = Array.from({ length: 32 }, (_, n) => write(i, n, 0));
  const asked = takeR2ts(i).map((r2t) => r2t.initiatorTaskTag);
  assert.ok(asked.length < doomed.length);
  for (const tag of doomed.slice(0, -1)) {
    const common = { immediate: true, lun: 0, cmdSn: i.cmdSn, expStatSn: 0, refCmdSn: 0 };
    i.send(
      encodeTaskManagementRequest({
        ...common,
        function: TaskFunction.ABORT_TASK,
        initiatorTaskTag: 5000 + tag,
        referencedTaskTag: tag,
        expDataSn: 0,
      }),
    );
  }
  const last = takeR2ts(i).at(-1);
  assert.equal(last?.initiatorTaskTag, doomed.at(-1));
  await device.release();
});

test('a reset asks for no data of those that it ends', async () => {
  const { bench, device } = gated();
  const i = await entered(bench);
  write(i, 60);
  for (let n = 0; n < 32; n++) write(i, n, 0);
  assert.ok(takeR2ts(i).length < 32);
  const common = { immediate: true, lun: 0, cmdSn: i.cmdSn, expStatSn: 0, refCmdSn: 0 };
  i.send(
    encodeTaskManagementRequest({
      ...common,
      function: TaskFunction.LOGICAL_UNIT_RESET,
      initiatorTaskTag: 5000,
      referencedTaskTag: NO_TAG,
      expDataSn: 0,
    }),
  );
  await device.release();
  assert.deepEqual(takeR2ts(i), []);
  assert.equal(opcodeOf(await i.next()), Opcode.TASK_MANAGEMENT_RESPONSE);
});

test('many initiators of a disk that takes nothing: each has a share, none has the memory', async () => {
  const { bench, device } = gated();
  const all: TestInitiator[] = [];
  const { chunks } = bench.server.plane;
  const over = (): boolean => chunks.coldWriteBytes > COLD_WRITES_BYTES_MAX;
  while (!over()) {
    const i = await entered(bench, (0x800000000100 + all.length).toString(16));
    all.push(i);
    const most = (COLD_WRITE_BYTES_MAX / FIRST_BURST) * 0.8;
    for (let n = 0; n < most && !over(); n++) write(i, 0);
  }
  const [first] = all;
  const late = await entered(bench);
  for (let n = 0; n < 16; n++) write(late, 0);
  assert.ok(!late.paused, 'who has little is heard');
  write(first!, 0);
  assert.ok(first!.paused);
  await device.release();
  assert.ok(!first!.paused);
  assert.equal(chunks.coldWriteBytes, 0);
});

test('a disk that throws where it should answer: commands end, and so does the session', async () => {
  class Broken extends GateDevice {
    override write(): never {
      throw new InternalError('a bug');
    }

    override read(): never {
      throw new InternalError('a bug');
    }
  }
  const bench = testServer({ device: new Broken({ sizeBytes: 64 * MIB }) });
  const i = await entered(bench);
  const written = await i.result(write(i, 0), DATA);
  assert.equal(written.status, 2);
  const read = await i.command(readWrite('read', 0, 2048), { readBytes: MIB });
  assert.equal(read.status, 2);
  const again = await entered(bench);
  assert.ok(i.closed && !again.closed);
  assert.deepEqual(
    [bench.server.plane.chunks.taken, bench.server.plane.chunks.coldWriteBytes],
    [0, 0],
  );
});
