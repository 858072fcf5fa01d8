import { NO_BYTES, Opcode, RESERVED_TAG, decodeR2t, encodeDataOut } from '#iscsi/pdu/mod.ts';
import { encodeLogoutRequest, encodeNopOut, encodeScsiCommand } from '#iscsi/pdu/mod.ts';
import { encodeSnackRequest, encodeTaskManagementRequest } from '#iscsi/pdu/mod.ts';
import { encodeTextRequest, framePdu, opcodeOf } from '#iscsi/pdu/mod.ts';
import type { Pdu } from '#iscsi/pdu/mod.ts';
import type { TestInitiator } from '#iscsi/testing/initiator.ts';
import type { Dice } from './dice.ts';

const BLOCK = 512;
const MESSAGES_MAX = 14;
const AT_LUN_LOW = 9;
/** Bytes of the header that decide most: opcode, flags, lengths, tags, sequence numbers, offset. */
const FIELDS = [0, 1, 4, 5, 6, 7, 8, 16, 17, 18, 19, 20, 21, 22, 23, 24, 27, 28, 36, 39, 40, 43];
const CDBS: readonly (readonly number[])[] = [
  [0x00],
  [0x03, 0, 0, 0, 252],
  [0x12, 0, 0, 0, 96],
  [0x12, 1, 0x83, 0, 255],
  [0x1a, 0, 0x3f, 0, 255],
  [0x25],
  [0x35],
  [0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0],
  [0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32],
  [0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0],
];

/** The side of an initiator that a script needs, whatever it is connected by. */
export type Speaker = Pick<
  TestInitiator,
  'received' | 'digests' | 'cmdSn' | 'nextTag' | 'commandPdu'
>;

/**
 * One session's messages: a script of sensible ones, of which some are spoilt on the way. It
 * answers R2Ts as they come, so that deep states are reached, and keeps a few tags in use.
 */
export class SessionScript {
  readonly #dice: Dice;
  readonly #i: Speaker;
  readonly #tags: number[] = [RESERVED_TAG];

  constructor(dice: Dice, initiator: Speaker) {
    this.#dice = dice;
    this.#i = initiator;
  }

  /** The bytes to send, piece by piece. */
  *pieces(): Generator<Uint8Array> {
    const count = 2 + this.#dice.roll(MESSAGES_MAX);
    // One in eight sessions is left as it is: it has to work.
    const spoils = this.#dice.once(8) ? 0 : 1 + this.#dice.roll(4);
    for (let n = 0; n < count; n++) {
      const pdu = this.#message();
      const spoil = this.#dice.roll(count) < spoils;
      yield* this.#cut(spoil ? this.#spoil(pdu) : framePdu(pdu, this.#i.digests));
    }
  }

