import assert from 'node:assert/strict';
import { test } from 'node:test';
import { COMMAND_WINDOW } from './limits.ts';
import { Pace } from './pace.ts';

/** After which of `count` answers of one turn it sends. */
function sends(pace: Pace, count: number): number[] {
  return Array.from({ length: count }, (_, n) => n + 1).filter(() => pace.answered());
}

test('pace: a session among others never sends before its turn ends', () => {
  const pace = new Pace();
  for (const depth of [1, 32, 128]) {
    pace.heard(depth, 0);
    pace.begin(false);
    assert.equal(pace.early, Infinity);
    assert.deepEqual(sends(pace, 300), []);
  }
});

test('pace: a session alone sends when half of what is outstanding is answered', () => {
  const pace = new Pace();
  pace.heard(32, 0);
  pace.begin(true);
  assert.equal(pace.early, 16);
  assert.deepEqual(sends(pace, 40), [16, 32]);
  pace.heard(33, 0);
  assert.equal(pace.early, 16, 'a turn keeps the pace that it began with');
  pace.begin(true);
  assert.equal(pace.early, 16);
  pace.heard(129, 0);
  pace.begin(true);
  assert.equal(pace.early, 64);
});

test('pace: a few answers are not worth a send of their own', () => {
  const pace = new Pace();
  pace.begin(true);
  assert.deepEqual(sends(pace, 9), [4, 8], 'nothing is known of the depth yet');
  for (const depth of [1, 2, 7, 8, 9]) {
    pace.heard(depth, 0);
    pace.begin(true);
    assert.equal(pace.early, 4, `depth ${depth}`);
  }
  pace.heard(10, 0);
  pace.begin(true);
  assert.equal(pace.early, 5);
});

test('pace: answers that the initiator had not seen count as outstanding', () => {
  const pace = new Pace();
  pace.heard(1, 31);
  pace.begin(true);
  assert.equal(pace.early, 16);
  pace.heard(20, COMMAND_WINDOW);
  pace.begin(true);
  assert.equal(pace.early, (20 + COMMAND_WINDOW) / 2);
});

test('pace: an ExpStatSN that cannot be is not believed', () => {
  const pace = new Pace();
  // One ahead of ours, and one that was never set: StatSN - ExpStatSN wraps, or is huge.
  for (const unseen of [(5 - 6) >>> 0, 0x80000000, COMMAND_WINDOW + 1]) {
    pace.heard(24, unseen);
    pace.begin(true);
    assert.equal(pace.early, 12);
  }
});

test('pace: the count begins anew with each turn', () => {
  const pace = new Pace();
  pace.heard(8, 0);
  pace.begin(true);
  assert.deepEqual(sends(pace, 3), []);
  pace.begin(true);
  assert.deepEqual(sends(pace, 5), [4]);
  pace.begin(false);
  assert.deepEqual(sends(pace, 5), []);
  pace.begin(true);
  assert.deepEqual(sends(pace, 4), [4]);
});
