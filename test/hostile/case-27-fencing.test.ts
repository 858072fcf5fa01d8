import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { Opcode, TaskFunction, TaskResponse, decodeLogoutResponse } from '#iscsi/pdu/mod.ts';
import {
  decodeR2t,
  decodeScsiResponse,
  decodeTaskManagementResponse,
  encodeLogoutRequest,
} from '#iscsi/pdu/mod.ts';
import { opcodeOf } from '#iscsi/pdu/mod.ts';
import { BLOCK_BYTES, readWrite, taskManagement } from './raw-initiator.ts';
import type { RawInitiator } from './raw-initiator.ts';
import { HeldDevice, imageFile, marked, rig, until } from './rig.ts';
import type { Rig, RigOptions } from './rig.ts';

const WRITES = 128;
/** Whole pages, so that the file takes them at once when they are let through. */
const WRITE_BYTES = 4096;
const WRITE_BLOCKS = WRITE_BYTES / BLOCK_BYTES;
const OLD = 0x11;
const NEW = 0x22;

type Slow = { readonly r: Rig; readonly disk: HeldDevice; readonly content: () => Buffer };

/** A target on a real file, behind a disk that holds every write until it is told. */
async function slowFile(t: TestContext, options: RigOptions = {}): Promise<Slow> {
  // Before anything else ends (hooks run in this order): what waits would hold it up.
  const held: HeldDevice[] = [];
  t.after(() => {
    for (const each of held) each.unlock();
  });
  const image = await imageFile(t);
  const disk = new HeldDevice(image.device);
  held.push(disk);
  const r = await rig(t, { device: disk, ...options });
  return { r, disk, content: image.content };
}

/** 128 writes that the disk has not answered. */
async function inFlight(peer: RawInitiator, disk: HeldDevice): Promise<number[]> {
  const tags = Array.from({ length: WRITES }, (_, n) =>
    peer.write(n * WRITE_BLOCKS, marked(WRITE_BYTES, OLD)),
  );
  // A write that two packets brought is two for the disk.
  peer.nop(1);
  assert.equal(opcodeOf(await peer.next()), Opcode.NOP_IN);
  assert.ok(disk.waiting.length >= WRITES);
  return tags;
}

function manage(peer: RawInitiator, fn: number, tag?: number): void {
  peer.send(taskManagement(peer, fn, tag));
}

async function managed(peer: RawInitiator): Promise<number> {
  const pdu = await peer.next();
  assert.equal(opcodeOf(pdu), Opcode.TASK_MANAGEMENT_RESPONSE);
  return decodeTaskManagementResponse(pdu).response;
}

/** Fills what the old session wrote to with new data, by a session that came after. */
async function overwrite(peer: RawInitiator): Promise<void> {
  for (let n = 0; n < WRITES; n++) {
    const tag = peer.write(n * WRITE_BLOCKS, marked(WRITE_BYTES, NEW));
    assert.equal((await peer.result(tag)).status, 0);
  }
}

for (const [how, config, isid] of [
  ['reinstatement', {}, '800000000001'],
  ['takeover', { takeover: true }, '800000000002'],
] as const) {
  test(`hostile case 27: ${how} with 128 writes in flight: no late write on the image`, async (t) => {
    const { r, disk, content } = await slowFile(t, { config });
    const old = await r.enter();
    await inFlight(old, disk);
    const late = old.issue(readWrite('write', 2000, 8), { write: true, expectedLengthBytes: 4096 });
    const r2t = decodeR2t(await old.next());
    const heir = await r.dial();
    const login = heir.tryLogin({ isid });
    await old.ended();
    assert.equal(old.received.length, 0, 'no status for what was aborted');
    old.dataOut(r2t, { data: marked(4096, OLD) });
    disk.release(disk.waiting.length - 1);
    await until(() => content().subarray(0, WRITE_BYTES).includes(OLD));
    assert.equal(heir.received.length, 0, 'one old write can still come: the login waits');
    disk.unlock();
    assert.equal((await login).status, 0);
    await heir.settle();
    await overwrite(heir);
    const bytes = content();
    assert.equal(bytes.includes(OLD), false, 'nothing of the old session is left');
    assert.equal(bytes.subarray(2000 * BLOCK_BYTES).includes(OLD), false);
    assert.ok(late > 0);
    assert.equal(r.server.stats().sessions.length, 1);
    assert.equal(r.server.plane.chunks.taken, 0);
  });
}

