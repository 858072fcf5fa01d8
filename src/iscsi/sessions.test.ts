import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ScsiCommand } from '#scsi/mod.ts';
import { LOGIN_DEADLINE_MS, PING_AFTER_MS, PING_TIMEOUT_MS } from './limits.ts';
import { decodeLoginResponse, encodeLoginRequest, framePdu, NO_DIGESTS } from './pdu/mod.ts';
import { LogoutReason, NO_BYTES, Opcode, TaskFunction, TaskResponse } from './pdu/mod.ts';
import { decodeLogoutResponse, decodeNopIn, decodeTaskManagementResponse } from './pdu/mod.ts';
import {
  decodeTextResponse,
  encodeLogoutRequest,
  encodeNopOut,
  encodeScsiCommand,
} from './pdu/mod.ts';
import { encodeTaskManagementRequest, encodeTextRequest, opcodeOf } from './pdu/mod.ts';
import { LoginStatus } from './policy.ts';
import { decodeText } from './text.ts';
import { TEST_DISK_BYTES, TEST_TARGET, pattern, readWrite, testServer } from './testing/disk.ts';
import type { Bench } from './testing/disk.ts';
import { GateDevice } from './testing/gate-device.ts';
import { IPXE_KEYS, NO_TAG, TestInitiator } from './testing/initiator.ts';
import type { LoginOptions } from './testing/initiator.ts';

const BLOCK = 512;

async function ready(bench: Bench, options: LoginOptions = {}): Promise<TestInitiator> {
  const i = new TestInitiator(bench.server);
  const { status } = await i.login(options);
  assert.equal(status, 0);
  if (options.discovery !== true) await i.command([0, 0, 0, 0, 0, 0]);
  return i;
}

function gated(config = {}): { bench: Bench; device: GateDevice } {
  const device = new GateDevice({ sizeBytes: TEST_DISK_BYTES });
  return { bench: testServer({ device, config }), device };
}

/** Sends a one-block write with its data and returns its tag. */
function write(i: TestInitiator, lba: number, seed: number): number {
  const pdu = i.commandPdu(readWrite('write', lba, 1), {
    write: true,
    expectedLengthBytes: BLOCK,
    data: pattern(BLOCK, seed),
  });
  i.send(encodeScsiCommand(pdu));
  return pdu.initiatorTaskTag;
}

function manage(i: TestInitiator, fn: number, more: { tag?: number; lun?: number } = {}): number {
  const initiatorTaskTag = i.nextTag();
  i.send(
    encodeTaskManagementRequest({
      immediate: true,
      function: fn,
      lun: more.lun ?? 0,
      initiatorTaskTag,
      referencedTaskTag: more.tag ?? NO_TAG,
      cmdSn: i.cmdSn,
      expStatSn: 0,
      refCmdSn: 0,
      expDataSn: 0,
    }),
  );
  return initiatorTaskTag;
}

async function managed(i: TestInitiator): Promise<number> {
  return decodeTaskManagementResponse(await i.next()).response;
}

const kinds = (bench: Bench): string[] => bench.events.map((e) => e.kind);

test('hostile case 27: reinstatement waits until 128 old writes are fenced', async () => {
  const { bench, device } = gated();
  const old = await ready(bench);
  for (let n = 0; n < 128; n++) write(old, n, n + 1);
  assert.equal(device.waiting.length, 128);
  const fresh = new TestInitiator(bench.server);
  const login = fresh.login();
  assert.ok(old.closed);
  assert.equal(fresh.received.length, 0);
  await device.release(127);
  assert.equal(fresh.received.length, 0, 'one old write could still reach the disk');
  await device.release(1);
  assert.equal((await login).status, 0);
  assert.equal(device.waiting.length, 0);
  assert.equal(old.received.length, 0, 'the old session was told nothing any more');
  const { sessions } = bench.server.stats();
  assert.equal(sessions.length, 1);
  const fenced = bench.events.find((e) => e.kind === 'session-fenced');
  assert.equal(fenced?.why, 'reinstatement');
});

