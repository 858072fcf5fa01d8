import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { chapResponse } from './chap.ts';
import { ExportPolicy } from './export-policy.ts';
import { DEFAULT_OFFER } from './keys.ts';
import { LOGIN_ROUNDS_MAX } from './limits.ts';
import { LoginMachine } from './login.ts';
import type { LoginOutcome } from './login-types.ts';
import { Stage } from './pdu/mod.ts';
import type { LoginRequest } from './pdu/mod.ts';
import { LoginStatus } from './policy.ts';
import type { ChapCredentials } from './policy.ts';
import { decodeText, encodeText, formatBinary, parseBinary } from './text.ts';
import type { KeyValue } from './text.ts';
import { IPXE_KEYS, USUAL_KEYS } from './testing/initiator.ts';

const INITIATOR = 'iqn.2026-11.test:initiator';
const CHAP: ChapCredentials = {
  user: 'machine',
  secret: 'a secret of 20 chars',
  mutualUser: 'server',
  mutualSecret: 'another secret here',
};
const NAMES: readonly KeyValue[] = [
  ['InitiatorName', INITIATOR],
  ['TargetName', 'iqn.2026-11.test:open'],
  ['SessionType', 'Normal'],
];
const CHAP_NAMES: readonly KeyValue[] = [
  ['InitiatorName', INITIATOR],
  ['TargetName', 'iqn.2026-11.test:chap'],
];

type Answered = Exclude<LoginOutcome, { kind: 'handover' }>;
type Tested = { step(request: LoginRequest): Answered };

/** A login that no other thread may take. */
function machine(): Tested {
  const policy = new ExportPolicy();
  const add = (name: string, more: object): void => {
    policy.add({ iqn: `iqn.2026-11.test:${name}`, access: 'any', takeover: false, ...more });
  };
  add('open', {});
  add('private', { access: ['iqn.2026-11.test:Somebody'] });
  add('chap', { chap: CHAP });
  add('moved', { redirect: { address: '10.0.0.2', port: 3260 } });
  add('moved6', { redirect: { address: 'fd00::2', port: 3261, permanent: true } });
  const m = new LoginMachine({
    policy,
    portal: { address: '10.0.0.1', port: 3260 },
    peer: { address: '10.0.0.9', port: 4000 },
    portalGroupTag: 1,
    offer: DEFAULT_OFFER,
    random: (n) => randomBytes(n),
    sessionExists: (tsih) => tsih === 7,
  });
  return {
    step: (r) => {
      const outcome = m.step(r);
      assert.ok(outcome.kind !== 'handover');
      return outcome;
    },
  };
}

function request(text: readonly KeyValue[], more: Partial<LoginRequest> = {}): LoginRequest {
  return {
    transit: true,
    more: false,
    currentStage: Stage.OPERATIONAL,
    nextStage: Stage.FULL_FEATURE,
    versionMax: 0,
    versionMin: 0,
    isid: '800000000001',
    tsih: 0,
    initiatorTaskTag: 1,
    cid: 0,
    cmdSn: 10,
    expStatSn: 5,
    data: encodeText(text),
    ...more,
  };
}

const SECURITY = { currentStage: Stage.SECURITY, nextStage: Stage.OPERATIONAL } as const;

function keys(outcome: Answered): Map<string, string> {
  return new Map(decodeText(outcome.response.data));
}

function refused(outcome: Answered, status: number): void {
  assert.equal(outcome.kind, 'refuse');
  assert.equal(`0x${outcome.response.status.toString(16)}`, `0x${status.toString(16)}`);
  assert.equal(outcome.response.transit, false);
}

test('one request is enough where nothing has to be proved', () => {
  const outcome = machine().step(request([...NAMES, ...USUAL_KEYS]));
  assert.equal(outcome.kind, 'admit');
  const { grant, response } = outcome;
  assert.deepEqual(
    [grant.kind, grant.initiatorName, grant.targetName, grant.cmdSn, grant.statSn],
    ['normal', INITIATOR, 'iqn.2026-11.test:open', 10, 6],
  );
  assert.deepEqual([response.statSn, response.expCmdSn, response.maxCmdSn], [5, 10, 265]);
  assert.equal(keys(outcome).get('TargetPortalGroupTag'), '1');
  assert.equal(keys(outcome).get('MaxRecvDataSegmentLength'), '1048576');
  assert.equal(keys(outcome).has('TargetAddress'), false, 'iPXE would follow it');
  assert.equal(grant.negotiated.initialR2t, false);
  assert.equal(grant.firmware, false);
});

