import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LOGIN_DEADLINE_MS, LOGIN_ROUNDS_MAX, LOGIN_SEGMENT_BYTES_MAX } from '#iscsi/limits.ts';
import { NO_DIGESTS, Stage, decodeLoginResponse, encodeLoginRequest } from '#iscsi/pdu/mod.ts';
import { encodeNopOut, encodeScsiCommand, framePdu } from '#iscsi/pdu/mod.ts';
import { encodeTextRequest } from '#iscsi/pdu/mod.ts';
import type { LoginRequest } from '#iscsi/pdu/mod.ts';
import { LoginStatus } from '#iscsi/mod.ts';
import { encodeText } from '#iscsi/text.ts';
import type { KeyValue } from '#iscsi/text.ts';
import { USUAL_KEYS, loginRequest } from './raw-initiator.ts';
import { TARGET, rig, until } from './rig.ts';
import type { Rig } from './rig.ts';

const NAMES: readonly KeyValue[] = [
  ['InitiatorName', 'iqn.2026-11.test:initiator'],
  ['TargetName', TARGET],
];
const SECURITY = { currentStage: Stage.SECURITY, nextStage: Stage.OPERATIONAL } as const;
const NO_AUTH: readonly KeyValue[] = [...NAMES, ['AuthMethod', 'None']];
const INITIATOR_ERROR = LoginStatus.INITIATOR_ERROR;

/** The first request of a login gets this status, and the target hangs up. */
async function refused(
  r: Rig,
  text: readonly KeyValue[],
  more: Partial<LoginRequest>,
  status: number,
  what: string,
): Promise<void> {
  const peer = await r.dial();
  const answer = await peer.loginStep(text, more);
  assert.equal(answer.status.toString(16), status.toString(16), what);
  assert.equal(answer.transit, false, what);
  await peer.ended();
  peer.cut();
}

test('hostile case 22: every combination of stages in the first request', async (t) => {
  const r = await rig(t);
  for (const transit of [true, false]) {
    for (let currentStage = 0; currentStage < 4; currentStage++) {
      for (let nextStage = 0; nextStage < 4; nextStage++) {
        const what = `T=${transit} CSG=${currentStage} NSG=${nextStage}`;
        const stages = { transit, currentStage, nextStage };
        const text = currentStage === 0 ? NO_AUTH : NAMES;
        if (currentStage > 1) {
          await refused(r, text, stages, LoginStatus.INVALID_DURING_LOGIN, what);
        } else if (transit && (nextStage <= currentStage || nextStage === 2)) {
          await refused(r, text, stages, INITIATOR_ERROR, what);
        } else {
          const peer = await r.dial();
          const answer = await peer.loginStep(text, stages);
          assert.deepEqual([answer.status, answer.transit], [0, transit], what);
          if (transit) assert.equal(answer.nextStage, nextStage, what);
          peer.cut();
        }
      }
    }
  }
});

test('hostile case 22: a stage that was left does not come back', async (t) => {
  const r = await rig(t);
  const again: Partial<LoginRequest>[] = [
    SECURITY,
    { currentStage: Stage.FULL_FEATURE },
    { currentStage: 2 },
  ];
  for (const stages of again) {
    const peer = await r.dial();
    assert.equal((await peer.loginStep(NO_AUTH, SECURITY)).transit, true);
    const answer = await peer.loginStep([], stages);
    assert.equal(answer.status, LoginStatus.INVALID_DURING_LOGIN);
    await peer.ended();
  }
});

