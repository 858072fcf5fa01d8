import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MemoryDevice } from '#block/mod.ts';
import { COMMAND_WINDOW, IMMEDIATE_COMMANDS_MAX, LOGIN_DEADLINE_MS } from './limits.ts';
import {
  Opcode,
  RejectReason,
  decodeNopIn,
  decodeR2t,
  decodeReject,
  decodeScsiResponse,
} from './pdu/mod.ts';
import {
  NO_BYTES,
  encodeDataOut,
  encodeLoginRequest,
  encodeNopOut,
  encodeScsiCommand,
} from './pdu/mod.ts';
import { encodeSnackRequest, encodeTextRequest, framePdu, opcodeOf } from './pdu/mod.ts';
import type { DataOut, R2t } from './pdu/mod.ts';
import type { KeyValue } from './text.ts';
import { TEST_DISK_BYTES, pattern, readWrite, testServer } from './testing/disk.ts';
import { GateDevice } from './testing/gate-device.ts';
import { NO_TAG, TestInitiator, USUAL_KEYS } from './testing/initiator.ts';

const BLOCK = 512;
const READ = { read: true, expectedLengthBytes: BLOCK } as const;
const PING = { immediate: true, lun: 0, targetTransferTag: NO_TAG, expStatSn: 0 } as const;

async function ready(
  bench = testServer(),
  keys: readonly KeyValue[] = USUAL_KEYS,
  initiator = 'iqn.2026-11.test:initiator',
): Promise<TestInitiator> {
  const i = new TestInitiator(bench.server);
  await i.login({ keys, initiator });
  await i.command([0, 0, 0, 0, 0, 0]);
  return i;
}

/** The target still answers. */
async function alive(i: TestInitiator): Promise<void> {
  const read = await i.command(readWrite('read', 0, 1), { readBytes: BLOCK });
  assert.equal(read.status, 0);
}

/** A write command that waits for its R2T. */
async function waitingWrite(
  i: TestInitiator,
  blocks: number,
): Promise<{ tag: number; r2t: R2t; out: (more: Partial<DataOut>) => void }> {
  const pdu = i.commandPdu(readWrite('write', 0, blocks), {
    write: true,
    expectedLengthBytes: blocks * BLOCK,
  });
  i.send(encodeScsiCommand(pdu));
  const r2t = decodeR2t(await i.next());
  const tag = pdu.initiatorTaskTag;
  const out = (more: Partial<DataOut>): void => {
    i.send(
      encodeDataOut({
        final: true,
        lun: 0,
        initiatorTaskTag: tag,
        targetTransferTag: r2t.targetTransferTag,
        expStatSn: 0,
        dataSn: 0,
        bufferOffsetBytes: 0,
        data: pattern(blocks * BLOCK),
        ...more,
      }),
    );
  };
  return { tag, r2t, out };
}

test('hostile case 22: garbage before the login ends the connection without an answer', async () => {
  const bench = testServer();
  const pdus = [
    encodeNopOut({ ...PING, initiatorTaskTag: 1, cmdSn: 1, data: NO_BYTES }),
    encodeSnackRequest({ ...PING, type: 0, initiatorTaskTag: 1, begRun: 0, runLength: 0 }),
  ];
  for (const pdu of pdus) {
    const i = new TestInitiator(bench.server);
    i.send(pdu);
    await i.ended();
    assert.equal(i.received.length, 0);
  }
  const http = new TestInitiator(bench.server);
  http.sendBytes(Buffer.from(`GET / HTTP/1.1\r\nHost: ${'x'.repeat(100)}\r\n\r\n`));
  bench.clock.advance(LOGIN_DEADLINE_MS + 1000);
  await http.ended();
  const long = new TestInitiator(bench.server);
  const login = long.loginRequest([], { data: new Uint8Array(8196) });
  long.send(encodeLoginRequest(login));
  await long.ended();
  assert.equal(bench.server.stats().halfOpen, 0);
});

test('hostile case 25: AHS of 255 words is refused, and the next PDU is found', async () => {
  const i = await ready();
  const pdu = encodeScsiCommand(i.commandPdu(readWrite('read', 0, 1), READ));
  i.send({ ...pdu, header: withAhs(pdu.header), ahs: new Uint8Array(255 * 4) });
  const reject = decodeReject(await i.next());
  assert.equal(reject.reason, RejectReason.INVALID_PDU_FIELD);
  await alive(i);
});

function withAhs(header: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(header);
  copy[4] = 255;
  return copy;
}