test('iPXE logs in: security stage, then its fixed offer, and is known by it', () => {
  const m = machine();
  const first = m.step(request([...NAMES, ['AuthMethod', 'None']], SECURITY));
  assert.equal(first.kind, 'reply');
  assert.equal(keys(first).get('AuthMethod'), 'None');
  assert.deepEqual([first.response.transit, first.response.nextStage], [true, Stage.OPERATIONAL]);
  const second = m.step(request(IPXE_KEYS));
  assert.equal(second.kind, 'admit');
  assert.equal(second.grant.firmware, true);
  assert.equal(second.grant.negotiated.timeToWaitS, 0);
});

test('a discovery session needs no target name', () => {
  const outcome = machine().step(
    request([
      ['InitiatorName', INITIATOR],
      ['SessionType', 'Discovery'],
      ['MaxBurstLength', '4096'],
    ]),
  );
  assert.equal(outcome.kind, 'admit');
  assert.equal(outcome.grant.kind, 'discovery');
  assert.equal(keys(outcome).get('MaxBurstLength'), 'Irrelevant');
  assert.equal(keys(outcome).has('TargetPortalGroupTag'), false);
});

test('security to full feature in one step', () => {
  const outcome = machine().step(
    request([...NAMES, ['AuthMethod', 'None']], { ...SECURITY, nextStage: Stage.FULL_FEATURE }),
  );
  assert.equal(outcome.kind, 'admit');
  assert.equal(outcome.grant.negotiated.initiatorSegmentBytes, 8192);
});

test('each refusal has its status class and detail', () => {
  const cases: [status: number, text: readonly KeyValue[], more?: Partial<LoginRequest>][] = [
    [LoginStatus.MISSING_PARAMETER, [['SessionType', 'Normal']]],
    [LoginStatus.MISSING_PARAMETER, [['InitiatorName', INITIATOR]]],
    [LoginStatus.NOT_FOUND, [NAMES[0]!, ['TargetName', 'iqn.2026-11.test:none']]],
    [LoginStatus.AUTHORIZATION_FAILURE, [NAMES[0]!, ['TargetName', 'iqn.2026-11.test:private']]],
    [LoginStatus.SESSION_TYPE_NOT_SUPPORTED, [NAMES[0]!, ['SessionType', 'Strange']]],
    [LoginStatus.UNSUPPORTED_VERSION, NAMES, { versionMin: 1, versionMax: 2 }],
    [LoginStatus.SESSION_DOES_NOT_EXIST, NAMES, { tsih: 3 }],
    [LoginStatus.TOO_MANY_CONNECTIONS, NAMES, { tsih: 7 }],
    [LoginStatus.INVALID_DURING_LOGIN, NAMES, { currentStage: Stage.FULL_FEATURE }],
    [LoginStatus.INVALID_DURING_LOGIN, NAMES, { currentStage: 2 }],
    [LoginStatus.INITIATOR_ERROR, NAMES, { nextStage: Stage.SECURITY }],
    [LoginStatus.INITIATOR_ERROR, NAMES, { nextStage: 2 }],
    [LoginStatus.INITIATOR_ERROR, NAMES, { more: true }],
    [LoginStatus.AUTHENTICATION_FAILURE, CHAP_NAMES],
    [LoginStatus.AUTHENTICATION_FAILURE, [...CHAP_NAMES, ['AuthMethod', 'None']], SECURITY],
    [LoginStatus.AUTHENTICATION_FAILURE, [...NAMES, ['AuthMethod', 'CHAP']], SECURITY],
    [LoginStatus.AUTHENTICATION_FAILURE, CHAP_NAMES, SECURITY],
  ];
  for (const [status, text, more] of cases) refused(machine().step(request(text, more)), status);
});

test('hostile case 22: duplicate keys are an error, the repeated names of libiscsi are not', () => {
  refused(
    machine().step(request([...NAMES, ['InitialR2T', 'No'], ['InitialR2T', 'No']])),
    LoginStatus.INITIATOR_ERROR,
  );
  const m = machine();
  assert.equal(m.step(request([...NAMES, ['AuthMethod', 'None']], SECURITY)).kind, 'reply');
  assert.equal(m.step(request([...NAMES, ...USUAL_KEYS])).kind, 'admit');
  const other = machine();
  other.step(request([...NAMES, ['AuthMethod', 'None']], SECURITY));
  refused(
    other.step(request([['TargetName', 'iqn.2026-11.test:chap']])),
    LoginStatus.INITIATOR_ERROR,
  );
});

