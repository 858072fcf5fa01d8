import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LoopClock } from './loop-clock.ts';

test('timers fire when they are due and the loop asks, cancelled ones do not', () => {
  const clock = new LoopClock();
  const nowMs = clock.monotonicMs();
  assert.equal(clock.untilNextMs(nowMs), Number.POSITIVE_INFINITY);
  const fired: string[] = [];
  const cancel = clock.after(100, () => fired.push('cancelled'));
  clock.after(200, () => {
    fired.push('a');
    clock.after(1000, () => fired.push('later'));
  });
  clock.after(5000, () => fired.push('b'));
  assert.ok(clock.untilNextMs(nowMs) >= 99 && clock.untilNextMs(nowMs) < 200);
  clock.run(nowMs);
  assert.deepEqual(fired, []);
  cancel();
  clock.run(nowMs + 300);
  assert.deepEqual(fired, ['a']);
  clock.run(nowMs + 10_000);
  assert.deepEqual(new Set(fired), new Set(['a', 'b', 'later']));
  assert.equal(clock.untilNextMs(nowMs + 10_000), Number.POSITIVE_INFINITY);
});
