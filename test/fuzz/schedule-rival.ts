/**
 * One of several initiators of one disk, which do to each other what they may: resets, preempting
 * reservations, a login in the place of another, lost connections, and one lock that all want.
 */
import assert from 'node:assert/strict';
import { encodeScsiCommand, framePdu, TaskFunction } from '#iscsi/pdu/mod.ts';
import { TEST_TARGET, readWrite } from '#iscsi/testing/disk.ts';
import type { Bench } from '#iscsi/testing/disk.ts';
import { TestInitiator } from '#iscsi/testing/initiator.ts';
import type { Session } from '#iscsi/session.ts';
import type { Dice } from './dice.ts';
import { login } from './schedule-login.ts';
import type { MoodyDevice } from './schedule-login.ts';
import { SchedulePlayer } from './schedule-player.ts';
import { BLOCK_BYTES, DISK_BLOCKS } from './schedule-world.ts';
import type { Play, World } from './schedule-world.ts';

const CHECK_CONDITION = 2;
const RESERVATION_CONFLICT = 0x18;
const MISCOMPARE = 0x0e;
/** The block behind the model's that COMPARE AND WRITE fights for. */
const LOCK_LBA = DISK_BLOCKS + 100;
const Action = { REGISTER: 6, RESERVE: 1, RELEASE: 2, CLEAR: 3, PREEMPT: 4, ABORT: 5 } as const;
const NO_KEY = Buffer.alloc(8);

/** The part of a test that all rivals share. */
export type Arena = {
  readonly bench: Bench;
  readonly device: MoodyDevice;
  readonly dice: Dice;
  readonly world: World;
  readonly failing: boolean;
  /** A login with another ISID takes the place of the session before. */
  readonly takeover: boolean;
  /** What COMPARE AND WRITE found, each of it once. */
  readonly swapped: Set<string>;
  readonly counts: Record<string, number>;
  readonly rivals: Rival[];
};

export class Rival {
  readonly #arena: Arena;
  readonly #name: string;
  readonly #key: Buffer;
  #isid = '800000000001';
  /** The ISID that it is registered by, as far as it knows: what it may do depends on it. */
  #registered: string | null = null;
  #initiator: TestInitiator | null = null;
  #player: SchedulePlayer | null = null;

  constructor(arena: Arena, letter: string) {
    this.#arena = arena;
    this.#name = `iqn.2026-11.test:${letter}`;
    this.#key = Buffer.from(letter.repeat(8));
  }

  get player(): SchedulePlayer {
    assert.ok(this.#player !== null, 'a rival has entered');
    return this.#player;
  }

  /** Its session at the target, if it has one. */
  get session(): Session | undefined {
    const { sessions } = this.#arena.bench.server.target(TEST_TARGET)!;
    return [...sessions].find(
      (s) => s.info.initiatorName === this.#name && s.info.isid === this.#isid,
    );
  }

  /** Logs in; an older session of it is over then, whether it was lost or not. */
  async enter(): Promise<void> {
    const { bench, device, dice, world } = this.#arena;
    const i = new TestInitiator(bench.server);
    const by = { name: this.#name, isid: this.#isid, pump: () => pump(device, dice) };
    const agreed = await login(i, dice, by);
    assert.ok(this.#initiator?.closed ?? true, 'nobody is there twice');
    // A socket that is closed lets go of what it has not sent.
    this.#initiator?.unstall();
    this.#player?.giveUpAll();
    this.#initiator = i;
    this.#player = new SchedulePlayer(i, device, { ...agreed, world });
    this.#player.failing = this.#arena.failing;
  }

  /** One move; `begins`: also something new may begin. */
  async move(begins: boolean): Promise<void> {
    const { dice } = this.#arena;
    if (begins && dice.once(25)) await this.#rare();
    else await this.player.move(begins);
  }

  async #rare(): Promise<void> {
    const roll = this.#arena.dice.roll(12);
    if (roll < 4) this.#swap();
    else if (roll < 9) this.#reserve();
    else if (roll === 9) this.#reset();
    else if (roll === 10) await this.#again();
  }

  #count(what: string): void {
    this.#arena.counts[what] = (this.#arena.counts[what] ?? 0) + 1;
  }

  /** Back with the same ISID or another, which ends the old session; or after a loss. */
  async #again(): Promise<void> {
    const { dice, takeover } = this.#arena;
    const i = this.#initiator!;
    if (takeover && dice.once(2)) this.#isid = `80000000000${1 + dice.roll(3)}`;
    if (dice.once(2)) {
      this.#half(i);
      i.connection.lost('the dice say so');
      this.#count('lost');
    }
    this.#count('again');
    await this.enter();
  }

