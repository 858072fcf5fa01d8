/**
 * A session that does everything at once, in an order that the dice choose: commands of all task
 * attributes, data in pieces, aborts, pings, a peer that does not read; and a disk that answers in
 * any order. It knows what every answer must be.
 */
import assert from 'node:assert/strict';
import { BlockError } from '#block/mod.ts';
import * as pdus from '#iscsi/pdu/mod.ts';
import type { Pdu, R2t } from '#iscsi/pdu/mod.ts';
import type { GateDevice } from '#iscsi/testing/gate-device.ts';
import { readWrite } from '#iscsi/testing/disk.ts';
import { NO_TAG } from '#iscsi/testing/initiator.ts';
import type { TestInitiator } from '#iscsi/testing/initiator.ts';
import type { Dice } from './dice.ts';
import type { Agreed } from './schedule-login.ts';
import { BLOCK_BYTES, DISK_BLOCKS, World } from './schedule-world.ts';
import type { Play } from './schedule-world.ts';

const { Opcode, TaskFunction } = pdus;
const BLOCKS_MAX = 20;
const IMMEDIATE_MAX = 20;
/** UNTAGGED, SIMPLE (mostly), ORDERED, HEAD OF QUEUE. */
const ATTRIBUTES = [0, 1, 1, 1, 2, 3];

export class SchedulePlayer {
  /** The disk may fail: then a command may end with CHECK CONDITION. */
  failing = false;
  /** Commands that ended with GOOD. */
  good = 0;
  readonly world: World;
  readonly #i: TestInitiator;
  readonly #device: GateDevice;
  readonly #dice: Dice;
  readonly #agreed: Agreed;
  readonly #plays = new Map<number, Play>();
  readonly #aborts = new Map<number, readonly Play[]>();
  #r2ts: R2t[] = [];
  #statSn: number;
  #maxCmdSn: number;

  constructor(
    i: TestInitiator,
    device: GateDevice,
    options: {
      readonly dice: Dice;
      readonly agreed: Agreed;
      readonly statSn: number;
      readonly maxCmdSn: number;
      readonly world?: World;
    },
  ) {
    this.#i = i;
    this.#device = device;
    this.#dice = options.dice;
    this.#agreed = options.agreed;
    this.#statSn = options.statSn;
    this.#maxCmdSn = options.maxCmdSn;
    this.world = options.world ?? new World();
  }

  /** Something is not answered yet. */
  get busy(): boolean {
    return this.#plays.size > 0 || this.#aborts.size > 0;
  }

