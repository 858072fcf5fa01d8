/** Several initiators of one disk, in every order that they and the disk can bring about. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TEST_TARGET, testServer } from '#iscsi/testing/disk.ts';
import { Dice, cases } from './dice.ts';
import { MoodyDevice } from './schedule-login.ts';
import { Rival, keyOf } from './schedule-rival.ts';
import type { Arena } from './schedule-rival.ts';
import { World } from './schedule-world.ts';

const SEEDS = cases(60);
const MOVES = 500;
/** Far more than any of them takes to come to its end. */
const MOVES_MAX = 30_000;
/** So often it is asked what others have ended. */
const SWEEP_MOVES = 50;
const RESERVATION_CONFLICT = 0x18;
const UNIT_ATTENTION = 6;
/** Resets, a lost nexus, reservations and registrations that are gone, commands ended by others. */
const ATTENTIONS = new Set(['29/0', '29/3', '29/7', '2a/3', '2a/4', '2a/5', '2f/0']);

type Counts = Record<string, number>;

/** A command that was not begun may say that it was not; what it says is counted. */
function excuse(counts: Counts, status: number, sense: Uint8Array): boolean {
  if (status === RESERVATION_CONFLICT) {
    counts['conflict'] = (counts['conflict'] ?? 0) + 1;
    return true;
  }
  if (status !== 2 || keyOf(sense) !== UNIT_ATTENTION) return false;
  const code = `${sense[12]!.toString(16)}/${sense[13]!.toString(16)}`;
  assert.ok(ATTENTIONS.has(code), code);
  counts[code] = (counts[code] ?? 0) + 1;
  return true;
}

async function play(seed: number, counts: Counts): Promise<void> {
  const dice = new Dice(seed);
  const device = new MoodyDevice(dice);
  const takeover = seed % 2 === 0;
  const bench = testServer({ device, config: { takeover }, aborts: true });
  const world = new World();
  world.excuse = excuse.bind(null, counts);
  const rivals: Rival[] = [];
  const failing = seed % 3 === 0;
  const arena: Arena = {
    bench,
    device,
    dice,
    world,
    failing,
    takeover,
    swapped: new Set(),
    counts,
    rivals,
  };
  for (const letter of ['a', 'b']) rivals.push(new Rival(arena, letter));
  for (const each of rivals) await each.enter();
  device.moody = true;
  let moves = 0;
  for (; moves < MOVES || rivals.some((each) => each.player.busy); moves++) {
    assert.ok(moves < MOVES_MAX, 'everything comes to an end');
    await dice.pick(rivals).move(moves < MOVES);
    if (moves % SWEEP_MOVES === 0) for (const each of rivals) each.sweep();
  }
  for (const each of rivals) each.player.lookAll();
  world.check(device);
  for (const each of rivals) each.checkIdle();
  counts['good'] = (counts['good'] ?? 0) + rivals.reduce((n, each) => n + each.player.good, 0);
  assert.equal(bench.server.target(TEST_TARGET)!.sessions.size, rivals.length);
  const { chunks } = bench.server.plane;
  assert.deepEqual([chunks.taken, chunks.coldWriteBytes, device.waiting.length], [0, 0, 0]);
  const closed = bench.server.close();
  bench.clock.advance(60_000);
  await closed;
}

test(`${SEEDS} seeds of ${MOVES} moves: rivals end each other, and no byte is lost`, async () => {
  const counts: Counts = {};
  for (let seed = 1; seed <= SEEDS; seed++) {
    try {
      await play(seed, counts);
    } catch (cause) {
      assert.fail(new Error(`seed ${seed}`, { cause }));
    }
  }
  const happened = ['lost', 'again', 'reset', 'swap', 'miscompare', 'conflict'];
  for (const what of [...happened, '29/3', '2a/5', '2f/0']) {
    assert.ok((counts[what] ?? 0) > 0, `${what} happened`);
  }
});