test('hostile case 22: T and C together, identifiers that change, versions, MC/S', async (t) => {
  const r = await rig(t);
  await refused(r, NAMES, { more: true }, INITIATOR_ERROR, 'T and C');
  const newer = { versionMin: 1, versionMax: 1 };
  await refused(r, NAMES, newer, LoginStatus.UNSUPPORTED_VERSION, 'version');
  await refused(r, NAMES, { tsih: 77 }, LoginStatus.SESSION_DOES_NOT_EXIST, 'TSIH of nobody');
  const member = await r.dial();
  const { tsih } = await member.login();
  await refused(r, NAMES, { tsih }, LoginStatus.TOO_MANY_CONNECTIONS, 'a second connection');
  const type = [...NAMES, ['SessionType', 'Strange']] as const;
  await refused(r, type, {}, LoginStatus.SESSION_TYPE_NOT_SUPPORTED, 'session type');
  const [initiator, target] = [NAMES.slice(0, 1), NAMES.slice(1)];
  await refused(r, target, {}, LoginStatus.MISSING_PARAMETER, 'no initiator name');
  await refused(r, initiator, {}, LoginStatus.MISSING_PARAMETER, 'no target name');
  for (const change of [{ isid: '800000000002' }, { cid: 3 }, { initiatorTaskTag: 9 }]) {
    const peer = await r.dial();
    await peer.loginStep(NO_AUTH, SECURITY);
    assert.equal((await peer.loginStep([], change)).status, INITIATOR_ERROR);
    await peer.ended();
  }
  await member.settle();
});

test('hostile case 22: keys that came twice, are unknown, or are no keys', async (t) => {
  const r = await rig(t);
  for (const [key, value] of USUAL_KEYS) {
    const twice: readonly KeyValue[] = [...NAMES, [key, value], [key, value]];
    await refused(r, twice, {}, INITIATOR_ERROR, key);
  }
  for (const text of ['=x\0', 'NoEquals\0', 'Spaced key=1\0', `${'k'.repeat(64)}=1\0`, 'a=b']) {
    const data = Buffer.concat([encodeText(NAMES), Buffer.from(text)]);
    await refused(r, [], { data }, INITIATOR_ERROR, text);
  }
  const foreign = Buffer.concat([encodeText(NAMES), Buffer.from([0x61, 0x3d, 0xff, 0xfe, 0])]);
  await refused(r, [], { data: foreign }, INITIATOR_ERROR, 'not UTF-8');
  const peer = await r.dial();
  const answer = await peer.loginStep([...NAMES, ['X-org.example.x', 'y'], ['Nonsense', '1']]);
  assert.equal(answer.status, 0);
  const replies = ['X-org.example.x', 'Nonsense'].map((key) => answer.keys.get(key));
  assert.deepEqual(replies, ['NotUnderstood', 'NotUnderstood']);
});

test('hostile case 22: text split over two PDUs at every byte', async (t) => {
  const r = await rig(t);
  const whole = encodeText([...NAMES, ...USUAL_KEYS]);
  for (let cut = 0; cut <= whole.length; cut++) {
    const peer = await r.dial();
    const half = { data: whole.slice(0, cut), more: true, transit: false };
    const first = await peer.loginStep([], half);
    assert.deepEqual([first.status, first.transit, first.response.data.length], [0, false, 0]);
    const last = await peer.loginStep([], { data: whole.slice(cut) });
    assert.deepEqual([last.status, last.transit, last.nextStage], [0, true, 3], `cut at ${cut}`);
    peer.cut();
  }
});

test('hostile case 22: text without an end: 64 KiB, then it is over', async (t) => {
  const r = await rig(t);
  const peer = await r.dial();
  const piece = new Uint8Array(LOGIN_SEGMENT_BYTES_MAX).fill(0x41);
  const more = { data: piece, more: true, transit: false };
  for (let n = 0; n < 8; n++) assert.equal((await peer.loginStep([], more)).status, 0);
  assert.equal((await peer.loginStep([], more)).status, INITIATOR_ERROR);
  await peer.ended();
  const long = await r.dial();
  long.send(encodeLoginRequest(loginRequest([], { data: new Uint8Array(8196) })));
  await long.ended();
  assert.equal(long.received.length, 0, 'a segment over the limit is not even answered');
});