test('hostile case 27: data that comes after the fence reaches no disk', async () => {
  const { bench, device } = gated();
  const old = await ready(bench);
  const pdu = old.commandPdu(readWrite('write', 0, 1), { write: true, expectedLengthBytes: BLOCK });
  old.send(encodeScsiCommand(pdu));
  await old.next();
  const fresh = await ready(bench);
  write(old, 0, 1);
  assert.equal(device.waiting.length, 0);
  assert.ok(!fresh.closed);
});

test('hostile case 27: of two logins that wait, only the newer one gets in', async () => {
  const { bench, device } = gated();
  const old = await ready(bench);
  write(old, 0, 1);
  const [second, third] = [new TestInitiator(bench.server), new TestInitiator(bench.server)];
  const logins = [second.login(), third.login()];
  await device.release();
  const [a, b] = await Promise.all(logins);
  assert.deepEqual([a?.status, b?.status], [LoginStatus.TARGET_REMOVED, 0]);
  assert.equal(bench.server.stats().sessions.length, 1);
});

for (const takeover of [true, false]) {
  test(`another ISID of the same initiator ${takeover ? 'takes over' : 'coexists'}`, async () => {
    const bench = testServer({ config: { takeover } });
    const ipxe = await ready(bench, { keys: IPXE_KEYS, isid: '000000000001' });
    const linux = await ready(bench, { isid: '00023d000000' });
    const other = await ready(bench, { initiator: 'iqn.2026-11.test:other', isid: '00023d000000' });
    assert.equal(ipxe.closed, takeover);
    assert.ok(!linux.closed && !other.closed);
    assert.equal(bench.server.stats().sessions.length, takeover ? 2 : 3);
    const fenced = bench.events.find((e) => e.kind === 'session-fenced');
    assert.equal(fenced?.why, takeover ? 'takeover' : undefined);
    assert.equal(fenced?.session.firmware, takeover ? true : undefined);
  });
}

test('header, text and padding of a login come one by one, as iPXE sends it', async () => {
  const bench = testServer();
  const names = [
    ['InitiatorName', 'iqn.2026-11.test:pieces'],
    ['TargetName', TEST_TARGET],
  ] as const;
  for (const extra of ['', 'x', 'xx', 'xxx']) {
    const i = new TestInitiator(bench.server);
    const request = i.loginRequest([...names, ...IPXE_KEYS, ['InitiatorAlias', extra]]);
    const wire = framePdu(encodeLoginRequest(request), NO_DIGESTS);
    const dataEnd = 48 + request.data.length;
    i.sendBytes(wire.subarray(0, 48));
    i.sendBytes(wire.subarray(48, dataEnd));
    if (wire.length > dataEnd) i.sendBytes(wire.subarray(dataEnd));
    assert.equal(decodeLoginResponse(await i.next()).status, 0);
    const single = new TestInitiator(bench.server);
    for (const byte of wire) single.sendBytes(Uint8Array.of(byte));
    assert.equal(decodeLoginResponse(await single.next()).status, 0);
  }
});

test('a stranger is refused by name, and the report says why', async () => {
  const bench = testServer({ config: { access: ['iqn.2026-11.test:owner'], takeover: true } });
  const i = new TestInitiator(bench.server);
  const { status } = await i.login({ initiator: 'iqn.2026-11.test:stranger' });
  assert.equal(status, LoginStatus.AUTHORIZATION_FAILURE);
  await i.ended();
  const event = bench.events.find((e) => e.kind === 'login-refused');
  assert.deepEqual(
    [event?.initiatorName, event?.targetName],
    ['iqn.2026-11.test:stranger', TEST_TARGET],
  );
  assert.match(event?.reason ?? '', /may not use/);
});

test('hostile case 27: ABORT TASK answers when the task is quiet', async () => {
  const { bench, device } = gated();
  const i = await ready(bench);
  const doomed = write(i, 0, 1);
  const other = write(i, 1, 2);
  manage(i, TaskFunction.ABORT_TASK, { tag: doomed });
  assert.equal(i.received.length, 0, 'the write can still reach the disk');
  await device.release();
  const response = await i.next();
  assert.equal(opcodeOf(response), Opcode.TASK_MANAGEMENT_RESPONSE);
  assert.equal((await i.result(other)).status, 0);
  manage(i, TaskFunction.ABORT_TASK, { tag: doomed });
  assert.equal(await managed(i), TaskResponse.TASK_DOES_NOT_EXIST);
  assert.equal(i.received.length, 0);
  assert.equal(bench.server.plane.chunks.taken, 0);
});

