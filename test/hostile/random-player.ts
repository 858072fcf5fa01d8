/**
 * A session that reads and writes at random, cut into segments at random, and knows at every place
 * what each read must bring.
 */
import assert from 'node:assert/strict';
import { Opcode, decodeDataIn, decodeR2t, decodeScsiResponse } from '#iscsi/pdu/mod.ts';
import { RESERVED_TAG, encodeDataOut, encodeScsiCommand, framePdu } from '#iscsi/pdu/mod.ts';
import { opcodeOf } from '#iscsi/pdu/mod.ts';
import type { Pdu, ScsiCommandPdu } from '#iscsi/pdu/mod.ts';
import type { Dice } from '../fuzz/dice.ts';
import { turns } from './lent-rig.ts';
import { BLOCK_BYTES, readWrite } from './raw-initiator.ts';
import type { RawInitiator } from './raw-initiator.ts';

const CHECK_CONDITION = 2;
/** Task attributes (RFC 7143 §11.3.1). */
const SIMPLE = 1;
const ORDERED = 2;
const BLOCKS_MAX = 64;
const DEPTH_MAX = 32;
const SEGMENT_BYTES_MAX = 9000;

/**
 * What may be in flight together. `order`: writes over writes, and reads of what is being written,
 * which a target must do in the order of their CmdSN; only what is not there yet (a write whose
 * data comes later, a read that may wait) is left alone. `apart`: nothing that overlaps.
 */
export type Rule = 'order' | 'apart';

type Range = { readonly lba: number; readonly count: number };
type Kind = 'read' | 'write' | 'swap' | 'zero' | 'flush';

type Operation = Range & {
  readonly kind: Kind;
  /** Its data, or its end, comes some time after the command. */
  readonly later: boolean;
  readonly status: number;
  /** What a read must bring, and what a write sends. */
  readonly data: Buffer;
  readonly got: Buffer[];
};

type Plan = Range & { readonly kind: Kind; readonly later: boolean };

type End = { readonly status: number; readonly statSn: number; readonly sense?: Uint8Array };

/** Counts what was done. */
export type Score = { reads: number; writes: number; swaps: number; zeroes: number };

export class RandomPlayer {
  /** Whether blocks are given back, too; only where nothing overlaps. */
  discards = false;
  readonly score: Score = { reads: 0, writes: 0, swaps: 0, zeroes: 0 };
  readonly #peer: RawInitiator;
  readonly #dice: Dice;
  readonly #model: Buffer;
  readonly #region: Range;
  readonly #rule: Rule;
  readonly #open = new Map<number, Operation>();
  #wire: Buffer[] = [];
  #serial: number;
  #expStatSn = 0;

  /** `model` is the whole disk; only `region` of it is touched. */
  constructor(
    peer: RawInitiator,
    options: {
      readonly dice: Dice;
      readonly model: Buffer;
      readonly region: Range;
      readonly rule: Rule;
    },
  ) {
    this.#peer = peer;
    this.#dice = options.dice;
    this.#model = options.model;
    this.#region = options.region;
    this.#rule = options.rule;
    this.#serial = options.dice.roll(1 << 20);
  }

