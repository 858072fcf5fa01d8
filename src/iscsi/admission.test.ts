import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Admission, type Guest } from './admission.ts';
import {
  CONNECTIONS_MAX,
  DISCOVERY_MAX,
  DISCOVERY_PER_ADDRESS_MAX,
  HALF_OPEN_MAX,
  HALF_OPEN_PER_ADDRESS_MAX,
} from './limits.ts';

type TestGuest = Guest & { readonly evictions: string[] };

function guest(address: string): TestGuest {
  const evictions: string[] = [];
  const evict = (reason: string): void => void evictions.push(reason);
  return { peer: { address, port: 1 }, evictions, evict };
}

/** `count` sockets of one address, all taken. */
function fill(admission: Admission<TestGuest>, address: string, count: number): TestGuest[] {
  return Array.from({ length: count }, () => {
    assert.equal(admission.refusalFor(address), null);
    const g = guest(address);
    admission.entered(g);
    return g;
  });
}

test('unfinished logins of one address are bounded, and leave room for another', () => {
  const admission = new Admission<TestGuest>();
  const [first] = fill(admission, 'a', HALF_OPEN_PER_ADDRESS_MAX);
  assert.match(admission.refusalFor('a') ?? '', /from one address/);
  assert.equal(admission.refusalFor('b'), null);
  assert.ok(first);
  admission.left(first);
  assert.equal(admission.refusalFor('a'), null);
});

test('when all places are taken, the oldest of the greediest address makes room', () => {
  const admission = new Admission<TestGuest>();
  const addresses = HALF_OPEN_MAX / HALF_OPEN_PER_ADDRESS_MAX;
  const floods = Array.from({ length: addresses - 1 }, (_, n) =>
    fill(admission, `flood ${n}`, HALF_OPEN_PER_ADDRESS_MAX - 1),
  );
  const greedy = fill(admission, 'greedy', HALF_OPEN_PER_ADDRESS_MAX);
  fill(admission, 'rest', HALF_OPEN_MAX - admission.waiting);
  fill(admission, 'machine', 1);
  assert.equal(greedy[0]?.evictions.length, 1);
  assert.ok(floods.flat().every((g) => g.evictions.length === 0));
  assert.equal(admission.waiting, HALF_OPEN_MAX);
});

test('where all addresses have the same, the oldest of all makes room', () => {
  const admission = new Admission<TestGuest>();
  const all = Array.from({ length: HALF_OPEN_MAX }, (_, n) => fill(admission, `host ${n}`, 1)[0]);
  fill(admission, 'machine', 1);
  assert.deepEqual([all[0]?.evictions.length, all[1]?.evictions.length], [1, 0]);
  assert.equal(admission.waiting, HALF_OPEN_MAX);
});

test('a session is no unfinished login, and is one again while its closed socket lingers', () => {
  const admission = new Admission<TestGuest>();
  const guests = fill(admission, 'a', HALF_OPEN_PER_ADDRESS_MAX);
  for (const g of guests) admission.loggedIn(g, 'normal');
  assert.equal(admission.waiting, 0);
  for (const g of guests) admission.loggedOut(g, 'normal');
  assert.match(admission.refusalFor('a') ?? '', /from one address/);
  for (const g of guests) admission.left(g);
  assert.equal(admission.waiting, 0);
});

test('sessions are bounded in all', () => {
  const admission = new Admission<TestGuest>();
  const guests = Array.from({ length: CONNECTIONS_MAX }, (_, n) => {
    const [g] = fill(admission, `host ${n}`, 1);
    assert.ok(g);
    admission.loggedIn(g, 'normal');
    return g;
  });
  assert.equal(admission.refusalFor('x'), 'too many connections');
  const [last] = guests;
  assert.ok(last);
  admission.loggedOut(last, 'normal');
  assert.equal(admission.refusalFor('x'), null);
});

test('discovery sessions are bounded for an address, and the oldest of all makes room', () => {
  const admission = new Admission<TestGuest>();
  const all: TestGuest[] = [];
  for (let host = 0; host < DISCOVERY_MAX / DISCOVERY_PER_ADDRESS_MAX; host++) {
    for (const g of fill(admission, `host ${host}`, DISCOVERY_PER_ADDRESS_MAX)) {
      assert.equal(admission.discoveryRefusalFor(g), null);
      admission.loggedIn(g, 'discovery');
      all.push(g);
    }
  }
  const [again] = fill(admission, 'host 0', 1);
  assert.ok(again);
  assert.match(admission.discoveryRefusalFor(again) ?? '', /discovery sessions from one/);
  const [other] = fill(admission, 'other', 1);
  assert.ok(other);
  assert.equal(admission.discoveryRefusalFor(other), null);
  assert.equal(all[0]?.evictions.length, 1);
});