test('hostile case 27: LOGICAL UNIT RESET aborts the tasks of all sessions', async () => {
  const { bench, device } = gated();
  const a = await ready(bench);
  const b = await ready(bench, { initiator: 'iqn.2026-11.test:b' });
  write(a, 0, 1);
  write(b, 1, 2);
  manage(a, TaskFunction.LOGICAL_UNIT_RESET);
  await device.release(1);
  assert.equal(a.received.length, 0);
  await device.release(1);
  assert.equal(await managed(a), TaskResponse.FUNCTION_COMPLETE);
  assert.equal(b.received.length, 0);
  device.gateOpen = true;
  const attention = await b.command([0, 0, 0, 0, 0, 0]);
  assert.deepEqual([attention.status, attention.sense[2]! & 15], [2, 6]);
});

test('hostile case 27: LOGICAL UNIT RESET waits for the writes of a session that is gone', async () => {
  const { bench, device } = gated();
  const a = await ready(bench);
  const b = await ready(bench, { initiator: 'iqn.2026-11.test:b' });
  write(a, 0, 1);
  a.connection.lost('power cut');
  manage(b, TaskFunction.LOGICAL_UNIT_RESET);
  let quiet = false;
  const [left] = [...bench.server.target(TEST_TARGET)!.sessions];
  bench.server.abortTasksOf(left!.nexus, 0, () => {
    quiet = true;
  });
  assert.deepEqual([b.received.length, quiet], [0, false], 'the write can still reach the disk');
  await device.release();
  assert.equal(await managed(b), TaskResponse.FUNCTION_COMPLETE);
  assert.ok(quiet);
});

test('the other task management functions', async () => {
  const { bench, device } = gated();
  const i = await ready(bench);
  const cases: [fn: number, lun: number, response: number][] = [
    [TaskFunction.ABORT_TASK_SET, 0, TaskResponse.FUNCTION_COMPLETE],
    [TaskFunction.ABORT_TASK_SET, 5, TaskResponse.LUN_DOES_NOT_EXIST],
    [TaskFunction.CLEAR_TASK_SET, 0, TaskResponse.FUNCTION_COMPLETE],
    [TaskFunction.LOGICAL_UNIT_RESET, 9, TaskResponse.LUN_DOES_NOT_EXIST],
    [TaskFunction.CLEAR_ACA, 0, TaskResponse.FUNCTION_NOT_SUPPORTED],
    [TaskFunction.TASK_REASSIGN, 0, TaskResponse.REASSIGNMENT_NOT_SUPPORTED],
    [99, 0, TaskResponse.FUNCTION_NOT_SUPPORTED],
    [TaskFunction.TARGET_WARM_RESET, 0, TaskResponse.FUNCTION_COMPLETE],
  ];
  for (const [fn, lun, response] of cases) {
    write(i, 0, 1);
    manage(i, fn, { lun });
    await device.release();
    let pdu = await i.next();
    while (opcodeOf(pdu) !== Opcode.TASK_MANAGEMENT_RESPONSE) pdu = await i.next();
    assert.equal(decodeTaskManagementResponse(pdu).response, response, `function ${fn}`);
  }
  manage(i, TaskFunction.TARGET_COLD_RESET);
  let pdu = await i.next();
  while (opcodeOf(pdu) !== Opcode.TASK_MANAGEMENT_RESPONSE) pdu = await i.next();
  await i.ended();
  assert.equal(bench.server.stats().sessions.length, 0);
});

test('hostile case 28: a silent initiator is pinged, then dropped', async () => {
  const bench = testServer();
  const i = await ready(bench);
  bench.clock.advance(1000);
  bench.clock.advance(PING_AFTER_MS);
  const ping = decodeNopIn(await i.next());
  assert.equal(ping.initiatorTaskTag, NO_TAG);
  i.send(
    encodeNopOut({
      immediate: true,
      lun: 0,
      initiatorTaskTag: NO_TAG,
      targetTransferTag: ping.targetTransferTag,
      cmdSn: i.cmdSn,
      expStatSn: 0,
      data: NO_BYTES,
    }),
  );
  bench.clock.advance(PING_AFTER_MS + 1000);
  assert.equal(opcodeOf(await i.next()), Opcode.NOP_IN);
  bench.clock.advance(PING_TIMEOUT_MS);
  await i.ended();
  assert.equal(bench.server.stats().sessions.length, 0);
  const lost = bench.events.find((e) => e.kind === 'connection-lost');
  assert.match(lost?.reason ?? '', /does not answer/);
});