test('hostile case 25: a data segment over the declared limit closes the connection', async () => {
  const i = await ready();
  const pdu = framePdu(encodeNopOut({ ...PING, initiatorTaskTag: 1, cmdSn: 1, data: NO_BYTES }), {
    header: false,
    data: false,
  });
  pdu.set([0xff, 0xff, 0xff], 5);
  i.sendBytes(pdu);
  await i.ended();
});

test('hostile case 26: CmdSN outside the window is ignored, a gap is the end', async () => {
  const bench = testServer();
  const i = await ready(bench);
  for (const cmdSn of [i.cmdSn - 1, i.cmdSn + COMMAND_WINDOW, i.cmdSn - 1000]) {
    i.send(encodeScsiCommand({ ...i.commandPdu(readWrite('read', 0, 1), READ), cmdSn }));
    i.cmdSn -= 1;
  }
  assert.equal(i.received.length, 0);
  assert.equal(bench.server.stats().counters['commands-outside-window'], 3);
  await alive(i);
  i.send(encodeScsiCommand({ ...i.commandPdu(readWrite('read', 0, 1), READ), cmdSn: i.cmdSn + 1 }));
  await i.ended();
});

test('hostile case 26: the window closes when nothing is answered, and opens again', async () => {
  const device = new GateDevice({ sizeBytes: TEST_DISK_BYTES });
  const bench = testServer({ device });
  const i = await ready(bench);
  const tags: number[] = [];
  for (let n = 0; n < COMMAND_WINDOW; n++) {
    const pdu = i.commandPdu(readWrite('read', n, 1), READ);
    tags.push(pdu.initiatorTaskTag);
    i.send(encodeScsiCommand(pdu));
  }
  assert.equal(bench.server.stats().counters['commands-outside-window'], 0);
  i.send(encodeScsiCommand(i.commandPdu(readWrite('read', 0, 1), READ)));
  i.cmdSn -= 1;
  assert.equal(bench.server.stats().counters['commands-outside-window'], 1);
  i.send(encodeNopOut({ ...PING, initiatorTaskTag: 5000, cmdSn: i.cmdSn, data: NO_BYTES }));
  const nop = decodeNopIn(await i.next());
  assert.deepEqual([nop.expCmdSn, nop.maxCmdSn], [i.cmdSn, i.cmdSn - 1]);
  device.gateOpen = true;
  await device.release();
  for (const tag of tags) assert.equal((await i.result(tag)).status, 0);
  await alive(i);
});

test('hostile case 26: a flood of immediate commands is refused beyond the limit', async () => {
  const device = new GateDevice({ sizeBytes: TEST_DISK_BYTES });
  const i = await ready(testServer({ device }));
  const send = (): void => {
    i.send(encodeScsiCommand({ ...i.commandPdu(readWrite('read', 0, 1), READ), immediate: true }));
    i.cmdSn -= 1;
  };
  for (let n = 0; n < IMMEDIATE_COMMANDS_MAX; n++) send();
  assert.equal(i.received.length, 0);
  send();
  const reject = decodeReject(await i.next());
  assert.equal(reject.reason, RejectReason.TOO_MANY_IMMEDIATE_COMMANDS);
  assert.equal(reject.data.length, 48);
});

test('hostile case 26: a tag in use is refused, and the task that has it goes on', async () => {
  const i = await ready();
  const { tag, out } = await waitingWrite(i, 2);
  i.send(
    encodeScsiCommand({ ...i.commandPdu(readWrite('read', 0, 1), READ), initiatorTaskTag: tag }),
  );
  assert.equal(decodeReject(await i.next()).reason, RejectReason.TASK_IN_PROGRESS);
  out({});
  assert.equal((await i.result(tag)).status, 0);
});

test('hostile case 26: Data-Out with a wrong field fails its command', async () => {
  const cases: Record<string, Partial<DataOut>> = {
    DataSN: { dataSn: 1 },
    'offset ahead': { bufferOffsetBytes: BLOCK },
    'transfer tag': { targetTransferTag: 1 },
    'past the R2T': { data: pattern(3 * BLOCK) },
    'final too early': { data: pattern(BLOCK) },
    'final missing': { final: false },
  };
  for (const [name, spoil] of Object.entries(cases)) {
    const device = new MemoryDevice({ sizeBytes: TEST_DISK_BYTES });
    const i = await ready(testServer({ device }));
    const { tag, out } = await waitingWrite(i, 2);
    out(spoil);
    if (name === 'final missing') out({ dataSn: 1, bufferOffsetBytes: 1024, data: NO_BYTES });
    const result = await i.result(tag);
    assert.deepEqual([result.status, result.sense[2]], [2, 0x0b], name);
    const on = new Uint8Array(2 * BLOCK);
    device.tryRead(0, on, 0, on.length);
    assert.ok(
      on.every((byte) => byte === 0),
      `${name}: nothing was written`,
    );
    await alive(i);
  }
});