for (const [name, fn] of [
  ['ABORT TASK SET', TaskFunction.ABORT_TASK_SET],
  ['CLEAR TASK SET', TaskFunction.CLEAR_TASK_SET],
  ['LOGICAL UNIT RESET', TaskFunction.LOGICAL_UNIT_RESET],
  ['TARGET WARM RESET', TaskFunction.TARGET_WARM_RESET],
] as const) {
  test(`hostile case 27: ${name} with 128 writes in flight`, async (t) => {
    const { r, disk, content } = await slowFile(t);
    const peer = await r.enter();
    const other = await r.enter({ initiator: 'iqn.2026-11.test:other' });
    await inFlight(peer, disk);
    manage(peer, fn);
    peer.nop(1);
    assert.equal(opcodeOf(await peer.next()), Opcode.NOP_IN, 'no answer while writes can come');
    disk.release(disk.waiting.length - 1);
    peer.nop(2);
    assert.equal(opcodeOf(await peer.next()), Opcode.NOP_IN, 'nor while one can');
    disk.unlock();
    assert.equal(await managed(peer), TaskResponse.FUNCTION_COMPLETE);
    await other.settle();
    await overwrite(other);
    assert.equal(content().includes(OLD), false, 'no late write');
    peer.nop(3);
    assert.equal(opcodeOf(await peer.next()), Opcode.NOP_IN, 'no status after the response');
    assert.equal(r.server.stats().counters['tasks-aborted'], WRITES);
  });
}

test('hostile case 27: ABORT TASK for some of 128 writes: they have no status, the rest has', async (t) => {
  const { r, disk } = await slowFile(t);
  const peer = await r.enter();
  const tags = await inFlight(peer, disk);
  const doomed = new Set(tags.filter((_, n) => n % 8 === 0));
  for (const tag of doomed) manage(peer, TaskFunction.ABORT_TASK, tag);
  // Else the disk can be done with a write before its abort has come out of the socket.
  peer.nop(1);
  assert.equal(opcodeOf(await peer.next()), Opcode.NOP_IN, 'no answer while writes can come');
  disk.unlock();
  let managements = 0;
  const ended = new Set<number>();
  while (managements < doomed.size || ended.size < WRITES - doomed.size) {
    const pdu = await peer.next();
    if (opcodeOf(pdu) === Opcode.TASK_MANAGEMENT_RESPONSE) {
      assert.equal(decodeTaskManagementResponse(pdu).response, TaskResponse.FUNCTION_COMPLETE);
      managements += 1;
    } else {
      const { initiatorTaskTag, status } = decodeScsiResponse(pdu);
      assert.equal(status, 0);
      assert.equal(doomed.has(initiatorTaskTag), false, 'no status of an aborted task');
      ended.add(initiatorTaskTag);
    }
  }
  peer.nop(2);
  assert.equal(opcodeOf(await peer.next()), Opcode.NOP_IN);
});

test('hostile case 27: Data-Out that comes after the abort reaches no disk', async (t) => {
  const image = await imageFile(t);
  const r = await rig(t, { device: image.device });
  const peer = await r.enter();
  const write = { write: true, expectedLengthBytes: WRITE_BYTES } as const;
  const tag = peer.issue(readWrite('write', 0, WRITE_BLOCKS), write);
  const r2t = decodeR2t(await peer.next());
  manage(peer, TaskFunction.ABORT_TASK, tag);
  assert.equal(await managed(peer), TaskResponse.FUNCTION_COMPLETE);
  peer.dataOut(r2t, { data: marked(WRITE_BYTES, OLD) });
  // The same slot, and so the same transfer tag: a new task must not get the old one's data.
  const again = peer.issue(readWrite('write', 8, WRITE_BLOCKS), write);
  peer.dataOut(r2t, { data: marked(WRITE_BYTES, OLD) });
  const fresh = decodeR2t(await peer.next());
  peer.dataOut(fresh, { data: marked(WRITE_BYTES, NEW) });
  assert.equal((await peer.result(again)).status, 0);
  const bytes = image.content();
  assert.deepEqual([bytes.includes(OLD), bytes[8 * BLOCK_BYTES]], [false, NEW]);
  assert.equal(r.server.stats().counters['data-out-dropped'], 2);
});

test('hostile case 27: logout with commands in flight: the answer comes when all is quiet', async (t) => {
  const { r, disk, content } = await slowFile(t);
  const peer = await r.enter();
  await inFlight(peer, disk);
  const logout = { reason: 0, initiatorTaskTag: 9, cid: 0, cmdSn: peer.cmdSn, expStatSn: 0 };
  peer.send(encodeLogoutRequest({ immediate: true, ...logout }));
  peer.nop(1);
  assert.equal(opcodeOf(await peer.next()), Opcode.NOP_IN, 'writes are on their way still');
  disk.unlock();
  assert.equal(decodeLogoutResponse(await peer.next()).response, 0);
  await peer.ended();
  assert.equal(peer.received.length, 0, 'no status after it');
  const heir = await r.enter();
  await overwrite(heir);
  assert.equal(content().includes(OLD), false);
});

test('hostile case 27: a connection that breaks with writes in flight', async (t) => {
  const { r, disk, content } = await slowFile(t);
  const peer = await r.enter();
  await inFlight(peer, disk);
  peer.cut();
  await until(() => r.server.stats().counters['connections-lost'] === 1);
  assert.equal(r.server.stats().sessions.length, 1, 'the session stays while its writes do');
  disk.unlock();
  await until(() => r.server.stats().sessions.length === 0);
  const heir = await r.enter();
  await overwrite(heir);
  assert.equal(content().includes(OLD), false);
  assert.equal(r.server.plane.chunks.taken, 0);
});
