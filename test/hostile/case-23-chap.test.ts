import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { UserError } from '#base/mod.ts';
import { LoginStatus, TargetServer } from '#iscsi/mod.ts';
import type { ChapCredentials } from '#iscsi/mod.ts';
import { Stage } from '#iscsi/pdu/mod.ts';
import type { KeyValue } from '#iscsi/text.ts';
import type { LoginAnswer, RawInitiator } from './raw-initiator.ts';
import { TARGET, rig } from './rig.ts';
import type { Rig } from './rig.ts';

const CHAP: ChapCredentials = {
  user: 'machine',
  secret: 'a secret of 20 chars',
  mutualUser: 'server',
  mutualSecret: 'another secret here',
};
const NAMES: readonly KeyValue[] = [
  ['InitiatorName', 'iqn.2026-11.test:initiator'],
  ['TargetName', TARGET],
];
const SECURITY = { currentStage: Stage.SECURITY, nextStage: Stage.OPERATIONAL } as const;
const STAY = { ...SECURITY, transit: false } as const;
const DENIED = LoginStatus.AUTHENTICATION_FAILURE;
const HASHES = { 5: 'md5', 6: 'sha1', 7: 'sha256', 8: 'sha3-256' } as const;
type Algorithm = keyof typeof HASHES;

type Question = { readonly id: number; readonly challenge: Buffer };

/** Connects and goes as far as the target's challenge. */
async function asked(r: Rig, algorithm: Algorithm = 5): Promise<[RawInitiator, Question]> {
  const peer = await r.dial();
  const method = await peer.loginStep([...NAMES, ['AuthMethod', 'CHAP']], SECURITY);
  assert.deepEqual([method.keys.get('AuthMethod'), method.transit], ['CHAP', false]);
  return [peer, await challengeOf(peer, algorithm)];
}

async function challengeOf(peer: RawInitiator, algorithm: Algorithm): Promise<Question> {
  const answer = await peer.loginStep([['CHAP_A', String(algorithm)]], STAY);
  assert.deepEqual([answer.status, answer.keys.get('CHAP_A')], [0, String(algorithm)]);
  const challenge = Buffer.from((answer.keys.get('CHAP_C') ?? '').slice(2), 'hex');
  return { id: Number(answer.keys.get('CHAP_I')), challenge };
}

/** RFC 1994 §4.1, worked out here and not by the code under test. */
function proof(q: Question, secret: string, algorithm: Algorithm = 5): string {
  const hash = createHash(HASHES[algorithm]);
  const digest = hash.update(Uint8Array.of(q.id)).update(secret).update(q.challenge).digest('hex');
  return `0x${digest}`;
}

async function denied(peer: RawInitiator, answer: LoginAnswer, what: string): Promise<void> {
  assert.equal(answer.status.toString(16), DENIED.toString(16), what);
  assert.equal(answer.transit, false, what);
  await peer.ended();
}

test('hostile case 23: the right secret is let in with every algorithm', async (t) => {
  const r = await rig(t, { config: { chap: CHAP } });
  for (const algorithm of [5, 6, 7, 8] as const) {
    const [peer, question] = await asked(r, algorithm);
    const text: KeyValue[] = [
      ['CHAP_N', CHAP.user],
      ['CHAP_R', proof(question, CHAP.secret, algorithm)],
    ];
    assert.equal((await peer.loginStep(text, SECURITY)).transit, true);
    assert.equal((await peer.loginStep([])).nextStage, Stage.FULL_FEATURE);
    await peer.settle();
    peer.cut();
  }
});

test('hostile case 23: None is never taken where CHAP is required', async (t) => {
  const r = await rig(t, { config: { chap: CHAP } });
  const offers: readonly (readonly KeyValue[])[] = [
    [['AuthMethod', 'None']],
    [],
    [['AuthMethod', 'KRB5,SRP']],
    [['AuthMethod', 'none,chap']],
    [['AuthMethod', '']],
  ];
  for (const offer of offers) {
    const peer = await r.dial();
    await denied(peer, await peer.loginStep([...NAMES, ...offer], SECURITY), String(offer));
  }
  const both = await r.dial();
  const answer = await both.loginStep([...NAMES, ['AuthMethod', 'None,CHAP']], SECURITY);
  assert.deepEqual([answer.keys.get('AuthMethod'), answer.transit], ['CHAP', false]);
  const skipped = await r.dial();
  await denied(skipped, await skipped.loginStep(NAMES), 'straight to the operational stage');
  const jump = await r.dial();
  const toFull = { currentStage: Stage.SECURITY, nextStage: Stage.FULL_FEATURE };
  await denied(jump, await jump.loginStep(NAMES, toFull), 'straight to full feature');
});

test('hostile case 23: the stage cannot be left before the answer', async (t) => {
  const r = await rig(t, { config: { chap: CHAP } });
  for (const step of [0, 1, 2]) {
    const peer = await r.dial();
    await peer.loginStep([...NAMES, ['AuthMethod', 'CHAP']], SECURITY);
    if (step > 0) await challengeOf(peer, 5);
    if (step > 1) assert.equal((await peer.loginStep([], SECURITY)).transit, false);
    const answer = await peer.loginStep([]);
    assert.equal(answer.status, LoginStatus.INVALID_DURING_LOGIN, `after step ${step}`);
    await peer.ended();
  }
});