test('hostile case 22: rounds without progress come to an end', async (t) => {
  const r = await rig(t);
  const peer = await r.dial();
  const stay = { transit: false };
  for (let n = 0; n < LOGIN_ROUNDS_MAX; n++) {
    const answer = await peer.loginStep(n === 0 ? NAMES : [], stay);
    assert.deepEqual([answer.status, answer.transit], [0, false]);
  }
  assert.equal((await peer.loginStep([], stay)).status, INITIATOR_ERROR);
  await peer.ended();
});

test('hostile case 22: a drip of one byte at a time meets the deadline', async (t) => {
  const r = await rig(t);
  const peer = await r.dial();
  const bytes = framePdu(encodeLoginRequest(loginRequest(NAMES)), NO_DIGESTS);
  const stepMs = Math.ceil(LOGIN_DEADLINE_MS / 20);
  for (let n = 0; n < 20; n++) {
    assert.equal(peer.closed, false);
    peer.sendBytes(bytes.subarray(n, n + 1));
    r.clock.advance(stepMs);
  }
  r.clock.advance(1000);
  await peer.ended();
  assert.equal(r.server.stats().counters['login-timeouts'], 1);
  assert.equal(r.server.stats().halfOpen, 0);
});

test('hostile case 22: what is no login before the login, and a login after it', async (t) => {
  const r = await rig(t);
  const tags = { lun: 0, targetTransferTag: 0xffffffff, expStatSn: 0, initiatorTaskTag: 5 };
  const sn = { immediate: true, cmdSn: 1, data: new Uint8Array() };
  const scout = await r.enter();
  const strangers = [
    encodeNopOut({ ...tags, ...sn }),
    encodeTextRequest({ ...tags, ...sn, final: true, more: false }),
    encodeScsiCommand(scout.commandPdu([0, 0, 0, 0, 0, 0])),
  ];
  scout.cut();
  for (const pdu of strangers) {
    const peer = await r.dial();
    peer.send(pdu);
    await peer.ended();
    assert.equal(peer.received.length, 0);
  }
  const middle = await r.dial();
  await middle.loginStep(NO_AUTH, SECURITY);
  middle.send(encodeNopOut({ ...tags, ...sn }));
  await middle.ended();
  const again = await r.enter();
  again.send(encodeLoginRequest(loginRequest(NAMES)));
  await again.ended();
  await until(() => r.server.stats().sessions.length === 0);
});

test('hostile case 22: a login cut at every byte leaves nothing behind', async (t) => {
  const r = await rig(t);
  const bytes = framePdu(encodeLoginRequest(loginRequest(NAMES)), NO_DIGESTS);
  for (let cut = 0; cut < bytes.length; cut += 3) {
    const peer = await r.dial();
    peer.sendBytes(bytes.subarray(0, cut));
    peer.socket.end();
    await peer.ended();
  }
  await until(() => r.server.stats().halfOpen === 0);
  assert.equal(r.server.stats().sessions.length, 0);
  const peer = await r.enter();
  assert.equal((await peer.read(0, 1)).length, 512);
});

test('hostile case 22: flags that the standard reserves do not confuse the answer', async (t) => {
  const r = await rig(t);
  const bytes = framePdu(encodeLoginRequest(loginRequest(NAMES)), NO_DIGESTS);
  for (let bit = 0; bit < 48 * 8; bit++) {
    const changed = Uint8Array.from(bytes);
    changed[bit >> 3]! ^= 1 << (bit & 7);
    // A length that grows makes the target wait for the rest: that is the drip above.
    const [before, after] = [lengthOf(bytes), lengthOf(changed)];
    if (after > before) continue;
    const peer = await r.dial();
    peer.sendBytes(changed);
    await Promise.race([peer.next().catch(() => {}), peer.ended()]);
    peer.cut();
  }
  await until(() => r.server.stats().halfOpen === 0);
  const peer = await r.dial();
  peer.sendBytes(bytes);
  assert.equal(decodeLoginResponse(await peer.next()).status, 0);
});

function lengthOf(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const word = view.getUint32(4);
  return (word >>> 24) * 4 + (word & 0xffffff);
}