test('hostile case 22: identifiers and stages may not change on the way', () => {
  const changes: Partial<LoginRequest>[] = [
    { isid: '800000000002' },
    { tsih: 9 },
    { cid: 1 },
    { initiatorTaskTag: 2 },
  ];
  for (const change of changes) {
    const m = machine();
    m.step(request([...NAMES, ['AuthMethod', 'None']], SECURITY));
    refused(m.step(request([], change)), LoginStatus.INITIATOR_ERROR);
  }
  const back = machine();
  back.step(request([...NAMES, ['AuthMethod', 'None']], SECURITY));
  refused(back.step(request([], SECURITY)), LoginStatus.INVALID_DURING_LOGIN);
});

test('hostile case 22: text split over PDUs, text without an end, too many rounds', () => {
  const whole = encodeText([...NAMES, ...USUAL_KEYS]);
  for (let cut = 1; cut < whole.length; cut += 7) {
    const m = machine();
    const half = m.step(request([], { data: whole.slice(0, cut), more: true, transit: false }));
    assert.equal(half.kind, 'reply');
    assert.deepEqual([half.response.transit, half.response.data.length], [false, 0]);
    assert.equal(m.step(request([], { data: whole.slice(cut) })).kind, 'admit');
  }
  const endless = request([], { data: Buffer.from('InitiatorName=x') });
  refused(machine().step(endless), LoginStatus.INITIATOR_ERROR);
  const m = machine();
  for (let n = 0; n < LOGIN_ROUNDS_MAX; n++) {
    assert.equal(m.step(request(n === 0 ? NAMES : [], { transit: false })).kind, 'reply');
  }
  refused(m.step(request([], { transit: false })), LoginStatus.INITIATOR_ERROR);
});

test('hostile case 22: 64 KiB of text ends the login, 100 unknown keys do not', () => {
  const m = machine();
  const piece = request([], { data: new Uint8Array(8192).fill(65), more: true, transit: false });
  for (let n = 0; n < 8; n++) assert.equal(m.step(piece).kind, 'reply');
  refused(m.step(piece), LoginStatus.INITIATOR_ERROR);
  const unknown = Array.from({ length: 100 }, (_, i): KeyValue => [
    `X-org.example.${'k'.repeat(40)}${i}`,
    '1',
  ]);
  const n = machine();
  let outcome = n.step(request([...NAMES, ...unknown]));
  const parts = [Buffer.from(outcome.response.data)];
  assert.ok(!outcome.response.more || outcome.response.data.length === 8192);
  while (outcome.response.more) {
    outcome = n.step(request([]));
    parts.push(Buffer.from(outcome.response.data));
  }
  assert.equal(outcome.kind, 'admit');
  const replies = decodeText(Buffer.concat(parts)).filter(([, v]) => v === 'NotUnderstood');
  assert.equal(replies.length, 100);
});

test('hostile case 24: names are compared in canonical form, or refused', () => {
  const upper: readonly KeyValue[] = [
    ['InitiatorName', 'IQN.2026-11.TEST:SomeBody'],
    ['TargetName', 'iqn.2026-11.test:PRIVATE'],
  ];
  assert.equal(machine().step(request(upper)).kind, 'admit');
  for (const bad of ['iqn.x:\u0001', 'iqn.a b', `iqn.${'x'.repeat(220)}`, 'eui.123', 'host', '']) {
    const outcome = machine().step(request([['InitiatorName', bad], NAMES[1]!]));
    refused(outcome, LoginStatus.INITIATOR_ERROR);
    refused(machine().step(request([NAMES[0]!, ['TargetName', bad]])), LoginStatus.NOT_FOUND);
  }
});

test('redirection always names the port, since iPXE garbles the default one', () => {
  const moved = machine().step(request([NAMES[0]!, ['TargetName', 'iqn.2026-11.test:moved']]));
  refused(moved, LoginStatus.MOVED_TEMPORARILY);
  assert.equal(keys(moved).get('TargetAddress'), '10.0.0.2:3260,1');
  const moved6 = machine().step(request([NAMES[0]!, ['TargetName', 'iqn.2026-11.test:moved6']]));
  refused(moved6, LoginStatus.MOVED_PERMANENTLY);
  assert.equal(keys(moved6).get('TargetAddress'), '[fd00::2]:3261,1');
});