test('hostile case 23: wrong answers of every kind', async (t) => {
  const r = await rig(t, { config: { chap: CHAP } });
  const kinds: Record<string, (q: Question) => readonly KeyValue[]> = {
    secret: (q) => [
      ['CHAP_N', CHAP.user],
      ['CHAP_R', proof(q, 'wrong')],
    ],
    'the other secret': (q) => [
      ['CHAP_N', CHAP.user],
      ['CHAP_R', proof(q, CHAP.mutualSecret!)],
    ],
    'name of nobody': (q) => [
      ['CHAP_N', 'nobody'],
      ['CHAP_R', proof(q, CHAP.secret)],
    ],
    'name in capitals': (q) => [
      ['CHAP_N', 'MACHINE'],
      ['CHAP_R', proof(q, CHAP.secret)],
    ],
    'name with more': (q) => [
      ['CHAP_N', 'machine2'],
      ['CHAP_R', proof(q, CHAP.secret)],
    ],
    'no name': (q) => [['CHAP_R', proof(q, CHAP.secret)]],
    'no response': () => [['CHAP_N', CHAP.user]],
    'one byte less': (q) => [
      ['CHAP_N', CHAP.user],
      ['CHAP_R', proof(q, CHAP.secret).slice(0, -2)],
    ],
    'one byte more': (q) => [
      ['CHAP_N', CHAP.user],
      ['CHAP_R', `${proof(q, CHAP.secret)}00`],
    ],
    'length of SHA-1': (q) => [
      ['CHAP_N', CHAP.user],
      ['CHAP_R', proof(q, CHAP.secret, 6)],
    ],
    'half a byte': (q) => [
      ['CHAP_N', CHAP.user],
      ['CHAP_R', proof(q, CHAP.secret).slice(0, -1)],
    ],
    'empty response': () => [
      ['CHAP_N', CHAP.user],
      ['CHAP_R', '0x'],
    ],
    'no hexadecimal': () => [
      ['CHAP_N', CHAP.user],
      ['CHAP_R', `0x${'zz'.repeat(16)}`],
    ],
    'long response': () => [
      ['CHAP_N', CHAP.user],
      ['CHAP_R', `0x${'00'.repeat(2000)}`],
    ],
    'identifier off by one': (q) => [
      ['CHAP_N', CHAP.user],
      ['CHAP_R', proof({ ...q, id: (q.id + 1) & 255 }, CHAP.secret)],
    ],
  };
  for (const [what, text] of Object.entries(kinds)) {
    const [peer, question] = await asked(r);
    await denied(peer, await peer.loginStep(text(question), SECURITY), what);
  }
  assert.equal(r.server.stats().sessions.length, 0);
});

test('hostile case 23: algorithms that we do not have, or that are asked for twice', async (t) => {
  const r = await rig(t, { config: { chap: CHAP } });
  for (const list of ['', '4', '9,10,255', '05', '5 ', 'MD5', '0x5']) {
    const peer = await r.dial();
    await peer.loginStep([...NAMES, ['AuthMethod', 'CHAP']], SECURITY);
    await denied(peer, await peer.loginStep([['CHAP_A', list]], STAY), `list "${list}"`);
  }
  const chosen = await r.dial();
  await chosen.loginStep([...NAMES, ['AuthMethod', 'CHAP']], SECURITY);
  const answer = await chosen.loginStep([['CHAP_A', '99,7,5']], STAY);
  assert.equal(answer.keys.get('CHAP_A'), '7', "the initiator's order counts");
  const [peer] = await asked(r);
  const twice = await peer.loginStep([['CHAP_A', '5']], STAY);
  assert.equal(twice.status, LoginStatus.INITIATOR_ERROR, 'a key that came twice');
  await peer.ended();
});

test('hostile case 23: no challenge comes twice, and an answer fits its connection only', async (t) => {
  const r = await rig(t, { config: { chap: CHAP } });
  const seen = new Set<string>();
  for (let n = 0; n < 300; n++) {
    const [peer, { challenge }] = await asked(r);
    assert.equal(challenge.length, 16);
    seen.add(challenge.toString('hex'));
    peer.cut();
  }
  assert.equal(seen.size, 300);
  const [one, first] = await asked(r);
  const [two] = await asked(r);
  const right: KeyValue[] = [
    ['CHAP_N', CHAP.user],
    ['CHAP_R', proof(first, CHAP.secret)],
  ];
  await denied(two, await two.loginStep(right, SECURITY), 'the answer of another connection');
  assert.equal((await one.loginStep(right, SECURITY)).transit, true);
});

