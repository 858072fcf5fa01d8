/** Tasks in every order that initiators and disks can bring about. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as pdus from '#iscsi/pdu/mod.ts';
import { decodeText } from '#iscsi/text.ts';
import type { KeyValue } from '#iscsi/text.ts';
import { TEST_DISK_BYTES, TEST_TARGET, testServer } from '#iscsi/testing/disk.ts';
import { GateDevice } from '#iscsi/testing/gate-device.ts';
import { TestInitiator } from '#iscsi/testing/initiator.ts';
import { COMMAND_WINDOW } from '#iscsi/limits.ts';
import { Dice, cases } from './dice.ts';
import { SchedulePlayer } from './schedule-player.ts';
import type { Agreed } from './schedule-player.ts';

const SESSIONS = cases(60);
const MOVES = 300;
/** Far more than any session takes to come to its end. */
const MOVES_MAX = 20_000;

/** A disk of which any read or write may be resident. */
class MoodyDevice extends GateDevice {
  moody = false;
  readonly #dice: Dice;

  constructor(dice: Dice) {
    super({ sizeBytes: TEST_DISK_BYTES });
    this.#dice = dice;
  }

  override tryRead(offset: number, into: Uint8Array, at: number, lengthBytes: number): boolean {
    if (!this.moody || this.#dice.once(2)) return false;
    into.set(this.content(offset, lengthBytes), at);
    return true;
  }

  override tryWrite(offset: number, from: Uint8Array, at: number, lengthBytes: number): boolean {
    if (!this.moody || this.#dice.once(2)) return false;
    this.load(from.subarray(at, at + lengthBytes), offset);
    return true;
  }
}

function offer(dice: Dice): KeyValue[] {
  const maybe = (yes: string, no: string): string => (dice.once(2) ? yes : no);
  return [
    ['InitialR2T', maybe('Yes', 'No')],
    ['ImmediateData', maybe('Yes', 'No')],
    ['MaxRecvDataSegmentLength', String(dice.pick([512, 1000, 3000, 4096, 8192, 262_144]))],
    ['MaxBurstLength', String(dice.pick([512, 1536, 4096, 16_384, 262_144]))],
    ['FirstBurstLength', String(dice.pick([512, 1024, 3000, 65_536]))],
    ['MaxOutstandingR2T', String(1 + dice.roll(4))],
    ['HeaderDigest', maybe('CRC32C', 'None')],
    ['DataDigest', maybe('CRC32C', 'None')],
  ];
}

/** Counters close to where they wrap, in half of the sessions. */
const counter = (dice: Dice): number => (dice.once(2) ? 2 ** 32 - 1 - dice.roll(300) : 1);

async function login(i: TestInitiator, dice: Dice) {
  const keys = offer(dice);
  i.cmdSn = counter(dice);
  const names: KeyValue[] = [
    ['InitiatorName', 'iqn.2026-11.test:schedule'],
    ['TargetName', TEST_TARGET],
  ];
  const request = i.loginRequest([...names, ...keys], { expStatSn: counter(dice) });
  i.send(pdus.encodeLoginRequest(request));
  const response = pdus.decodeLoginResponse(await i.next());
  assert.equal(response.status, 0);
  const said = new Map([...keys, ...decodeText(response.data)]);
  const yes = (key: string, value = 'Yes'): boolean => said.get(key) === value;
  i.digests = { header: yes('HeaderDigest', 'CRC32C'), data: yes('DataDigest', 'CRC32C') };
  const maxBurstBytes = Number(said.get('MaxBurstLength'));
  const agreed: Agreed = {
    immediateData: yes('ImmediateData'),
    initialR2t: yes('InitialR2T'),
    maxBurstBytes,
    firstBurstBytes: Math.min(Number(said.get('FirstBurstLength')), maxBurstBytes),
  };
  // The unit attention of a new nexus.
  const ready = i.commandPdu([0, 0, 0, 0, 0, 0]);
  i.cmdSn = i.cmdSn >>> 0;
  i.send(pdus.encodeScsiCommand(ready));
  const { statSn, maxCmdSn, status } = pdus.decodeScsiResponse(await i.next());
  assert.equal(status, 2);
  return { dice, agreed, statSn: (statSn + 1) >>> 0, maxCmdSn };
}

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
  player.check();
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
