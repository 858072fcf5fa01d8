import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LoginStatus } from '#iscsi/mod.ts';
import { RESERVED_TAG, decodeTextResponse, encodeTextRequest } from '#iscsi/pdu/mod.ts';
import { decodeText } from '#iscsi/text.ts';
import type { RawInitiator } from './raw-initiator.ts';
import { TARGET, rig } from './rig.ts';
import type { Rig } from './rig.ts';

const OWNER = 'iqn.2026-11.test:owner';
const PRIVATE = 'iqn.2026-11.test:private';

async function statusOf(r: Rig, initiator: string, target: string): Promise<number> {
  const peer = await r.dial();
  const { status } = await peer.tryLogin({ initiator, target });
  peer.cut();
  return status;
}

/** Names with something that a log, a terminal or a file name would not bear. */
const BAD_NAMES: readonly string[] = [
  '',
  'host',
  'iqn.',
  'iqn.2026-11.test:\u0001',
  'iqn.2026-11.test:a\nb',
  'iqn.2026-11.test:\u001b[31mred',
  'iqn.2026-11.test:a b',
  'iqn.2026-11.test:../../etc/passwd',
  'iqn.2026-11.test:\u202eevil',
  'iqn.2026-11.test:\u0000x'.replace('\u0000', '\u007f'),
  'iqn.2026-11.test:a,b',
  'iqn.2026-11.test:a"b',
  'iqn.2026-11.test:<script>',
  `iqn.2026-11.test:${'x'.repeat(224 - 17)}`,
  `iqn.2026-11.test:${'é'.repeat(104)}`,
  'eui.0123',
  'eui.0123456789abcdeg',
  'naa.0123456789abcde',
  'com.2026-11.test:x',
];

test('hostile case 24: names that are none are refused', async (t) => {
  const r = await rig(t);
  for (const name of BAD_NAMES) {
    const shown = JSON.stringify(name);
    assert.equal(await statusOf(r, name, TARGET), LoginStatus.INITIATOR_ERROR, shown);
    assert.equal(await statusOf(r, OWNER, name), LoginStatus.NOT_FOUND, shown);
  }
  const longest = `iqn.2026-11.test:${'x'.repeat(223 - 17)}`;
  assert.equal(await statusOf(r, longest, TARGET), 0, '223 bytes are a name');
});

test('hostile case 24: case and compatibility forms are one name, not two', async (t) => {
  const config = { iqn: PRIVATE, access: [OWNER], takeover: true } as const;
  const r = await rig(t, { more: [config] });
  const same = [
    OWNER,
    OWNER.toUpperCase(),
    'iqn.2026-11.test:ｏｗｎｅｒ',
    'IQN.2026-11.test:Owner',
  ];
  const peers: RawInitiator[] = [];
  for (const initiator of same) {
    const peer = await r.dial();
    assert.equal((await peer.tryLogin({ initiator, target: PRIVATE })).status, 0, initiator);
    peers.push(peer);
  }
  // Each took over from the one before: they are one initiator.
  assert.equal(r.server.stats().sessions.length, 1);
  for (const before of peers.slice(0, -1)) await before.ended();
  const others = [`${OWNER}2`, 'iqn.2026-11.test:οwner', 'iqn.2026-11.test:owne'];
  for (const name of others) {
    assert.equal(await statusOf(r, name, PRIVATE), LoginStatus.AUTHORIZATION_FAILURE, name);
  }
  assert.equal(await statusOf(r, OWNER, PRIVATE.toUpperCase()), 0);
});

test('hostile case 24: SendTargets shows only what this initiator may use', async (t) => {
  const config = { iqn: PRIVATE, access: [OWNER], takeover: true } as const;
  const r = await rig(t, { more: [config] });
  const shown = async (initiator: string, value: string): Promise<string[]> => {
    const peer = await r.dial();
    await peer.login({ initiator, discovery: true, keys: [] });
    peer.send(
      encodeTextRequest({
        immediate: true,
        final: true,
        more: false,
        lun: 0,
        initiatorTaskTag: 3,
        targetTransferTag: RESERVED_TAG,
        cmdSn: 1,
        expStatSn: 0,
        data: Buffer.from(`SendTargets=${value}\0`),
      }),
    );
    const text = decodeText(decodeTextResponse(await peer.next()).data);
    peer.cut();
    return text.filter(([key]) => key === 'TargetName').map(([, name]) => name);
  };
  assert.deepEqual(await shown(OWNER, 'All'), [TARGET, PRIVATE]);
  assert.deepEqual(await shown('iqn.2026-11.test:other', 'All'), [TARGET]);
  assert.deepEqual(await shown('iqn.2026-11.test:other', PRIVATE), []);
  assert.deepEqual(await shown(OWNER, PRIVATE.toUpperCase()), [PRIVATE]);
  assert.deepEqual(await shown(OWNER, ''), []);
});

test('hostile case 24: what a stranger calls itself is told as it is, not as it looks', async (t) => {
  const r = await rig(t, { config: { access: [OWNER] } });
  await statusOf(r, 'iqn.2026-11.test:stranger', TARGET);
  await statusOf(r, 'iqn.2026-11.test:\u001b[2J', TARGET);
  const told = r.events.filter((e) => e.kind === 'login-refused');
  assert.deepEqual(
    told.map((e) => e.initiatorName),
    ['iqn.2026-11.test:stranger', 'iqn.2026-11.test:\u001b[2J'],
    'whoever shows it has to escape it',
  );
  assert.deepEqual(
    told.map((e) => e.status),
    [LoginStatus.AUTHORIZATION_FAILURE, LoginStatus.INITIATOR_ERROR],
  );
});