test('iPXE is never pinged: it does not answer, and its old versions hang up', async () => {
  const bench = testServer();
  const i = await ready(bench, { keys: IPXE_KEYS });
  bench.clock.advance(10 * (PING_AFTER_MS + PING_TIMEOUT_MS));
  assert.deepEqual([i.received.length, i.closed], [0, false]);
});

test('hostile case 22: a login that does not come to an end is cut off', () => {
  const bench = testServer();
  const i = new TestInitiator(bench.server);
  i.sendBytes(new Uint8Array(47));
  bench.clock.advance(LOGIN_DEADLINE_MS - 1);
  assert.ok(!i.closed);
  bench.clock.advance(1001);
  assert.ok(i.closed);
  assert.equal(bench.server.stats().counters['login-timeouts'], 1);
});

test('logout is answered, then the connection closes; the CID must be right', async () => {
  const { bench, device } = gated();
  const i = await ready(bench);
  write(i, 0, 1);
  const logout = (reason: number, cid: number): void => {
    i.send(
      encodeLogoutRequest({
        immediate: true,
        reason,
        initiatorTaskTag: 8,
        cid,
        cmdSn: i.cmdSn,
        expStatSn: 0,
      }),
    );
  };
  logout(LogoutReason.CLOSE_CONNECTION, 7);
  assert.equal(decodeLogoutResponse(await i.next()).response, 1);
  logout(LogoutReason.RECOVERY, 0);
  assert.equal(decodeLogoutResponse(await i.next()).response, 2);
  logout(LogoutReason.CLOSE_SESSION, 0);
  assert.equal(i.received.length, 0, 'a write is still on its way to the disk');
  await device.release();
  assert.equal(decodeLogoutResponse(await i.next()).response, 0);
  await i.ended();
  assert.deepEqual(kinds(bench), ['login', 'first-write', 'logout']);
});

test('discovery shows an initiator only what it may use, and takes no commands', async () => {
  const bench = testServer();
  const own = { takeover: true, access: ['iqn.2026-11.test:owner'] };
  bench.server.addExport({ iqn: 'iqn.2026-11.test:own', ...own }, bench.units);
  const ask = async (initiator: string, value: string): Promise<string[]> => {
    const i = await ready(bench, { discovery: true, initiator });
    i.send(
      encodeTextRequest({
        immediate: true,
        final: true,
        more: false,
        lun: 0,
        initiatorTaskTag: 3,
        targetTransferTag: NO_TAG,
        cmdSn: i.cmdSn,
        expStatSn: 0,
        data: Buffer.from(`SendTargets=${value}\0`),
      }),
    );
    const text = decodeText(decodeTextResponse(await i.next()).data);
    i.send(encodeScsiCommand(i.commandPdu([0, 0, 0, 0, 0, 0])));
    assert.equal(opcodeOf(await i.next()), Opcode.REJECT);
    return text.filter(([k]) => k !== 'TargetAddress').map(([k, v]) => `${k}=${v}`);
  };
  const disk = `TargetName=${TEST_TARGET}`;
  const both = [disk, 'TargetName=iqn.2026-11.test:own'];
  assert.deepEqual(await ask('iqn.2026-11.test:owner', 'All'), both);
  assert.deepEqual(await ask('iqn.2026-11.test:other', 'All'), [disk]);
  assert.deepEqual(await ask('iqn.2026-11.test:other', 'iqn.2026-11.test:own'), []);
  assert.deepEqual(await ask('iqn.2026-11.test:other', ''), ['SendTargets=Reject']);
});

test('a removed export is gone when nothing can reach the disk', async () => {
  const { bench, device } = gated();
  const i = await ready(bench);
  write(i, 0, 1);
  let gone = false;
  const removal = bench.server.removeExport(TEST_TARGET).then(() => {
    gone = true;
  });
  await device.release(0);
  assert.deepEqual([i.closed, gone], [true, false]);
  await device.release();
  await removal;
  const again = new TestInitiator(bench.server);
  assert.equal((await again.login()).status, LoginStatus.NOT_FOUND);
});

