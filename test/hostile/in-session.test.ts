import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MemoryDevice } from '#block/mod.ts';
import { IMMEDIATE_COMMANDS_MAX, PING_BYTES_MAX, SERVICE_OUTPUT_BYTES_MAX } from '#iscsi/limits.ts';
import { NO_DIGESTS, Opcode, RESERVED_TAG, TaskFunction, decodeNopIn } from '#iscsi/pdu/mod.ts';
import { decodeReject, decodeTaskManagementResponse, encodeNopOut } from '#iscsi/pdu/mod.ts';
import { encodeLogoutRequest, encodeTaskManagementRequest } from '#iscsi/pdu/mod.ts';
import { encodeTextRequest, framePdu, opcodeOf } from '#iscsi/pdu/mod.ts';
import { BLOCK_BYTES } from './raw-initiator.ts';
import type { RawInitiator } from './raw-initiator.ts';
import { DISK_BYTES, HeldDevice, marked, rig, until } from './rig.ts';
import type { Rig } from './rig.ts';

const TARGETS = 300;

async function served(witness: RawInitiator): Promise<void> {
  assert.equal((await witness.read(0, 1)).length, BLOCK_BYTES);
}

function sendTargets(tag: number): Uint8Array {
  const pdu = encodeTextRequest({
    immediate: true,
    final: true,
    more: false,
    lun: 0,
    initiatorTaskTag: tag,
    targetTransferTag: RESERVED_TAG,
    cmdSn: 1,
    expStatSn: 0,
    data: Buffer.from('SendTargets=All\0'),
  });
  return framePdu(pdu, NO_DIGESTS);
}

/** Buffers of output that the server holds, as an upper bound. */
function heldOutput(r: Rig): number {
  return r.server.plane.chunks.taken * 260 * 1024;
}

test('hostile case 29: a flood of text requests by a peer that never reads', async (t) => {
  const more = Array.from({ length: TARGETS }, (_, n) => ({
    iqn: `iqn.2026-11.test:machine-with-a-long-name-${n}`,
    access: 'any' as const,
    takeover: true,
  }));
  const r = await rig(t, { more });
  const witness = await r.enter({ initiator: 'iqn.2026-11.test:witness' });
  const scout = await r.dial();
  await scout.login({ discovery: true, keys: [] });
  scout.socket.pause();
  const flood = Buffer.concat(Array.from({ length: 5000 }, (_, n) => sendTargets(n)));
  for (let n = 0; n < 20; n++) {
    scout.sendBytes(flood);
    await served(witness);
    const held = heldOutput(r);
    assert.ok(held <= SERVICE_OUTPUT_BYTES_MAX + 4 * 260 * 1024, `${held} bytes`);
  }
  await served(witness);
});

test('hostile case 29: a flood of pings with as much data as there may be', async (t) => {
  const r = await rig(t);
  const witness = await r.enter({ initiator: 'iqn.2026-11.test:witness' });
  const loud = await r.enter();
  loud.socket.pause();
  const data = marked(PING_BYTES_MAX, 0x50);
  for (let n = 0; n < 200; n++) {
    loud.nop(n, data);
    if (n % 10 !== 0) continue;
    await served(witness);
    const held = heldOutput(r);
    assert.ok(held <= SERVICE_OUTPUT_BYTES_MAX + 4 * 260 * 1024, `${held} bytes`);
  }
  loud.socket.resume();
  // It is echoed, or was dropped for asking more than it took.
  const pdu = await loud.next().catch(() => null);
  if (pdu !== null) assert.equal(decodeNopIn(pdu).initiatorTaskTag, 0);
  await served(witness);
});

test('hostile case 27: a flood of task management for a task that waits for its disk', async (t) => {
  const disk = new HeldDevice(new MemoryDevice({ sizeBytes: DISK_BYTES }));
  const r = await rig(t, { device: disk });
  const peer = await r.enter();
  const write = peer.write(0, marked(BLOCK_BYTES, 1));
  await until(() => disk.waiting.length === 1);
  const kinds = [
    TaskFunction.ABORT_TASK,
    TaskFunction.ABORT_TASK_SET,
    TaskFunction.LOGICAL_UNIT_RESET,
  ];
  const count = 20_000;
  const pdus: Uint8Array[] = [];
  for (let n = 0; n < count; n++) {
    const request = {
      immediate: true,
      function: kinds[n % kinds.length] ?? 1,
      lun: 0,
      initiatorTaskTag: 0x10_0000 + n,
      referencedTaskTag: write,
      cmdSn: peer.cmdSn,
      expStatSn: 0,
      refCmdSn: 0,
      expDataSn: 0,
    };
    pdus.push(framePdu(encodeTaskManagementRequest(request), NO_DIGESTS));
  }
  peer.sendBytes(Buffer.concat(pdus));
  let refused = 0;
  while (refused < count - IMMEDIATE_COMMANDS_MAX) {
    decodeReject(await peer.next());
    refused += 1;
  }
  disk.unlock();
  for (let left = count - refused; left > 0; left--) {
    decodeTaskManagementResponse(await peer.next());
  }
  await peer.settle();
  await served(peer);
});

test('hostile case 27: a flood of logouts while a write waits for its disk', async (t) => {
  const disk = new HeldDevice(new MemoryDevice({ sizeBytes: DISK_BYTES }));
  const r = await rig(t, { device: disk });
  const peer = await r.enter();
  peer.write(0, marked(BLOCK_BYTES, 1));
  await until(() => disk.waiting.length === 1);
  const logout = { reason: 0, cid: 0, cmdSn: peer.cmdSn, expStatSn: 0, initiatorTaskTag: 3 };
  const bytes = framePdu(encodeLogoutRequest({ immediate: true, ...logout }), NO_DIGESTS);
  peer.sendBytes(Buffer.concat(Array.from({ length: 20_000 }, () => bytes)));
  peer.nop(1);
  while (opcodeOf(await peer.next()) !== Opcode.NOP_IN);
  disk.unlock();
  await peer.ended();
  await until(() => r.server.stats().sessions.length === 0);
  assert.equal(r.events.filter((e) => e.kind === 'logout').length, 1);
});

test('hostile case 26: NOP-Outs that answer pings nobody sent', async (t) => {
  const r = await rig(t);
  const peer = await r.enter();
  for (let n = 0; n < 1000; n++) {
    peer.send(
      encodeNopOut({
        immediate: true,
        lun: 0,
        initiatorTaskTag: RESERVED_TAG,
        targetTransferTag: n,
        cmdSn: peer.cmdSn,
        expStatSn: 0,
        data: marked(100, 1),
      }),
    );
  }
  await served(peer);
  assert.equal(peer.received.length, 0, 'nobody answers an answer');
});