  /** A command of which the rest never comes. */
  #half(i: TestInitiator): void {
    const pdu = i.commandPdu(readWrite('write', LOCK_LBA + 8, 1), {
      write: true,
      expectedLengthBytes: BLOCK_BYTES,
    });
    const bytes = framePdu(encodeScsiCommand(pdu), i.digests);
    i.sendBytes(bytes.subarray(0, 1 + this.#arena.dice.roll(bytes.length - 1)));
  }

  #reset(): void {
    const { rivals, world } = this.#arena;
    for (const each of rivals) each.player.lookAll();
    this.#count('reset');
    this.player.manage(TaskFunction.LOGICAL_UNIT_RESET, [...world.plays]);
  }

  /** Of all that find the same in the lock, one gets it. */
  #swap(): void {
    const { device, dice, swapped, failing } = this.#arena;
    const found = Buffer.from(device.content(LOCK_LBA * BLOCK_BYTES, BLOCK_BYTES));
    const wrong = dice.once(5);
    if (wrong) found[dice.roll(BLOCK_BYTES)]! ^= 1;
    const data = Buffer.concat([found, dice.bytes(BLOCK_BYTES)]);
    const lba = [LOCK_LBA >>> 24, LOCK_LBA >>> 16, LOCK_LBA >>> 8, LOCK_LBA].map((b) => b & 255);
    const cdb = [0x89, 0, 0, 0, 0, 0, ...lba, 0, 0, 0, 1, 0, 0];
    this.player.send(cdb, data, (status, sense) => {
      if (status === 0) {
        const what = found.toString('hex');
        assert.ok(!wrong && !swapped.has(what), 'a lock has one owner');
        swapped.add(what);
        this.#count('swap');
      } else if (status === CHECK_CONDITION && keyOf(sense) === MISCOMPARE) {
        this.#count('miscompare');
      } else {
        assert.ok(failing || this.#arena.world.excuse(status, sense), `status ${status}`);
      }
    });
  }

  #reserve(): void {
    const { dice, rivals } = this.#arena;
    const { REGISTER, RESERVE, PREEMPT, ABORT } = Action;
    const other = dice.pick(rivals.filter((each) => each !== this));
    // What fits, mostly; else anything.
    const fits = other.#registered !== null ? dice.pick([PREEMPT, ABORT, ABORT]) : RESERVE;
    const any = dice.once(3) ? dice.pick(Object.values(Action)) : fits;
    const action = this.#registered !== null ? any : REGISTER;
    const takes = action === PREEMPT || action === ABORT;
    const own = action === REGISTER && this.#registered === null ? this.#key : NO_KEY;
    const list = Buffer.concat([this.#key, takes ? other.#key : own, Buffer.alloc(8)]);
    const cdb = [0x5f, action, dice.pick([1, 3, 5, 6, 7, 8]), 0, 0, 0, 0, 0, list.length, 0];
    const before = [...this.#arena.world.plays].filter((each) => each.owner === other.player);
    this.player.send(cdb, list, (status) => {
      if (status !== 0) {
        assert.ok(status === RESERVATION_CONFLICT || status === CHECK_CONDITION);
        if (status === RESERVATION_CONFLICT) this.#registered = null;
        return;
      }
      this.#count(`action ${action}`);
      if (action === ABORT) other.#wasAborted(before);
      if (action === REGISTER) this.#registered = own === NO_KEY ? null : this.#isid;
      if (takes) other.#registered = null;
      if (action === Action.CLEAR) for (const each of rivals) each.#registered = null;
    });
  }

  /** Of what it had begun `before` nothing is left that can do anything, or will be answered. */
  #wasAborted(before: readonly Play[]): void {
    this.sweep();
    if (this.#registered !== this.#isid) return;
    for (const play of before) assert.ok(!this.#arena.world.plays.has(play), 'ended with GOOD');
  }

  /** Gives up what others have ended. */
  sweep(): void {
    const { session } = this;
    if (session === undefined) return;
    this.player.sweep((tag) => session.tasks.find(tag) !== undefined);
  }

  /** Nothing is left of all that was. */
  checkIdle(): void {
    const { tasks, inFlight, immediateInFlight } = this.session!;
    assert.deepEqual([tasks.active, inFlight, immediateInFlight], [0, 0, 0]);
    assert.equal(this.player.busy, false);
  }
}

/** Lets the disk answer, and all else go on. */
export async function pump(device: MoodyDevice, dice: Dice): Promise<void> {
  const { waiting } = device;
  if (waiting.length > 0) waiting.splice(dice.roll(waiting.length), 1)[0]?.run(null);
  await new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/** The sense key of sense data in fixed format. */
export function keyOf(sense: Uint8Array): number {
  return sense[2]! & 0x0f;
}