test('hostile case 26: Data-Out of nobody is dropped without an answer', async () => {
  const bench = testServer();
  const i = await ready(bench);
  const { tag, out } = await waitingWrite(i, 2);
  for (const stray of [
    { initiatorTaskTag: 77, targetTransferTag: NO_TAG },
    { initiatorTaskTag: 77 },
    { targetTransferTag: 0x00ff0000 },
  ]) {
    out(stray);
  }
  assert.equal(bench.server.stats().counters['data-out-dropped'], 3);
  out({});
  assert.equal((await i.result(tag)).status, 0);
});

test('hostile case 26: unsolicited data that was negotiated away fails the command', async () => {
  const noImmediate = USUAL_KEYS.map(([k, v]) => [k, k === 'ImmediateData' ? 'No' : v] as const);
  const i = await ready(testServer(), noImmediate);
  const write = { write: pattern(BLOCK), immediateBytes: BLOCK };
  const early = await i.command(readWrite('write', 0, 1), write);
  assert.deepEqual([early.status, early.sense[12], early.sense[13]], [2, 0x0c, 0x0c]);
  const onlyR2t = USUAL_KEYS.map(([k, v]) => [k, k === 'InitialR2T' ? 'Yes' : v] as const);
  const j = await ready(testServer(), onlyR2t);
  const pdu = j.commandPdu(readWrite('write', 0, 2), {
    write: true,
    final: false,
    expectedLengthBytes: 2 * BLOCK,
  });
  j.send(encodeScsiCommand(pdu));
  const tag = pdu.initiatorTaskTag;
  const out = { lun: 0, initiatorTaskTag: tag, targetTransferTag: NO_TAG, expStatSn: 0 };
  j.send(
    encodeDataOut({ ...out, final: true, dataSn: 0, bufferOffsetBytes: 0, data: pattern(BLOCK) }),
  );
  assert.equal((await j.result(tag)).status, 2);
  const k = await ready();
  const much = await k.command(readWrite('write', 0, 1), {
    write: pattern(BLOCK),
    immediateBytes: BLOCK,
  });
  assert.equal(much.status, 0);
  const pastEnd = k.commandPdu(readWrite('write', 0, 2), {
    write: true,
    expectedLengthBytes: BLOCK,
    data: pattern(2 * BLOCK),
  });
  k.send(encodeScsiCommand(pastEnd));
  assert.equal((await k.result(pastEnd.initiatorTaskTag)).status, 2);
});

test('hostile case 26: a wrong data digest fails the command, no more', async () => {
  const device = new MemoryDevice({ sizeBytes: TEST_DISK_BYTES });
  const bench = testServer({ device });
  const i = await ready(bench, [
    ...USUAL_KEYS,
    ['HeaderDigest', 'CRC32C'],
    ['DataDigest', 'CRC32C'],
  ]);
  const pdu = i.commandPdu(readWrite('write', 0, 1), {
    write: true,
    expectedLengthBytes: BLOCK,
    data: pattern(BLOCK),
  });
  const wire = framePdu(encodeScsiCommand(pdu), i.digests);
  wire[100]! ^= 1;
  i.sendBytes(wire);
  assert.equal(decodeReject(await i.next()).reason, RejectReason.DATA_DIGEST_ERROR);
  const result = await i.result(pdu.initiatorTaskTag);
  assert.deepEqual([result.status, result.sense[12], result.sense[13]], [2, 0x47, 0x05]);
  const on = new Uint8Array(BLOCK);
  device.tryRead(0, on, 0, BLOCK);
  assert.ok(on.every((byte) => byte === 0));
  await alive(i);
  wire[20]! ^= 1;
  i.sendBytes(wire);
  await i.ended();
  const { counters } = bench.server.stats();
  assert.deepEqual([counters['header-digest-errors'], counters['data-digest-errors']], [1, 1]);
});