function chapLogin(
  m: Tested,
  methods: string,
  secret: string,
  mutual: Uint8Array | null = null,
): Answered {
  const first = m.step(request([...CHAP_NAMES, ['AuthMethod', methods]], SECURITY));
  assert.equal(first.kind, 'reply');
  assert.deepEqual([keys(first).get('AuthMethod'), first.response.transit], ['CHAP', false]);
  const second = m.step(request([['CHAP_A', '5']], { ...SECURITY, transit: false }));
  const challenge = parseBinary(keys(second).get('CHAP_C') ?? '', 1024);
  assert.ok(challenge);
  const answer = chapResponse('md5', Number(keys(second).get('CHAP_I')), secret, challenge);
  const text: KeyValue[] = [
    ['CHAP_N', 'machine'],
    ['CHAP_R', formatBinary(answer)],
  ];
  if (mutual !== null) text.push(['CHAP_I', '9'], ['CHAP_C', formatBinary(mutual)]);
  return m.step(request(text, SECURITY));
}

test('CHAP: right, wrong and mutual; None is never chosen where CHAP is required', () => {
  const m = machine();
  const right = chapLogin(m, 'CHAP,None', CHAP.secret);
  assert.deepEqual([right.kind, right.response.transit], ['reply', true]);
  const admitted = m.step(request(USUAL_KEYS));
  assert.equal(admitted.kind, 'admit');
  assert.equal(admitted.grant.authenticated, true);
  refused(chapLogin(machine(), 'None,CHAP', 'wrong'), LoginStatus.AUTHENTICATION_FAILURE);
  const challenge = randomBytes(16);
  const mutual = chapLogin(machine(), 'CHAP', CHAP.secret, challenge);
  const proof = chapResponse('md5', 9, CHAP.mutualSecret ?? '', challenge);
  assert.equal(keys(mutual).get('CHAP_R'), formatBinary(proof));
  assert.equal(keys(mutual).get('CHAP_N'), 'server');
});

test('hostile case 23: CHAP cannot be walked around', () => {
  const skip = machine();
  skip.step(request([...CHAP_NAMES, ['AuthMethod', 'CHAP']], SECURITY));
  const stay = skip.step(request([], SECURITY));
  assert.deepEqual([stay.kind, stay.response.transit], ['reply', false]);
  refused(skip.step(request(USUAL_KEYS)), LoginStatus.INVALID_DURING_LOGIN);
  const early = machine().step(request([...CHAP_NAMES, ['CHAP_A', '5']], SECURITY));
  assert.equal(early.kind, 'refuse');
  const late = machine().step(request([...NAMES, ['CHAP_A', '5']]));
  refused(late, LoginStatus.INITIATOR_ERROR);
});

test('10^5 mutated logins end in an outcome, never in an exception', () => {
  const seeds = [
    request([...NAMES, ...USUAL_KEYS]),
    request([...CHAP_NAMES, ['AuthMethod', 'CHAP,None']], SECURITY),
    request([['CHAP_A', '5,7']], SECURITY),
    request(
      [
        ['CHAP_N', 'machine'],
        ['CHAP_R', '0x00'],
      ],
      SECURITY,
    ),
  ];
  let x = 7143;
  const random = (below: number): number => {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    return Math.floor((x / 2 ** 32) * below);
  };
  const tally = { reply: 0, refuse: 0, admit: 0 };
  for (let i = 0; i < 33_334; i++) {
    const m = machine();
    for (let step = 0; step < 3; step++) {
      const seed = seeds[random(seeds.length)]!;
      const data = Uint8Array.from(seed.data);
      if (random(2) === 0) data[random(data.length)] = random(256);
      const outcome = m.step({
        ...seed,
        data,
        transit: random(4) > 0,
        more: random(8) === 0,
        ...(random(8) === 0 ? { currentStage: random(4), nextStage: random(4) } : {}),
      });
      tally[outcome.kind] += 1;
      if (outcome.kind !== 'reply') break;
    }
  }
  for (const count of Object.values(tally)) assert.ok(count > 1000, JSON.stringify(tally));
});
