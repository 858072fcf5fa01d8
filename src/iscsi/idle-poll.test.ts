import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeClock } from '#base/mod.ts';
import { IdlePoll } from './idle-poll.ts';

/** How long one poll lasts at most, and the gap beyond which nothing is polled through. */
const POLL_MS_MAX = 0.1;
const SHORT_MS = 0.02;
const LONG_MS = 5;
/** Enough of one kind of gap to outweigh whatever came before. */
const MANY = 60;

/** A poll with a clock and an event loop that the test holds. */
class Bench {
  readonly clock = new FakeClock();
  readonly loop: (() => void)[] = [];
  asked = 0;
  readonly poll = new IdlePoll(this.clock, (run) => {
    this.asked += 1;
    this.loop.push(run);
  });

  /** The event loop turns once; what it runs may ask for the next turn. */
  turn(): void {
    for (const run of this.loop.splice(0)) run();
  }

  /** Turns of the loop until nobody asks any more, each of so many milliseconds. */
  drain(eachMs: number): number {
    let turns = 0;
    for (; this.loop.length > 0; turns++) {
      assert.ok(turns < 10_000, 'it ends');
      this.clock.advance(eachMs);
      this.turn();
    }
    return turns;
  }

  /** A command after a gap, answered at once. */
  exchange(gapMs: number): void {
    this.clock.advance(gapMs);
    this.poll.heard();
    this.poll.answered();
  }

  /** Many of them, with the loop turning between. */
  train(gapMs: number, count = MANY): void {
    for (let n = 0; n < count; n++) {
      this.exchange(gapMs);
      this.turn();
    }
  }
}

test('poll: nothing is polled for before gaps were short for a while', () => {
  const bench = new Bench();
  bench.poll.answered();
  assert.equal(bench.asked, 0, 'an answer to a first command, of which nothing is known');
  let n = 0;
  for (; bench.asked === 0; n++) bench.exchange(SHORT_MS);
  assert.ok(n > 5 && n < 30, `${n} short gaps`);
});

test('poll: between quick commands the loop is kept awake', () => {
  const bench = new Bench();
  bench.train(SHORT_MS);
  for (let n = 0; n < 20; n++) {
    bench.exchange(SHORT_MS);
    assert.equal(bench.loop.length, 1);
    bench.turn();
    assert.equal(bench.loop.length, 1, 'the gap is not over: it looks again');
  }
});

test('poll: a pause ends it after its time, whatever the loop does', () => {
  for (const eachMs of [0.001, 0.03, 0.099, 1]) {
    const bench = new Bench();
    bench.train(SHORT_MS);
    bench.exchange(SHORT_MS);
    const turns = bench.drain(eachMs);
    const most = Math.ceil(POLL_MS_MAX / eachMs) + 1;
    assert.ok(turns >= 1 && turns <= most, `${turns} turns of ${eachMs} ms`);
    const { asked } = bench;
    bench.clock.advance(1000);
    bench.turn();
    assert.equal(bench.asked, asked, 'and it stays asleep');
  }
});

test('poll: an answer while it runs prolongs it, and begins no second one', () => {
  const bench = new Bench();
  bench.train(SHORT_MS);
  bench.exchange(SHORT_MS);
  for (let n = 0; n < 50; n++) {
    bench.clock.advance(POLL_MS_MAX * 0.6);
    bench.poll.answered();
    bench.poll.answered();
    assert.equal(bench.loop.length, 1);
    bench.turn();
    assert.equal(bench.loop.length, 1, 'the newest answer counts');
  }
  bench.clock.advance(POLL_MS_MAX * 1.01);
  bench.turn();
  assert.equal(bench.loop.length, 0);
  bench.exchange(SHORT_MS);
  assert.equal(bench.loop.length, 1, 'it can begin again');
});

test('poll: an initiator that takes long is waited for asleep', () => {
  const bench = new Bench();
  bench.train(SHORT_MS);
  bench.train(LONG_MS);
  bench.drain(1);
  const { asked } = bench;
  bench.train(LONG_MS);
  assert.equal(bench.asked, asked);
  bench.train(POLL_MS_MAX * 1.5);
  assert.equal(bench.asked, asked, 'nor where every poll would just miss');
});

test('poll: one pause in a quick stream switches it off for a few commands only', () => {
  const bench = new Bench();
  bench.train(SHORT_MS);
  bench.drain(1);
  const { asked } = bench;
  bench.exchange(3_600_000);
  assert.equal(bench.asked, asked, 'an hour counts as a millisecond, which is long');
  let n = 0;
  for (; bench.asked === asked; n++) {
    assert.ok(n < 10, 'a few short gaps are enough');
    bench.exchange(SHORT_MS);
  }
});

test('poll: by default it is the event loop of this process that is kept awake', async () => {
  const poll = new IdlePoll();
  const alive = (): boolean => process.getActiveResourcesInfo().includes('Immediate');
  // Gaps of nothing are quick enough on any machine, but for those in which it did something else.
  for (let n = 0; n < 1000 * MANY && !alive(); n++) {
    poll.heard();
    poll.answered();
  }
  assert.ok(alive());
  for (let turns = 0; alive(); turns++) {
    assert.ok(turns < 1_000_000);
    await new Promise((resolve) => {
      setTimeout(resolve, 0);
    });
  }
});