test('what is not supported is rejected with its header', async () => {
  const i = await ready();
  const common = { lun: 0, initiatorTaskTag: 9, targetTransferTag: NO_TAG, expStatSn: 0 };
  i.send(encodeSnackRequest({ ...common, type: 0, begRun: 0, runLength: 0 }));
  const snack = decodeReject(await i.next());
  assert.equal(snack.reason, RejectReason.SNACK_REJECT);
  assert.equal(snack.data[0], Opcode.SNACK_REQUEST);
  const odd = framePdu(
    encodeNopOut({ ...PING, initiatorTaskTag: 1, cmdSn: 1, data: NO_BYTES }),
    i.digests,
  );
  odd[0] = 0x1c | 0x40;
  i.sendBytes(odd);
  assert.equal(decodeReject(await i.next()).reason, RejectReason.COMMAND_NOT_SUPPORTED);
  const bidirectional = i.commandPdu(readWrite('read', 0, 1), { ...READ, write: true });
  i.send(encodeScsiCommand(bidirectional));
  const failed = decodeScsiResponse(await i.next());
  // RFC 7143 §11.4.1: no residual, where the command was not completed.
  assert.deepEqual([failed.response, failed.residual, failed.residualBytes], [1, 'none', 0]);
  await alive(i);
});

test('a ping is echoed, also with data; a text negotiation can be long', async () => {
  const i = await ready();
  const data = pattern(1001);
  i.send(encodeNopOut({ ...PING, initiatorTaskTag: 4, cmdSn: i.cmdSn, data }));
  const nop = decodeNopIn(await i.next());
  assert.deepEqual([nop.initiatorTaskTag, nop.targetTransferTag], [4, NO_TAG]);
  assert.ok(Buffer.from(nop.data).equals(data));
  const text = { ...PING, initiatorTaskTag: 5, cmdSn: i.cmdSn, final: false };
  i.send(encodeTextRequest({ ...text, more: true, data: Buffer.from('SendTar') }));
  const go = await i.next();
  const tag = new DataView(go.header.buffer, go.header.byteOffset).getUint32(20);
  assert.notEqual(tag, NO_TAG);
  const rest = { targetTransferTag: tag, final: true, more: false };
  i.send(encodeTextRequest({ ...text, ...rest, data: Buffer.from('gets=\0') }));
  const answer = await i.next();
  assert.equal(opcodeOf(answer), Opcode.TEXT_RESPONSE);
  assert.match(Buffer.from(answer.data).toString(), /TargetName=iqn\.2026-11\.test:disk\0/);
  i.send(encodeTextRequest({ ...text, ...rest, data: NO_BYTES }));
  assert.equal(opcodeOf(await i.next()), Opcode.REJECT);
});

test('10^5 mutated PDUs: others are answered, all memory comes back', async () => {
  const bench = testServer();
  const witness = await ready(bench, USUAL_KEYS, 'iqn.2026-11.test:witness');
  let x = 7143;
  const random = (below: number): number => {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    return Math.floor((x / 2 ** 32) * below);
  };
  let sessions = 0;
  for (let n = 0; n < 100_000;) {
    const i = await ready(bench);
    sessions += 1;
    for (let k = 0; k < 200 && !i.closed; k++, n++) {
      const base = { initiatorTaskTag: random(8), expectedLengthBytes: random(4) * BLOCK };
      const kind = random(4);
      const wire =
        kind === 0
          ? encodeNopOut({
              ...PING,
              initiatorTaskTag: random(8),
              cmdSn: i.cmdSn,
              data: pattern(random(9)),
            })
          : kind === 1
            ? encodeDataOut({
                final: random(2) === 0,
                lun: 0,
                initiatorTaskTag: random(8),
                targetTransferTag: random(2) === 0 ? NO_TAG : random(8) << 16,
                expStatSn: 0,
                dataSn: random(3),
                bufferOffsetBytes: random(3) * BLOCK,
                data: pattern(random(3) * BLOCK),
              })
            : encodeScsiCommand({
                ...i.commandPdu(
                  readWrite(kind === 2 ? 'read' : 'write', random(9000), random(5)),
                  base,
                ),
                read: random(3) > 0,
                write: random(3) === 0,
                final: random(4) > 0,
                data: pattern(random(2) * BLOCK),
              });
      const bytes = framePdu(wire, i.digests);
      if (random(3) === 0) bytes[random(48)] = random(256);
      i.sendBytes(bytes);
      i.received.length = 0;
    }
    i.connection.lost('over');
  }
  await alive(witness);
  assert.ok(sessions > 500, `${sessions} sessions`);
  assert.equal(bench.server.plane.chunks.taken, 0);
  assert.equal(bench.server.stats().sessions.length, 1);
});
