import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { Nexus } from './command.ts';
import { NO_KEY, REGISTRATIONS_MAX, Reservations } from './reservation.ts';
import { ScsiError, Sense } from './sense.ts';

const nexus = (i: number): Nexus => ({
  initiatorPort: `iqn.x:${i},i,0x1`,
  initiatorName: `iqn.x:${i}`,
  targetPort: 1,
});
const NEXUSES = [nexus(0), nexus(1), nexus(2)];
const KEYS = ['00000000000000a0', '00000000000000b0', '00000000000000c0'];
const TYPES = [1, 3, 5, 6, 7, 8];
const plain = { ignoreKey: false, keep: false };

/** Registers the first `count` nexuses, each with its own key. */
function registered(count: number): Reservations {
  const r = new Reservations();
  for (let i = 0; i < count; i++) r.register(at(NEXUSES, i), NO_KEY, at(KEYS, i), plain);
  return r;
}

function at<T>(list: readonly T[], index: number): T {
  const value = list[index];
  assert.ok(value !== undefined);
  return value;
}

test('reservation_access: the table of SPC-4 §5.13.1 for holder, registrant and stranger', () => {
  // Of [holder, registrant, stranger]: may write, may read.
  const expected: Readonly<Record<number, [string, string]>> = {
    1: ['+--', '+++'],
    3: ['+--', '+--'],
    5: ['++-', '+++'],
    6: ['++-', '++-'],
    7: ['++-', '+++'],
    8: ['++-', '++-'],
  };
  for (const type of TYPES) {
    const r = registered(2);
    r.reserve(at(NEXUSES, 0), at(KEYS, 0), type);
    const may = (rule: 'write' | 'read'): string =>
      NEXUSES.map((n) => (r.conflicts(n, rule) ? '-' : '+')).join('');
    assert.deepEqual([may('write'), may('read')], expected[type], `type ${type}`);
    for (const n of NEXUSES) assert.equal(r.conflicts(n, 'allowed'), false);
  }
});

test('reservation_release: tells registrants of shared types, and only those', () => {
  for (const type of TYPES) {
    const r = registered(2);
    r.reserve(at(NEXUSES, 0), at(KEYS, 0), type);
    const events = r.release(at(NEXUSES, 0), at(KEYS, 0), type);
    assert.equal(events.length, type >= 5 ? 1 : 0);
    assert.equal(r.idle, true);
  }
});

test('reservation_unregister: the holder releases by leaving; of all registrants the last one', () => {
  for (const type of TYPES) {
    const r = registered(2);
    r.reserve(at(NEXUSES, 0), at(KEYS, 0), type);
    r.register(at(NEXUSES, 0), at(KEYS, 0), NO_KEY, plain);
    assert.equal(r.idle, type < 7);
    if (type < 7) continue;
    r.register(at(NEXUSES, 1), at(KEYS, 1), NO_KEY, plain);
    assert.equal(r.idle, true);
  }
});

test('reservation_preempt: takes the reservation, or only registrations', () => {
  const r = registered(3);
  r.reserve(at(NEXUSES, 0), at(KEYS, 0), 1);
  const others = r.preempt(at(NEXUSES, 1), at(KEYS, 1), at(KEYS, 2), 1);
  assert.deepEqual(
    others.map((e) => e.attention),
    [Sense.REGISTRATIONS_PREEMPTED],
  );
  assert.equal(r.holderKey, at(KEYS, 0));
  r.preempt(at(NEXUSES, 1), at(KEYS, 1), at(KEYS, 0), 3);
  assert.equal(r.holderKey, at(KEYS, 1));
  assert.equal(r.type, 3);
  assert.equal(r.registrations.length, 1);
  assert.throws(() => r.preempt(at(NEXUSES, 1), at(KEYS, 1), NO_KEY, 3), ScsiError);
});

test('reservation_preempt_all-registrants: key zero takes over from everybody', () => {
  const r = registered(3);
  r.reserve(at(NEXUSES, 0), at(KEYS, 0), 7);
  const events = r.preempt(at(NEXUSES, 2), at(KEYS, 2), NO_KEY, 3);
  assert.equal(events.length, 2);
  assert.equal(r.registrations.length, 1);
  assert.equal(r.holderKey, at(KEYS, 2));
});

test('reservation_limit: registrations are bounded', () => {
  const r = new Reservations();
  for (let i = 0; i < REGISTRATIONS_MAX; i++) r.register(nexus(i), NO_KEY, at(KEYS, 0), plain);
  assert.throws(() => r.register(nexus(REGISTRATIONS_MAX), NO_KEY, at(KEYS, 0), plain), ScsiError);
});

test('reservation_any-order: whatever is asked, in any order, the state stays sound', () => {
  const step = fc.record({
    who: fc.nat(2),
    action: fc.constantFrom(
      'register',
      'ignore',
      'reserve',
      'release',
      'clear',
      'preempt',
      'legacy',
    ),
    key: fc.nat(2),
    other: fc.nat(3),
    type: fc.integer({ min: 0, max: 9 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const r = new Reservations();
      for (const s of steps) {
        const who = at(NEXUSES, s.who);
        const key = at(KEYS, s.key);
        const other = at([...KEYS, NO_KEY], s.other);
        // What the unit asks before it runs a command.
        if (s.action !== 'legacy' && r.conflicts(who, 'own')) continue;
        try {
          if (s.action === 'register') r.register(who, s.type > 5 ? NO_KEY : key, other, plain);
          if (s.action === 'ignore') r.register(who, key, other, { ignoreKey: true, keep: false });
          if (s.action === 'reserve') r.reserve(who, key, s.type);
          if (s.action === 'release') r.release(who, key, s.type);
          if (s.action === 'clear') r.clear(who, key);
          if (s.action === 'preempt') r.preempt(who, key, other, s.type);
          if (s.action === 'legacy') {
            if (s.type > 5) r.releaseLegacy(who);
            else r.reserveLegacy(who);
          }
        } catch (e) {
          assert.ok(e instanceof ScsiError);
        }
        const holders = r.registrations.filter((x) => r.holds(x));
        assert.equal(r.type === 0, holders.length === 0, 'a reservation has a registered holder');
        if (r.type !== 0 && r.type < 7) assert.equal(holders.length, 1);
        assert.ok(r.registrations.every((x) => x.key !== NO_KEY));
        const writers = NEXUSES.filter((n) => !r.conflicts(n, 'write'));
        const readers = NEXUSES.filter((n) => !r.conflicts(n, 'read'));
        assert.ok(
          writers.every((n) => readers.includes(n)),
          'who may write may read',
        );
        assert.ok(writers.length > 0, 'somebody may write');
        if (r.type !== 0) {
          const copy = new Reservations();
          r.keepThroughPowerLoss = true;
          const state = r.snapshot();
          assert.ok(state !== null);
          copy.restore(state);
          assert.deepEqual([copy.type, copy.holderKey], [r.type, r.holderKey]);
        }
      }
    }),
    { numRuns: 2000, seed: 11 },
  );
});
