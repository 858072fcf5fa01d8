/** Tasks in every order that initiators and disks can bring about. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TEST_TARGET, testServer } from '#iscsi/testing/disk.ts';
import { TestInitiator } from '#iscsi/testing/initiator.ts';
import { COMMAND_WINDOW } from '#iscsi/limits.ts';
import { Dice, cases } from './dice.ts';
import { MoodyDevice, login } from './schedule-login.ts';
import { SchedulePlayer } from './schedule-player.ts';

const SESSIONS = cases(60);
const MOVES = 300;
/** Far more than any session takes to come to its end. */
const MOVES_MAX = 20_000;

async function begin(seed: number) {
  const dice = new Dice(seed);
  const device = new MoodyDevice(dice);
  const bench = testServer({ device });
  const i = new TestInitiator(bench.server);
  const player = new SchedulePlayer(i, device, await login(i, dice));
  device.moody = true;
  player.failing = seed % 3 === 0;
  return { dice, device, bench, i, player };
}

async function play(seed: number): Promise<void> {
  const { device, bench, i, player } = await begin(seed);
  let moves = 0;
  for (; moves < MOVES || player.busy; moves++) {
    assert.ok(moves < MOVES_MAX, 'everything comes to an end');
    await player.move(moves < MOVES);
  }
  i.unstall();
  player.look();
  player.world.check(device);
  const [session] = bench.server.target(TEST_TARGET)!.sessions;
  const { tasks, inFlight, immediateInFlight, maxCmdSn, expCmdSn } = session!;
  assert.deepEqual([tasks.active, inFlight, immediateInFlight], [0, 0, 0]);
  assert.equal((maxCmdSn - expCmdSn) | 0, COMMAND_WINDOW - 1);
  assert.deepEqual([bench.server.plane.chunks.taken, device.waiting.length], [0, 0]);
  i.connection.lost('over');
  await bench.server.close();
}

/** The session ends amid all that, and the disk answers what it still has afterwards. */
async function playAndBreak(seed: number): Promise<void> {
  const { dice, device, bench, i, player } = await begin(seed);
  for (let left = dice.roll(MOVES); left > 0; left--) await player.move(true);
  // What a socket has taken is the kernel's, and goes with it.
  i.unstall();
  let early = false;
  const quiet = new Promise<void>((resolve) => {
    const ended = (): void => {
      early = device.waiting.length > 0;
      resolve();
    };
    if (dice.once(2)) i.connection.fence('takeover', ended);
    else bench.server.close().then(ended, assert.ifError);
  });
  i.connection.lost('power cut');
  while (device.waiting.length > 0) {
    device.waiting.splice(dice.roll(device.waiting.length), 1)[0]?.run(null);
    if (dice.once(2)) await new Promise((resolve) => setImmediate(resolve));
  }
  await quiet;
  assert.ok(!early, 'quiet is who cannot reach the disk any more');
  const { chunks } = bench.server.plane;
  assert.deepEqual([chunks.taken, chunks.coldWriteBytes], [0, 0]);
  assert.equal(bench.server.target(TEST_TARGET)!.sessions.size, 0);
  await bench.server.close();
}

async function each(of: (seed: number) => Promise<void>): Promise<void> {
  for (let seed = 1; seed <= SESSIONS; seed++) {
    try {
      await of(seed);
    } catch (cause) {
      assert.fail(new Error(`seed ${seed}`, { cause }));
    }
  }
}

test(`${SESSIONS} sessions of ${MOVES} moves: every task has its end, and its bytes`, async () => {
  await each(play);
});

test(`${SESSIONS} sessions that are lost amid their moves: nothing of them stays`, async () => {
  await each(playAndBreak);
});
