import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { Applicant } from './lease.ts';
import { LeaseTable } from './leases.ts';
import { ABANDON_MS, DECLINES_PER_CLIENT, OFFER_MS } from './offers.ts';
import { AddressPool } from './pool.ts';

function table(size: number, reserved: readonly number[] = []): LeaseTable {
  const pool = new AddressPool([{ first: 100, last: 99 + size }]);
  return new LeaseTable(pool, (a) => reserved.includes(a));
}

function who(client: string, over: Partial<Applicant> = {}): Applicant {
  return { client, mac: client, hostName: undefined, known: false, fixed: undefined, ...over };
}

/** Offers and leases at once; the address, or the refusal. */
function take(t: LeaseTable, client: string, nowMs: number, seconds = 60): number | string {
  const address = t.offer(who(client), undefined, nowMs);
  if (typeof address === 'number') t.confirm(t.begin(who(client), address, seconds, nowMs));
  return address;
}

test('a client keeps its address: while offered, leased, expired and released', () => {
  const t = table(50);
  const first = t.offer(who('a'), undefined, 0);
  assert.equal(t.offer(who('a'), undefined, 10), first);
  assert.equal(take(t, 'a', 20), first);
  assert.notEqual(take(t, 'b', 20), first);
  assert.equal(t.standing(who('a'), Number(first), 30), 'leased');
  assert.equal(t.standing(who('a'), Number(first), 200_000), 'former');
  assert.equal(take(t, 'a', 200_000), first);
  assert.ok(t.release('a', Number(first)));
  assert.equal(t.release('a', Number(first)), undefined);
  assert.equal(take(t, 'c', 200_001) === first, false);
  assert.equal(take(t, 'a', 200_002), first);
});

test('short leases end on time beside long ones from before the configuration changed', () => {
  const t = table(3);
  const long = { address: 100, client: 'old', mac: 'old', hostName: undefined, seconds: 43_200 };
  t.restore({ ...long, expiresMs: 40_000_000 }, 0);
  assert.deepEqual([take(t, 'a', 0, 60), take(t, 'b', 1000, 60)], [101, 102]);
  assert.equal(take(t, 'c', 2000, 60), 'no-free-address');
  assert.equal(take(t, 'c', 60_000, 60), 101);
  assert.deepEqual([t.counts().active, t.counts().reusable], [3, 0]);
  assert.equal(t.standing(who('old'), 100, 60_000), 'leased');
});

test('an offer lapses after ten seconds, one that is being committed does not', () => {
  const t = table(8);
  t.offer(who('a'), 103, 0);
  t.sweep(OFFER_MS);
  assert.equal(t.counts().offered, 0);
  assert.equal(t.offer(who('a'), 103, OFFER_MS), 103);
  const lease = t.begin(who('a'), 103, 60, OFFER_MS);
  t.sweep(10 * OFFER_MS);
  assert.equal(t.standing(who('b'), 103, 10 * OFFER_MS), 'taken');
  t.abort(lease, 10 * OFFER_MS);
  assert.equal(t.standing(who('a'), 103, 10 * OFFER_MS), 'offered');
  t.sweep(11 * OFFER_MS + 1);
  assert.equal(t.standing(who('b'), 103, 11 * OFFER_MS + 1), 'free');
});

test('the longest unused address is given first when no fresh one is left', () => {
  const t = table(3);
  assert.deepEqual(
    ['a', 'b', 'c'].map((c, n) => take(t, c, n, 10)),
    [100, 101, 102],
  );
  assert.equal(take(t, 'd', 5000), 'no-free-address');
  assert.equal(take(t, 'd', 20_000), 100);
  assert.equal(take(t, 'a', 20_001), 101);
  assert.equal(take(t, 'c', 20_002), 102, 'its own');
});

test('a fixed address is served outside the pool, kept from others, and given at once', () => {
  const t = table(4, [101, 500]);
  const fixed = who('f', { known: true, fixed: 500 });
  assert.equal(t.offer(fixed, undefined, 0), 500);
  const others = ['a', 'b', 'c', 'd'].map((c) => take(t, c, 0));
  assert.deepEqual(others, [100, 102, 103, 'no-free-address']);
  assert.equal(t.standing(who('a'), 101, 0), 'taken');
  // Laid down while another still holds it: that one keeps its lease, ours waits elsewhere.
  const late = table(4);
  take(late, 'a', 0);
  const owner = who('o', { known: true, fixed: 100 });
  assert.equal(late.offer(owner, undefined, 1), 101);
  late.release('a', 100);
  assert.equal(late.offer(owner, undefined, 2), 100);
});

test('adversary 4: strangers cannot starve known machines', () => {
  const t = table(64);
  let offered = 0;
  for (let n = 0; n < 1000; n++) {
    if (typeof t.offer(who(`x${n}`), undefined, 0) === 'number') offered += 1;
  }
  assert.equal(offered, 56);
  assert.equal(typeof t.offer(who('k', { known: true }), undefined, 0), 'number');
  let asked = 0;
  const empty = table(64);
  empty.offer(who('s'), undefined, 0, () => {
    asked += 1;
    return false;
  });
  assert.equal(
    empty.offer(who('k', { known: true }), undefined, 0, () => false),
    100,
  );
  assert.equal(asked, 1);
});