  /** Plays so many commands, and sees the end of all. */
  async run(commands: number): Promise<void> {
    let left = commands;
    while (left > 0 || this.#open.size > 0) {
      const depth = 1 + this.#dice.roll(DEPTH_MAX);
      while (left > 0 && this.#open.size < depth && this.#issue()) left -= 1;
      const sent = this.#send();
      let heard = false;
      while (this.#peer.received.length > 0) {
        this.#hear(await this.#peer.next());
        heard = true;
      }
      if (!sent && !heard) this.#hear(await this.#peer.next());
      else if (this.#dice.once(3)) await turns(1);
    }
  }

  #issue(): boolean {
    for (let tries = 0; tries < 4; tries++) {
      const plan = this.#plan();
      if ([...this.#open.values()].some((o) => this.#clash(plan, o))) continue;
      this.#begin(plan);
      return true;
    }
    return false;
  }

  #plan(): Plan {
    const dice = this.#dice;
    const count = 1 + (dice.once(3) ? dice.roll(BLOCKS_MAX) : dice.roll(8));
    const lba = this.#region.lba + dice.roll(this.#region.count - count + 1);
    const roll = dice.roll(1000);
    if (roll < 2) return { kind: 'flush', lba: 0, count: 0, later: true };
    if (roll < 25) return { kind: 'swap', lba, count: 1, later: true };
    if (roll < 35 && this.discards) {
      return { kind: 'zero', lba, count, later: true };
    }
    if (roll < 450) return { kind: 'read', lba, count, later: false };
    return { kind: 'write', lba, count, later: dice.once(10) };
  }

  /** Whether a new command may not be in flight together with an older one. */
  #clash(plan: Plan, old: Operation): boolean {
    const overlap = plan.lba < old.lba + old.count && old.lba < plan.lba + plan.count;
    if (!overlap || (plan.kind === 'read' && old.kind === 'read')) return false;
    if (this.#rule === 'apart') return true;
    return old.later || old.kind === 'read';
  }

  #begin(plan: Plan): void {
    const { kind, lba, count, later } = plan;
    const [from, to] = [lba * BLOCK_BYTES, (lba + count) * BLOCK_BYTES];
    const before = this.#model.subarray(from, to);
    const operation = { lba, count, kind, later, status: 0, got: [] };
    if (kind === 'read') {
      this.score.reads += 1;
      const tag = this.#command(readWrite('read', lba, count), {
        read: true,
        expectedLengthBytes: to - from,
      });
      this.#open.set(tag, { ...operation, data: Buffer.from(before) });
    } else if (kind === 'write') {
      this.score.writes += 1;
      const data = this.#fresh(count);
      data.copy(this.#model, from);
      const tag = this.#write(readWrite('write', lba, count), data, later);
      this.#open.set(tag, { ...operation, data });
    } else if (kind === 'swap') {
      this.#swap(operation, before);
    } else if (kind === 'zero') {
      this.score.zeroes += 1;
      const data = Buffer.alloc(BLOCK_BYTES);
      before.fill(0);
      const tag = this.#whole([0x93, 8, ...wide(lba), 0, 0, 0, count, 0, 0], data);
      this.#open.set(tag, { ...operation, data });
    } else {
      const tag = this.#command([0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0], {});
      this.#open.set(tag, { ...operation, data: Buffer.alloc(0) });
    }
  }