  /** Most messages arrive whole, some in two or three parts. */
  *#cut(bytes: Uint8Array): Generator<Uint8Array> {
    if (this.#dice.roll(4) > 0 || bytes.length < 2) {
      yield bytes;
      return;
    }
    const at = 1 + this.#dice.roll(bytes.length - 1);
    yield bytes.subarray(0, at);
    yield bytes.subarray(at);
  }

  #message(): Pdu {
    const asked = this.#i.received.findIndex((p) => opcodeOf(p) === Opcode.R2T);
    if (asked >= 0 && this.#dice.roll(4) > 0) {
      const [pdu] = this.#i.received.splice(asked, 1);
      if (pdu !== undefined) return this.#solicited(pdu);
    }
    const kind = this.#dice.roll(16);
    if (kind < 4) return this.#write();
    if (kind < 7) return this.#read();
    if (kind < 9) return this.#other();
    if (kind < 11) return this.#unsolicited();
    return this.#service(kind - 11);
  }

  #service(kind: number): Pdu {
    const dice = this.#dice;
    const immediate = dice.once(2);
    const common = { lun: this.#lun(), expStatSn: 0, cmdSn: this.#sn(immediate), immediate };
    const initiatorTaskTag = dice.pick([...this.#tags, this.#i.nextTag()]);
    const targetTransferTag = dice.pick([RESERVED_TAG, RESERVED_TAG, 1, dice.oddNumber()]);
    switch (kind) {
      case 0:
        return encodeTaskManagementRequest({
          ...common,
          function: dice.roll(10),
          initiatorTaskTag,
          referencedTaskTag: dice.pick(this.#tags),
          refCmdSn: dice.oddNumber(),
          expDataSn: 0,
        });
      case 1: {
        const data = Buffer.from(dice.pick(['SendTargets=\0', 'SendTargets=All\0', 'a=b\0', 'x']));
        const more = dice.once(4);
        const final = !more && dice.roll(4) > 0;
        return encodeTextRequest({
          ...common,
          initiatorTaskTag,
          targetTransferTag,
          final,
          more,
          data,
        });
      }
      case 2:
        if (!dice.once(8)) break;
        return encodeLogoutRequest({ ...common, initiatorTaskTag, reason: dice.roll(4), cid: 0 });
      case 3:
        if (!dice.once(4)) break;
        return encodeSnackRequest({
          ...common,
          initiatorTaskTag,
          targetTransferTag,
          type: dice.roll(4),
          begRun: 0,
          runLength: 0,
        });
      default:
    }
    const data = dice.bytes(dice.roll(64));
    return encodeNopOut({ ...common, initiatorTaskTag, targetTransferTag, data });
  }

  /** Units 0, and some that are not there; 1 is the witness's. */
  #lun(): number {
    return this.#dice.once(16) ? this.#dice.pick([2, 255, 256, 0x3fff]) : 0;
  }

  #sn(immediate: boolean): number {
    return immediate ? this.#i.cmdSn : this.#i.cmdSn++;
  }

  #command(cdb: readonly number[], more: Parameters<Speaker['commandPdu']>[1]): Pdu {
    const dice = this.#dice;
    const attribute = dice.pick([0, 1, 1, 1, 2, 3, 4, 7]);
    const pdu = this.#i.commandPdu(cdb, { lun: this.#lun(), attribute, ...more });
    const immediate = dice.once(10);
    if (immediate) this.#i.cmdSn -= 1;
    this.#tags.push(pdu.initiatorTaskTag);
    return encodeScsiCommand({ ...pdu, immediate });
  }

  #transfer(opcode: number, blocks: number): number[] {
    const lba = this.#dice.once(8) ? 2040 + this.#dice.roll(16) : this.#dice.roll(64);
    return [opcode, 0, 0, 0, lba >> 8, lba & 255, 0, 0, blocks, 0];
  }

  #read(): Pdu {
    const blocks = this.#dice.roll(12);
    const expectedLengthBytes = this.#expected(blocks * BLOCK);
    return this.#command(this.#transfer(0x28, blocks), { read: true, expectedLengthBytes });
  }

  #write(): Pdu {
    const blocks = this.#dice.roll(12);
    const expectedLengthBytes = this.#expected(blocks * BLOCK);
    const immediate = this.#dice.pick([0, 0, expectedLengthBytes, this.#dice.roll(1025)]);
    const data = new Uint8Array(Math.min(immediate, 8 * BLOCK)).fill(0x77);
    const final = this.#dice.roll(3) > 0;
    const more = { write: true, expectedLengthBytes, data, final };
    return this.#command(this.#transfer(this.#dice.pick([0x2a, 0x2a, 0x2e]), blocks), more);
  }

  #expected(bytes: number): number {
    return this.#dice.once(6) ? this.#dice.oddNumber() % (64 * BLOCK) : bytes;
  }

  #other(): Pdu {
    const cdb = this.#dice.pick(CDBS);
    return this.#command(cdb, { read: true, expectedLengthBytes: this.#dice.roll(300) });
  }

  #solicited(pdu: Pdu): Pdu {
    const r2t = decodeR2t(pdu);
    return encodeDataOut({
      final: true,
      lun: r2t.lun,
      initiatorTaskTag: r2t.initiatorTaskTag,
      targetTransferTag: r2t.targetTransferTag,
      expStatSn: 0,
      dataSn: 0,
      bufferOffsetBytes: r2t.bufferOffsetBytes,
      data: new Uint8Array(Math.min(r2t.desiredLengthBytes, 64 * BLOCK)).fill(0x78),
    });
  }

  #unsolicited(): Pdu {
    const dice = this.#dice;
    return encodeDataOut({
      final: dice.once(2),
      lun: 0,
      initiatorTaskTag: dice.pick(this.#tags),
      targetTransferTag: dice.pick([RESERVED_TAG, RESERVED_TAG, dice.roll(8) << 16]),
      expStatSn: 0,
      dataSn: dice.roll(3),
      bufferOffsetBytes: dice.pick([0, 0, 512, 1024, dice.oddNumber()]),
      data: dice.once(4) ? NO_BYTES : new Uint8Array(dice.roll(4) * BLOCK).fill(0x79),
    });
  }

  /** One way to be wrong, before or after the digests are worked out. */
  #spoil(pdu: Pdu): Uint8Array {
    const dice = this.#dice;
    if (dice.once(8)) {
      const ahs = dice.bytes(4 * (1 + dice.roll(6)));
      pdu.header[4] = ahs.length / 4;
      return framePdu({ ...pdu, ahs }, this.#i.digests);
    }
    if (dice.once(3)) {
      this.#spoilHeader(pdu.header);
      return framePdu(pdu, this.#i.digests);
    }
    const bytes = framePdu(pdu, this.#i.digests);
    if (dice.once(6)) return bytes.subarray(0, dice.roll(bytes.length));
    if (dice.once(6)) return Buffer.concat([bytes, bytes]);
    this.#spoilHeader(bytes);
    if (dice.once(2)) bytes[dice.roll(bytes.length)] = dice.roll(256);
    this.#spareWitness(bytes);
    return bytes;
  }

  #spoilHeader(header: Uint8Array): void {
    const dice = this.#dice;
    for (let n = 1 + dice.roll(2); n > 0; n--) {
      const at = dice.pick(FIELDS);
      // A length of megabytes is a close or a wait for megabytes; a few of these are enough.
      if (at === 5 && !dice.once(10)) continue;
      header[at] = dice.pick([0, 1, 0x40, 0x7f, 0x80, 0xff, dice.roll(256)]);
    }
    this.#spareWitness(header);
  }

  #spareWitness(header: Uint8Array): void {
    if (header.length > AT_LUN_LOW && (header[AT_LUN_LOW] ?? 0) === 1) header[AT_LUN_LOW] = 0;
  }
}