  /** One move; `begins`: also a new one may begin. */
  async move(begins: boolean): Promise<void> {
    const roll = this.#dice.roll(12);
    if (roll < 4 && begins) this.#command();
    else if (roll === 4) this.#unsolicited();
    else if (roll < 7) this.#solicited();
    else if (roll === 7 && begins && this.#dice.once(3)) this.#abort();
    else if (roll === 8) this.#ping();
    else if (roll === 9) this.#stall();
    else if (roll > 9) await this.#answerSome();
    this.look();
  }

  /** Takes what came; fails the test when it is not what it should be. */
  look(): void {
    if (this.#i.stalled) return;
    assert.ok(!this.#i.closed, 'the target hangs up on nobody');
    // Whoever is told of an end may look again.
    for (let pdu = this.#i.received.shift(); pdu !== undefined; pdu = this.#i.received.shift()) {
      this.#take(pdu);
    }
  }

  #command(): void {
    const dice = this.#dice;
    if (((this.#maxCmdSn - this.#i.cmdSn) | 0) < 0) return;
    const count = 1 + dice.roll(BLOCKS_MAX);
    const lba = dice.roll(DISK_BLOCKS - count);
    const offset = lba * BLOCK_BYTES;
    const data = Buffer.from(dice.bytes(count * BLOCK_BYTES));
    if (this.world.overlaps(offset, data.length)) return;
    this.#begin(dice.once(2), lba, offset, data);
  }

  #begin(write: boolean, lba: number, offset: number, data: Buffer): void {
    const count = data.length / BLOCK_BYTES;
    this.#issue(readWrite(write ? 'write' : 'read', lba, count), { write, offset, data }, null);
  }

  /** A command beside reads and writes, which sends `data`; false: there is no room for it. */
  send(cdb: readonly number[], data: Buffer, ended: NonNullable<Play['ended']>): boolean {
    if (((this.#maxCmdSn - this.#i.cmdSn) | 0) < 0) return false;
    this.#issue(cdb, { write: true, offset: 0, data }, ended);
    return true;
  }

  #issue(
    cdb: readonly number[],
    what: Pick<Play, 'write' | 'offset' | 'data'>,
    ended: Play['ended'],
  ): void {
    const dice = this.#dice;
    const { write, data } = what;
    const early = write ? Math.min(this.#agreed.firstBurstBytes, data.length) : 0;
    const sent = this.#agreed.immediateData ? dice.pick([0, early, dice.roll(early + 1)]) : 0;
    const more = !this.#agreed.initialR2t && sent < early && dice.once(2);
    const immediate = dice.once(12) && this.#plays.size < IMMEDIATE_MAX;
    const { cmdSn } = this.#i;
    const pdu = this.#i.commandPdu(cdb, {
      write,
      read: !write,
      attribute: dice.pick(ATTRIBUTES),
      immediate,
      expectedLengthBytes: data.length,
      data: data.subarray(0, sent),
      final: !more,
    });
    this.#i.cmdSn = immediate ? cmdSn : (cmdSn + 1) >>> 0;
    const tag = pdu.initiatorTaskTag;
    const fresh = { got: [], outSn: 0, inSn: 0, aborted: false, owner: this };
    const play = { tag, ...what, sent, more, ended, ...fresh };
    this.#plays.set(tag, play);
    this.world.plays.add(play);
    this.#send(pdus.encodeScsiCommand(pdu));
  }

  #unsolicited(): void {
    const play = [...this.#plays.values()].find((each) => each.more && !each.aborted);
    if (play === undefined) return;
    const end = Math.min(this.#agreed.firstBurstBytes, play.data.length);
    const length = Math.min(end - play.sent, 1 + this.#dice.roll(2000));
    const final = play.sent + length === end || this.#dice.once(4);
    this.#dataOut(play, NO_TAG, { sn: play.outSn, from: play.sent, length, final });
    play.outSn += 1;
    play.sent += length;
    play.more = !final;
  }

  /** Answers an R2T, of one task in their order; those of an aborted one maybe. */
  #solicited(): void {
    if (this.#r2ts.length === 0) return;
    const any = this.#dice.pick(this.#r2ts);
    const r2t = this.#r2ts.find((each) => each.initiatorTaskTag === any.initiatorTaskTag) ?? any;
    this.#r2ts = this.#r2ts.filter((each) => each !== r2t);
    const play = this.#plays.get(r2t.initiatorTaskTag);
    if (play === undefined || (play.aborted && this.#dice.once(2))) return;
    let sn = 0;
    for (let done = 0; done < r2t.desiredLengthBytes; sn++) {
      const length = Math.min(r2t.desiredLengthBytes - done, 1 + this.#dice.roll(4000));
      const from = r2t.bufferOffsetBytes + done;
      done += length;
      const final = done === r2t.desiredLengthBytes;
      this.#dataOut(play, r2t.targetTransferTag, { sn, from, length, final });
    }
  }

  #dataOut(
    play: Play,
    targetTransferTag: number,
    part: { sn: number; from: number; length: number; final: boolean },
  ): void {
    const { sn, from, length, final } = part;
    this.#send(
      pdus.encodeDataOut({
        final,
        lun: 0,
        initiatorTaskTag: play.tag,
        targetTransferTag,
        expStatSn: 0,
        dataSn: sn,
        bufferOffsetBytes: from,
        data: play.data.subarray(from, from + length),
      }),
    );
  }

  #abort(): void {
    const living = [...this.#plays.values()].filter((each) => !each.aborted);
    if (living.length === 0) return;
    const one = this.#dice.pick(living);
    if (!this.#dice.once(6)) return this.manage(TaskFunction.ABORT_TASK, [one]);
    // One task set for each session: they mean the same.
    const { ABORT_TASK_SET, CLEAR_TASK_SET } = TaskFunction;
    return this.manage(this.#dice.pick([ABORT_TASK_SET, CLEAR_TASK_SET]), living);
  }

  /** Task management that ends `victims`, of whatever session. */
  manage(taskFunction: number, victims: readonly Play[]): void {
    for (const each of victims) each.aborted = true;
    const initiatorTaskTag = this.#i.nextTag();
    this.#aborts.set(initiatorTaskTag, victims);
    this.#i.send(
      pdus.encodeTaskManagementRequest({
        immediate: true,
        function: taskFunction,
        lun: 0,
        initiatorTaskTag,
        referencedTaskTag: victims[0]?.tag ?? NO_TAG,
        cmdSn: this.#i.cmdSn,
        expStatSn: 0,
        refCmdSn: 0,
        expDataSn: 0,
      }),
    );
  }

  #ping(): void {
    const immediate = this.#dice.once(2);
    const { cmdSn } = this.#i;
    if (!immediate) {
      if (((this.#maxCmdSn - cmdSn) | 0) < 0) return;
      this.#i.cmdSn = (cmdSn + 1) >>> 0;
    }
    this.#send(
      pdus.encodeNopOut({
        immediate,
        lun: 0,
        initiatorTaskTag: this.#i.nextTag(),
        targetTransferTag: NO_TAG,
        cmdSn,
        expStatSn: this.#statSn,
        data: this.#dice.bytes(this.#dice.roll(100)),
      }),
    );
  }

  #stall(): void {
    if (this.#i.stalled) this.#i.unstall();
    else this.#i.stalled = this.#dice.once(4);
  }

  async #answerSome(): Promise<void> {
    for (let left = this.#dice.roll(4); left > 0; left--) this.#answerOne();
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }

  /** The disk answers any of the operations that it has. */
  #answerOne(): void {
    const { waiting } = this.#device;
    if (waiting.length === 0) return;
    const [one] = waiting.splice(this.#dice.roll(waiting.length), 1);
    const fails = this.failing && this.#dice.once(8);
    one?.run(fails ? new BlockError('io', 'the dice say so', 0) : null);
  }

  /** In one piece, or in two between which the disk may answer. */
  #send(pdu: Pdu): void {
    const bytes = pdus.framePdu(pdu, this.#i.digests);
    if (!this.#dice.once(3)) return this.#i.sendBytes(bytes);
    const cut = 1 + this.#dice.roll(bytes.length - 1);
    this.#i.sendBytes(bytes.subarray(0, cut));
    if (this.#dice.once(2)) this.#answerOne();
    return this.#i.sendBytes(bytes.subarray(cut));
  }

  #take(pdu: Pdu): void {
    switch (pdus.opcodeOf(pdu)) {
      case Opcode.R2T:
        return this.#r2t(pdus.decodeR2t(pdu));
      case Opcode.DATA_IN:
        return this.#dataIn(pdus.decodeDataIn(pdu));
      case Opcode.SCSI_RESPONSE: {
        const response = pdus.decodeScsiResponse(pdu);
        this.#answered(response);
        const play = this.#known(response.initiatorTaskTag);
        return this.#ended(play, response.status, response.sense);
      }
      case Opcode.TASK_MANAGEMENT_RESPONSE: {
        const response = pdus.decodeTaskManagementResponse(pdu);
        this.#answered(response);
        return this.#abortEnded(response.initiatorTaskTag);
      }
      case Opcode.NOP_IN:
        return this.#answered(pdus.decodeNopIn(pdu));
      default:
        return assert.fail(`unexpected opcode 0x${pdus.opcodeOf(pdu).toString(16)}`);
    }
  }

  #r2t(r2t: R2t): void {
    this.#window(r2t.maxCmdSn);
    const play = this.#known(r2t.initiatorTaskTag);
    assert.ok(play.write && r2t.desiredLengthBytes > 0);
    assert.ok(r2t.desiredLengthBytes <= this.#agreed.maxBurstBytes);
    this.#r2ts.push(r2t);
  }

  #dataIn(part: ReturnType<typeof pdus.decodeDataIn>): void {
    const play = this.#known(part.initiatorTaskTag);
    assert.equal(part.bufferOffsetBytes, Buffer.concat(play.got).length);
    assert.equal(part.dataSn, play.inSn);
    play.inSn += 1;
    play.got.push(Buffer.from(part.data));
    if (!part.hasStatus) return this.#window(part.maxCmdSn);
    this.#answered(part);
    return this.#ended(play, part.status, pdus.NO_BYTES);
  }

  /** StatSN without gaps, and a window that never shrinks. */
  #answered(sequence: { readonly statSn: number; readonly maxCmdSn: number }): void {
    assert.equal(sequence.statSn, this.#statSn);
    this.#statSn = (this.#statSn + 1) >>> 0;
    this.#window(sequence.maxCmdSn);
  }

  #window(maxCmdSn: number): void {
    assert.ok(((maxCmdSn - this.#maxCmdSn) | 0) >= 0, 'MaxCmdSN goes forward');
    this.#maxCmdSn = maxCmdSn;
  }

  #known(tag: number): Play {
    const play = this.#plays.get(tag);
    assert.ok(play !== undefined, 'an answer to a task that is not over');
    return play;
  }

  #ended(play: Play, status: number, sense: Uint8Array): void {
    this.#forget(play);
    if (status === 0) this.good += 1;
    if (play.ended !== null) {
      play.ended(status, sense);
    } else if (status !== 0) {
      // Never begun: then it changed nothing.
      if (this.world.excuse(status, sense)) return;
      assert.ok(this.failing && status === 2, `status ${status}`);
      this.world.unknown(play, this.#device);
    } else if (play.write) {
      play.data.copy(this.world.model, play.offset);
    } else {
      const { model } = this.world;
      const expected = model.subarray(play.offset, play.offset + play.data.length);
      assert.ok(Buffer.concat(play.got).equals(expected), 'what was read');
    }
  }

  /** From here on nothing of what was aborted is answered, nor does it change the disk. */
  #abortEnded(tag: number): void {
    const victims = this.#aborts.get(tag) ?? assert.fail('an abort of ours');
    this.#aborts.delete(tag);
    // Of those of a session that is over meanwhile there is nothing to see.
    for (const play of victims) {
      if (play.owner !== this && this.world.plays.has(play)) play.owner.lookAll();
    }
    for (const play of victims) play.owner.giveUp(play);
  }

  /** Takes what came, also what the peer did not take yet. */
  lookAll(): void {
    this.#i.unstall();
    this.look();
  }

  /** It will not be answered, and does nothing any more. */
  giveUp(play: Play): void {
    if (!this.world.plays.has(play)) return;
    this.#forget(play);
    this.world.unknown(play, this.#device);
  }

  /** The session is gone: nothing of it does anything any more. */
  giveUpAll(): void {
    for (const play of this.#plays.values()) this.giveUp(play);
    this.#aborts.clear();
  }

  /** What is not answered, and the target knows nothing of, was ended by others. */
  sweep(known: (tag: number) => boolean): void {
    this.lookAll();
    for (const play of this.#plays.values()) if (!known(play.tag)) this.giveUp(play);
  }

  #forget(play: Play): void {
    this.#plays.delete(play.tag);
    this.world.plays.delete(play);
  }
}