test('adversary 4: offers are capped in a large pool', () => {
  const t = table(10_000);
  const results = Array.from({ length: 5000 }, (_, n) => t.offer(who(`x${n}`), undefined, 0));
  assert.equal(results.filter((r) => r === 'too-many-offers').length, 2500);
  assert.equal(t.counts().offered, 2500);
  assert.equal(typeof t.offer(who('again'), undefined, OFFER_MS + 1), 'number');
  assert.equal(t.counts().offered, 1);
});

test('adversary 6: DECLINE abandons the address for an hour, a storm of one client is capped', () => {
  const t = table(100);
  const seen = new Set<number>();
  for (let n = 0; n < DECLINES_PER_CLIENT; n++) {
    const address = Number(take(t, 'a', n));
    assert.ok(!seen.has(address));
    seen.add(address);
    assert.equal(t.decline(who('a'), address, n), 'abandoned');
  }
  const next = Number(take(t, 'a', 10));
  assert.equal(t.decline(who('a'), next, 10), 'limit');
  assert.equal(t.counts().abandoned, DECLINES_PER_CLIENT);
  assert.equal(t.decline(who('b'), next, 10), undefined, 'not its own');
  t.sweep(ABANDON_MS + 10);
  assert.equal(t.counts().abandoned, 0);
});

test('adversary 6: a conflict found ahead of time takes the address out of turn', () => {
  const t = table(10);
  assert.equal(t.upcoming()[0], 100);
  assert.equal(t.conflict(100, 0), true);
  assert.equal(take(t, 'a', 0), 101);
  assert.equal(t.conflict(101, 0), false, 'its user is our own client');
});

test('adversary 9: an address lost to another boot server is not offered again', () => {
  const t = table(10);
  t.offer(who('a'), undefined, 0);
  t.lost(t.begin(who('a'), 100, 60, 0), 0);
  assert.equal(t.offer(who('a'), undefined, 0), 101);
});

test('a client that moved leaves nothing behind', () => {
  const t = table(10);
  take(t, 'a', 0);
  const moved = who('a', { known: true, fixed: 105 });
  t.confirm(t.begin(moved, 105, 60, 1));
  assert.deepEqual(
    [...t.leases()].map((l) => l.address),
    [105],
  );
  assert.equal(t.standing(who('b'), 100, 2), 'free');
});

test('restored leases hold, expired ones are remembered', () => {
  const t = table(10);
  const base = { mac: '', hostName: undefined, seconds: 60 };
  t.restore({ ...base, address: 103, client: 'old', expiresMs: -5 }, 0);
  t.restore({ ...base, address: 104, client: 'live', expiresMs: 5000 }, 0);
  t.restoreAbandoned(100, 9000);
  assert.equal(t.offer(who('old'), undefined, 1), 103);
  assert.equal(t.standing(who('x'), 104, 1), 'taken');
  assert.equal(t.offer(who('x'), undefined, 1), 101);
});

test('no address is ever held by two clients, and the counters agree', () => {
  const step = fc.record({
    client: fc.integer({ min: 0, max: 11 }),
    act: fc.constantFrom('offer', 'commit', 'abort', 'release', 'decline', 'conflict', 'wait'),
    by: fc.integer({ min: 1, max: 30_000 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
      const t = table(7, [102]);
      const leased = new Map<number, { client: string; untilMs: number }>();
      const held = new Map<string, number>();
      let nowMs = 0;
      for (const { client, act, by } of steps) {
        const name = `c${client}`;
        const one = who(name, { known: client === 0, fixed: client === 0 ? 102 : undefined });
        const mine = held.get(name);
        if (act === 'wait') nowMs += by;
        if (act === 'offer' || act === 'commit' || act === 'abort') {
          const address = t.offer(one, undefined, nowMs);
          if (typeof address !== 'number' || act === 'offer') continue;
          const holder = leased.get(address);
          const busy = holder !== undefined && holder.untilMs > nowMs && holder.client !== name;
          assert.ok(!busy, `${address} given to ${name}, held by ${holder?.client}`);
          assert.ok(client === 0 || address !== 102, 'a reserved address given to a stranger');
          const lease = t.begin(one, address, 20, nowMs);
          if (act === 'abort') t.abort(lease, nowMs);
          else {
            t.confirm(lease);
            if (mine !== undefined) leased.delete(mine);
            leased.set(address, { client: name, untilMs: nowMs + 20_000 });
            held.set(name, address);
          }
        } else if (mine !== undefined && act === 'release') {
          if (t.release(name, mine) !== undefined) leased.delete(mine);
        } else if (mine !== undefined && act === 'decline') {
          if (t.decline(one, mine, nowMs) !== undefined) leased.delete(mine);
        } else if (act === 'conflict') t.conflict(100 + (by % 7), nowMs);
        const c = t.counts();
        assert.ok(c.active + c.reusable + c.abandoned <= 7 + 1);
      }
    }),
    { numRuns: 500, seed: 7 },
  );
});

test('the pool: ranges in turn, without the excluded', () => {
  const ranges = [
    { first: 10, last: 12 },
    { first: 20, last: 20 },
  ];
  const pool = new AddressPool(ranges, new Set([11, 99]));
  assert.equal(pool.size, 3);
  assert.deepEqual(
    Array.from({ length: 5 }, () => pool.next()),
    [10, 12, 20, 10, 12],
  );
  assert.equal(pool.has(11), false);
  assert.equal(new AddressPool([]).next(), undefined);
  assert.equal(new AddressPool([{ first: 5, last: 5 }], new Set([5])).next(), undefined);
});
