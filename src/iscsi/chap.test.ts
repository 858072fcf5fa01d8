import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { ChapExchange, chapFault, chapResponse } from './chap.ts';
import type { ChapStep } from './chap.ts';
import type { ChapCredentials } from './policy.ts';
import { formatBinary, parseBinary } from './text.ts';

const CREDENTIALS: ChapCredentials = {
  user: 'machine',
  secret: 'a secret of 20 chars',
  mutualUser: 'server',
  mutualSecret: 'another secret here',
};
const HASHES: readonly (readonly [string, string])[] = [
  ['5', 'md5'],
  ['6', 'sha1'],
  ['7', 'sha256'],
  ['8', 'sha3-256'],
];

function keysOf(step: ChapStep): Map<string, string> {
  assert.notEqual(step.kind, 'failed', 'reason' in step ? step.reason : '');
  return new Map('reply' in step ? step.reply : []);
}

function challengeOf(
  exchange: ChapExchange,
  algorithm = '5',
): { id: number; challenge: Uint8Array; algorithm: string } {
  const keys = keysOf(exchange.step(new Map([['CHAP_A', algorithm]])));
  const challenge = parseBinary(keys.get('CHAP_C') ?? '', 1024);
  assert.ok(challenge);
  return { id: Number(keys.get('CHAP_I')), challenge, algorithm: keys.get('CHAP_A') ?? '' };
}

function answer(id: number, challenge: Uint8Array, hash = 'md5'): Map<string, string> {
  const response = chapResponse(hash, id, CREDENTIALS.secret, challenge);
  return new Map([
    ['CHAP_N', 'machine'],
    ['CHAP_R', formatBinary(response)],
  ]);
}

for (const [number, hash] of HASHES) {
  test(`the right secret is accepted with ${hash}, one way and mutual`, () => {
    for (const mutual of [false, true]) {
      const exchange = new ChapExchange(CREDENTIALS, randomBytes);
      const { id, challenge, algorithm } = challengeOf(exchange, `99,${number}`);
      assert.equal(algorithm, number);
      const keys = answer(id, challenge, hash);
      const ours = randomBytes(16);
      if (mutual) {
        keys.set('CHAP_I', '7');
        keys.set('CHAP_C', formatBinary(ours));
      }
      const step = exchange.step(keys);
      assert.equal(step.kind, 'done');
      const reply = keysOf(step);
      assert.equal(reply.get('CHAP_N'), mutual ? 'server' : undefined);
      const proof = chapResponse(hash, 7, CREDENTIALS.mutualSecret ?? '', ours);
      assert.equal(reply.get('CHAP_R'), mutual ? formatBinary(proof) : undefined);
    }
  });
}

test('hostile case 23: what is wrong is refused, and a failed exchange stays failed', () => {
  const cases: Record<string, (keys: Map<string, string>, challenge: Uint8Array) => void> = {
    'the CHAP user name is wrong': (k) => k.set('CHAP_N', 'machinf'),
    'the CHAP secret is wrong': (k) => k.set('CHAP_R', formatBinary(new Uint8Array(16))),
    'the CHAP response has a wrong length': (k) =>
      k.set('CHAP_R', formatBinary(new Uint8Array(15))),
    'our own challenge came back': (k, c) => {
      k.set('CHAP_I', '1');
      k.set('CHAP_C', formatBinary(c));
    },
    'the challenge of the initiator is malformed': (k) => k.set('CHAP_I', '256'),
  };
  for (const [reason, spoil] of Object.entries(cases)) {
    const exchange = new ChapExchange(CREDENTIALS, randomBytes);
    const { id, challenge } = challengeOf(exchange);
    const keys = answer(id, challenge);
    spoil(keys, challenge);
    assert.deepEqual(exchange.step(keys), { kind: 'failed', reason });
    assert.equal(exchange.step(answer(id, challenge)).kind, 'failed', 'no second try');
  }
});

test('hostile case 23: a recorded answer is worth nothing in another exchange', () => {
  const first = challengeOf(new ChapExchange(CREDENTIALS, randomBytes));
  const recorded = answer(first.id, first.challenge);
  const second = new ChapExchange(CREDENTIALS, randomBytes);
  const again = challengeOf(second);
  assert.notDeepEqual(again.challenge, first.challenge);
  assert.equal(second.step(recorded).kind, 'failed');
});

test('hostile case 23: no common algorithm, and an answer before the question', () => {
  for (const keys of [
    new Map([['CHAP_A', '4,9']]),
    new Map([['CHAP_R', '0x00']]),
    new Map([['CHAP_N', 'machine']]),
  ]) {
    assert.equal(new ChapExchange(CREDENTIALS, randomBytes).step(keys).kind, 'failed');
  }
});

test('hostile case 23: mutual CHAP is refused when no mutual secret is set', () => {
  const { user, secret } = CREDENTIALS;
  const exchange = new ChapExchange({ user, secret }, randomBytes);
  const { id, challenge } = challengeOf(exchange);
  const keys = answer(id, challenge).set('CHAP_I', '1').set('CHAP_C', '0x0102');
  assert.equal(exchange.step(keys).kind, 'failed');
});

test('hostile case 23: equal secrets in both directions are refused', () => {
  assert.equal(chapFault(CREDENTIALS), null);
  assert.match(chapFault({ ...CREDENTIALS, mutualSecret: CREDENTIALS.secret }) ?? '', /differ/);
  assert.match(chapFault({ user: 'u', secret: '' }) ?? '', /secret/);
  assert.match(chapFault({ user: 'u', secret: 's', mutualUser: 'v' }) ?? '', /mutual/);
});