test('the commands of a nexus are ended for PREEMPT AND ABORT, and only those', async () => {
  const { bench, device } = gated();
  const a = await ready(bench);
  const b = await ready(bench, { initiator: 'iqn.2026-11.test:b' });
  write(a, 0, 1);
  const kept = write(b, 1, 2);
  const nexus = { initiatorPort: '', initiatorName: '', targetPort: 1 };
  let strangerQuiet = false;
  const stranger = bench.server.abortTasksOf(nexus, 0, () => {
    strangerQuiet = true;
  });
  assert.equal(stranger, false);
  assert.ok(strangerQuiet);
  assert.equal(bench.server.stats().counters['tasks-aborted'], 0);
  const [loser] = [...bench.server.target(TEST_TARGET)!.sessions];
  assert.equal(bench.server.abortTasksOf(loser!.nexus, 1), false);
  assert.equal(bench.server.abortTasksOf(loser!.nexus, 0), true);
  await device.release();
  assert.equal((await b.result(kept)).status, 0);
  assert.deepEqual([a.received.length, a.closed], [0, false]);
});

test('a command that waited for one that was aborted starts, and asks for its data', async () => {
  const { bench, device } = gated();
  const i = await ready(bench);
  const doomed = write(i, 0, 1);
  const ordered = i.commandPdu(readWrite('write', 1, 1), {
    write: true,
    attribute: 2,
    expectedLengthBytes: BLOCK,
  });
  i.send(encodeScsiCommand(ordered));
  manage(i, TaskFunction.ABORT_TASK, { tag: doomed });
  assert.equal(i.received.length, 0);
  await device.release();
  const opcodes = [opcodeOf(await i.next()), opcodeOf(await i.next())];
  assert.deepEqual(opcodes, [Opcode.R2T, Opcode.TASK_MANAGEMENT_RESPONSE]);
});

test('a command that waited for one that was aborted while it waited itself starts', async () => {
  const { bench, device } = gated();
  const i = await ready(bench);
  const older = write(i, 0, 1);
  const ordered = i.commandPdu(readWrite('write', 1, 1), {
    write: true,
    attribute: 2,
    expectedLengthBytes: BLOCK,
    data: pattern(BLOCK, 2),
  });
  i.send(encodeScsiCommand(ordered));
  const newer = write(i, 2, 3);
  assert.equal(device.waiting.length, 1);
  manage(i, TaskFunction.ABORT_TASK, { tag: ordered.initiatorTaskTag });
  assert.equal(await managed(i), TaskResponse.FUNCTION_COMPLETE);
  assert.equal(device.waiting.length, 2, 'nothing orders the other two');
  await device.release();
  assert.equal((await i.result(older)).status, 0);
  assert.equal((await i.result(newer)).status, 0);
  assert.deepEqual(device.content(BLOCK, BLOCK), new Uint8Array(BLOCK));
});

test('a unit is told when the command that it works on is aborted', async () => {
  const { bench, device } = gated();
  const i = await ready(bench);
  const abandoned: number[] = [];
  Object.assign(bench.units, {
    abandon: (command: ScsiCommand) => abandoned.push(command.cdb[0]!),
  });
  const flush = i.commandPdu([0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  i.send(encodeScsiCommand(flush));
  manage(i, TaskFunction.ABORT_TASK, { tag: flush.initiatorTaskTag });
  assert.deepEqual([abandoned, i.received.length], [[0x35], 0]);
  await device.release();
  assert.equal(await managed(i), TaskResponse.FUNCTION_COMPLETE);
  write(i, 0, 1);
  manage(i, TaskFunction.ABORT_TASK_SET);
  assert.deepEqual(abandoned, [0x35, 0x2a], 'also while the disk has a write of it');
  await device.release();
});

test('sessions are dropped by name', async () => {
  const bench = testServer();
  const a = await ready(bench);
  const b = await ready(bench, { initiator: 'iqn.2026-11.test:b' });
  assert.equal(await bench.server.dropSessions({ initiatorName: 'iqn.2026-11.test:b' }), 1);
  assert.deepEqual([a.closed, b.closed], [false, true]);
});