test('hostile case 23: a login that was recorded is worth nothing after a restart', async (t) => {
  const before = await rig(t, { config: { chap: CHAP } });
  const [peer, question] = await asked(before);
  const recorded: KeyValue[] = [
    ['CHAP_N', CHAP.user],
    ['CHAP_R', proof(question, CHAP.secret)],
  ];
  assert.equal((await peer.loginStep(recorded, SECURITY)).transit, true);
  peer.cut();
  for (let n = 0; n < 20; n++) {
    const after = await rig(t, { config: { chap: CHAP } });
    const [again, fresh] = await asked(after);
    assert.notDeepEqual(fresh.challenge, question.challenge);
    await denied(again, await again.loginStep(recorded, SECURITY), 'replayed');
  }
});

test('hostile case 23: mutual CHAP: the proof is right, and only after ours was seen', async (t) => {
  const r = await rig(t, { config: { chap: CHAP } });
  const ask: KeyValue[] = [
    ['CHAP_I', '9'],
    ['CHAP_C', `0x${'ab'.repeat(16)}`],
  ];
  const [peer, question] = await asked(r);
  const mine: KeyValue[] = [
    ['CHAP_N', CHAP.user],
    ['CHAP_R', proof(question, CHAP.secret)],
  ];
  const answer = await peer.loginStep([...mine, ...ask], SECURITY);
  const expected = proof({ id: 9, challenge: Buffer.alloc(16, 0xab) }, CHAP.mutualSecret!);
  assert.deepEqual([answer.keys.get('CHAP_R'), answer.keys.get('CHAP_N')], [expected, 'server']);
  const [liar, q] = await asked(r);
  const lies: KeyValue[] = [
    ['CHAP_N', CHAP.user],
    ['CHAP_R', proof(q, 'wrong')],
  ];
  const refusal = await liar.loginStep([...lies, ...ask], SECURITY);
  assert.equal(refusal.keys.has('CHAP_R'), false, 'no oracle for who knows no secret');
  await denied(liar, refusal, 'wrong secret, and a question');
  const early = await r.dial();
  await early.loginStep([...NAMES, ['AuthMethod', 'CHAP']], SECURITY);
  const first = await early.loginStep([['CHAP_A', '5'], ...ask], STAY);
  assert.equal(first.keys.has('CHAP_R'), false);
});

test('hostile case 23: reflection: our own challenge is not answered', async (t) => {
  const r = await rig(t, { config: { chap: CHAP } });
  const [peer, question] = await asked(r);
  const text: KeyValue[] = [
    ['CHAP_N', CHAP.user],
    ['CHAP_R', proof(question, CHAP.secret)],
    ['CHAP_I', String(question.id)],
    ['CHAP_C', `0x${question.challenge.toString('hex')}`],
  ];
  await denied(peer, await peer.loginStep(text, SECURITY), 'reflected');
  const bad: readonly (readonly [string, string])[] = [
    ['256', '0x00'],
    ['-1', '0x00'],
    ['1', ''],
    ['1', `0x${'00'.repeat(1025)}`],
    ['', '0x00'],
  ];
  for (const [id, challenge] of bad) {
    const [other, q] = await asked(r);
    const mine: KeyValue[] = [
      ['CHAP_N', CHAP.user],
      ['CHAP_R', proof(q, CHAP.secret)],
    ];
    const ask: KeyValue[] = [
      ['CHAP_I', id],
      ['CHAP_C', challenge],
    ];
    await denied(other, await other.loginStep([...mine, ...ask], SECURITY), `${id} ${challenge}`);
  }
});

test('hostile case 23: equal secrets, and mutual CHAP with no secret to prove', async (t) => {
  const server = new TargetServer();
  t.after(() => server.close());
  const same = { ...CHAP, mutualSecret: CHAP.secret };
  const { units } = { units: { hasLun: () => false } as never };
  assert.throws(() => {
    server.addExport({ iqn: TARGET, access: 'any', takeover: false, chap: same }, units);
  }, UserError);
  const oneWay = { user: CHAP.user, secret: CHAP.secret };
  const r = await rig(t, { config: { chap: oneWay } });
  const [peer, q] = await asked(r);
  const text: KeyValue[] = [
    ['CHAP_N', CHAP.user],
    ['CHAP_R', proof(q, CHAP.secret)],
    ['CHAP_I', '1'],
    ['CHAP_C', `0x${'11'.repeat(16)}`],
  ];
  await denied(peer, await peer.loginStep(text, SECURITY), 'mutual without a secret');
});

test('hostile case 23: CHAP keys where they do not belong', async (t) => {
  const r = await rig(t, { config: { chap: CHAP } });
  const open = await rig(t);
  const where: readonly [Rig, readonly KeyValue[], object][] = [
    [r, [...NAMES, ['CHAP_A', '5']], SECURITY],
    [open, [...NAMES, ['CHAP_A', '5']], SECURITY],
    [open, [...NAMES, ['AuthMethod', 'None'], ['CHAP_N', 'x'], ['CHAP_R', '0x00']], SECURITY],
    [open, [...NAMES, ['CHAP_N', 'x']], {}],
    [open, [...NAMES, ['AuthMethod', 'None']], {}],
  ];
  for (const [at, text, stage] of where) {
    const peer = await at.dial();
    const { status } = await peer.loginStep(text, stage);
    assert.equal(status >> 8, 2, `${text.slice(2).join(' ')}: 0x${status.toString(16)}`);
    await peer.ended();
  }
});