  /** COMPARE AND WRITE with what is there, or with something else. */
  #swap(operation: Omit<Operation, 'data'>, before: Buffer): void {
    this.score.swaps += 1;
    const right = !this.#dice.once(3);
    const data = Buffer.concat([right ? before : this.#fresh(1), this.#fresh(1)]);
    if (right) data.copy(before, 0, BLOCK_BYTES);
    const status = right ? 0 : CHECK_CONDITION;
    const tag = this.#whole([0x89, 0, ...wide(operation.lba), 0, 0, 0, 1, 0, 0], data);
    this.#open.set(tag, { ...operation, status, data });
  }

  /** Blocks that no other write has. */
  #fresh(count: number): Buffer {
    this.#serial += 1;
    const data = Buffer.alloc(count * BLOCK_BYTES, this.#serial & 255);
    for (let n = 0; n < count; n++) {
      data.writeUInt32LE(this.#serial, n * BLOCK_BYTES);
      data.writeUInt32LE(n, (n + 1) * BLOCK_BYTES - 4);
    }
    return data;
  }

  /** A command with all of its data. */
  #whole(cdb: readonly number[], data: Buffer): number {
    return this.#command(cdb, {
      write: true,
      expectedLengthBytes: data.length,
      data,
    });
  }

  /** A write whose data comes at once, in one PDU or many, or partly when it is asked for. */
  #write(cdb: readonly number[], data: Buffer, later: boolean): number {
    if (!later && !this.#dice.once(6)) return this.#whole(cdb, data);
    let at = this.#dice.roll(Math.min(data.length, 3000));
    const tag = this.#command(cdb, {
      write: true,
      final: later,
      expectedLengthBytes: data.length,
      data: data.subarray(0, at),
    });
    if (later) return tag;
    for (let dataSn = 0; at < data.length; dataSn++) {
      const end = Math.min(data.length, at + 1 + this.#dice.roll(SEGMENT_BYTES_MAX));
      this.#dataOut(tag, RESERVED_TAG, dataSn, data, at, end, end === data.length);
      at = end;
    }
    return tag;
  }

  #dataOut(
    initiatorTaskTag: number,
    targetTransferTag: number,
    dataSn: number,
    data: Buffer,
    at: number,
    end: number,
    final: boolean,
  ): void {
    this.#add(
      encodeDataOut({
        final,
        lun: 0,
        initiatorTaskTag,
        targetTransferTag,
        expStatSn: this.#expStatSn,
        dataSn,
        bufferOffsetBytes: at,
        data: data.subarray(at, end),
      }),
    );
  }

  #command(cdb: readonly number[], more: Partial<ScsiCommandPdu>): number {
    // Some wait for all that came before, and all that comes after waits for them.
    const attribute = this.#dice.once(16) ? ORDERED : SIMPLE;
    const expStatSn = this.#expStatSn;
    const pdu = this.#peer.commandPdu(cdb, { expStatSn, attribute, ...more });
    this.#add(encodeScsiCommand(pdu));
    return pdu.initiatorTaskTag;
  }

  #add(pdu: Pdu): void {
    this.#wire.push(Buffer.from(framePdu(pdu, this.#peer.digests)));
  }

  /** Sends what there is, or the beginning of it. */
  #send(): boolean {
    if (this.#wire.length === 0) return false;
    const bytes = Buffer.concat(this.#wire);
    const end = this.#dice.once(2) ? bytes.length : 1 + this.#dice.roll(bytes.length);
    this.#peer.sendBytes(bytes.subarray(0, end));
    this.#wire = end < bytes.length ? [bytes.subarray(end)] : [];
    return true;
  }

  #hear(pdu: Pdu): void {
    const opcode = opcodeOf(pdu);
    if (opcode === Opcode.R2T) {
      this.#answer(pdu);
    } else if (opcode === Opcode.DATA_IN) {
      const part = decodeDataIn(pdu);
      this.#operation(part.initiatorTaskTag).got.push(Buffer.from(part.data));
      if (part.hasStatus) this.#ended(part.initiatorTaskTag, part);
    } else {
      assert.equal(opcode, Opcode.SCSI_RESPONSE, `opcode 0x${opcode.toString(16)}`);
      const response = decodeScsiResponse(pdu);
      this.#ended(response.initiatorTaskTag, response);
    }
  }

  /** Sends what an R2T asks for, in pieces. */
  #answer(pdu: Pdu): void {
    const r2t = decodeR2t(pdu);
    const tag = r2t.initiatorTaskTag;
    const { data } = this.#operation(tag);
    let at = r2t.bufferOffsetBytes;
    const last = at + r2t.desiredLengthBytes;
    for (let dataSn = 0; at < last; dataSn++) {
      const end = Math.min(last, at + 1 + this.#dice.roll(SEGMENT_BYTES_MAX));
      this.#dataOut(tag, r2t.targetTransferTag, dataSn, data, at, end, end === last);
      at = end;
    }
  }

  #operation(tag: number): Operation {
    const operation = this.#open.get(tag);
    assert.ok(operation !== undefined, 'an answer to what was asked');
    return operation;
  }

  #ended(tag: number, end: End): void {
    const { kind, lba, count, data, got, ...expected } = this.#operation(tag);
    this.#open.delete(tag);
    this.#expStatSn = (end.statSn + 1) >>> 0;
    const sense = Buffer.from(end.sense ?? []).toString('hex');
    assert.equal(end.status, expected.status, `${kind} of ${count} at ${lba}: ${sense}`);
    if (kind !== 'read') return;
    const bytes = Buffer.concat(got);
    assert.equal(bytes.length, data.length);
    if (bytes.equals(data)) return;
    const at = bytes.findIndex((byte, n) => byte !== data[n]);
    const block = at - (at % BLOCK_BYTES);
    const [is, was] = [bytes, data].map((all) => all.readUInt32LE(block));
    assert.fail(`block ${lba + block / BLOCK_BYTES} is of write ${is}, not of ${was}`);
  }
}

/** A 64-bit LBA. */
function wide(lba: number): number[] {
  return [0, 0, 0, 0, lba >>> 24, lba >>> 16, lba >>> 8, lba].map((byte) => byte & 255);
}
