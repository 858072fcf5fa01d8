import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RoundTrip } from './round-trip.ts';

test('a second at first, then three round trips, never under 20 ms', () => {
  const r = new RoundTrip();
  assert.equal(r.timeoutMs, 1000);
  r.sample(100);
  assert.equal(r.timeoutMs, 300);
  r.sample(20);
  assert.equal(r.timeoutMs, 270);
  for (let n = 0; n < 100; n++) r.sample(0.1);
  assert.equal(r.timeoutMs, 20);
});

test('doubles at each time-out up to a bound, and is itself again on progress', () => {
  const r = new RoundTrip();
  r.sample(10);
  const seen: number[] = [];
  for (let n = 0; n < 9; n++) {
    seen.push(r.timeoutMs);
    r.backOff();
  }
  assert.deepEqual(seen, [30, 60, 120, 240, 480, 960, 1920, 3840, 4000]);
  r.progress();
  assert.equal(r.timeoutMs, 30);
});

test('the client may ask for a longer start', () => {
  const r = new RoundTrip(6000);
  assert.equal(r.timeoutMs, 6000);
  r.backOff();
  assert.equal(r.timeoutMs, 6000);
});
