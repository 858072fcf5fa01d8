import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import {
  NO_BYTES,
  NO_DIGESTS,
  Opcode,
  decodeDataIn,
  decodeLoginResponse,
  decodeR2t,
  decodeScsiResponse,
  encodeDataOut,
  encodeLoginRequest,
  encodeScsiCommand,
  framePdu,
  opcodeOf,
  parsePdu,
} from '#iscsi/pdu/mod.ts';
import type { Pdu } from '#iscsi/pdu/mod.ts';
import { encodeText } from '#iscsi/text.ts';
import { senseText } from '../conformance/scsi-initiator.ts';
import { cdb10 } from '../sim/cdb.ts';
import type { Answer, Operation } from '../sim/workload.ts';

/** Data of a command that goes with it; the rest waits for R2Ts. A multiple of four, no more. */
const IMMEDIATE_BYTES_MAX = 8192;

const READ_BLOCKS = 512;

/** An answer with all of its sense data. */
export type WireAnswer = Answer & { readonly raw: Buffer };

type Pending = {
  readonly out: Buffer;
  readonly data: Buffer[];
  readonly ended: (answer: WireAnswer) => void;
};

/**
 * An initiator over TCP for tests that kill the target: many commands at once, immediate data and
 * R2Ts. When the connection is gone, commands under way are never answered.
 */
export class WireInitiator {
  readonly #socket: Socket;
  readonly #pending = new Map<number, Pending>();
  #incoming: Buffer = Buffer.alloc(0);
  #cmdSn = 1;
  #tag = 0;
  #loggedIn: (status: number) => void = () => {};
  /** What a callback threw first; the test looks at the end. */
  failure: unknown = null;
  /** Called when one throws. */
  failed: () => void = () => {};

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (data: Buffer) => {
      try {
        this.#received(data);
      } catch (e) {
        this.failure ??= e;
        this.failed();
      }
    });
    // The kill resets the connection.
    socket.on('error', () => {});
  }

  /** Connects, logs in, takes the news that the session is new. Rejects when the target dies. */
  static async login(
    port: number,
    target: string,
    name: string,
    luns: number,
  ): Promise<WireInitiator> {
    const socket = connect({ host: '127.0.0.1', port, noDelay: true });
    await once(socket, 'connect');
    const initiator = new WireInitiator(socket);
    assert.equal(await initiator.#enter(loginRequest(target, name)), 0);
    const cdb = Buffer.alloc(16);
    for (let lun = 0; lun < luns; lun++) {
      await initiator.run(lun, { name: 'TEST UNIT READY', cdb, out: null, inBytes: 0 });
    }
    return initiator;
  }

  /** Sends the one request of a login; resolves to its status. Rejects when the target dies. */
  #enter(request: Pdu): Promise<number> {
    return new Promise((resolve, reject) => {
      const gone = (): void => {
        reject(new Error('the target closed the connection at login'));
      };
      this.#socket.once('close', gone);
      this.#loggedIn = (status) => {
        this.#socket.off('close', gone);
        resolve(status);
      };
      this.#socket.write(framePdu(request, NO_DIGESTS));
    });
  }

  /** Commands without an answer. */
  get underWay(): number {
    return this.#pending.size;
  }

  /** Sends a command; its `ended` is called when it is answered, then `then`. */
  start(lun: number, operation: Operation, then: () => void = () => {}): void {
    this.#send(lun, operation, (answer) => {
      operation.ended(answer);
      then();
    });
  }

  #send(
    lun: number,
    operation: Omit<Operation, 'ended' | 'lost'>,
    ended: (answer: WireAnswer) => void,
  ): void {
    const out = operation.out ?? Buffer.alloc(0);
    this.#tag += 1;
    const tag = this.#tag;
    this.#pending.set(tag, { out, data: [], ended });
    const pdu = encodeScsiCommand({
      immediate: false,
      final: true,
      read: operation.inBytes > 0,
      write: out.length > 0,
      attribute: 1,
      lun,
      initiatorTaskTag: tag,
      expectedLengthBytes: out.length > 0 ? out.length : operation.inBytes,
      cmdSn: this.#cmdSn++,
      expStatSn: 0,
      cdb: operation.cdb,
      extendedCdb: NO_BYTES,
      readLengthBytes: null,
      data: out.subarray(0, IMMEDIATE_BYTES_MAX),
    });
    this.#socket.write(framePdu(pdu, NO_DIGESTS));
  }

  /** The content of a disk, read in pieces that every target takes. */
  async readAll(lun: number, blocks: number): Promise<Buffer> {
    const pieces: Buffer[] = [];
    for (let lba = 0; lba < blocks; lba += READ_BLOCKS) {
      const count = Math.min(READ_BLOCKS, blocks - lba);
      const cdb = cdb10(0x28, 0, lba, count);
      const answer = await this.run(lun, { name: 'READ', cdb, out: null, inBytes: count * 512 });
      assert.equal(answer.status, 0, `READ: sense ${answer.sense}`);
      pieces.push(answer.data);
    }
    return Buffer.concat(pieces);
  }

  /** Resolves when the target is gone. */
  async gone(): Promise<void> {
    if (!this.#socket.closed) await once(this.#socket, 'close');
  }

  destroy(): void {
    this.#socket.destroy();
  }

  /** Sends a command and waits for its answer. Rejects when the target dies. */
  run(lun: number, operation: Omit<Operation, 'ended' | 'lost'>): Promise<WireAnswer> {
    return new Promise((resolve, reject) => {
      const gone = (): void => {
        reject(new Error('the target is gone'));
      };
      this.#socket.once('close', gone);
      this.#send(lun, operation, (answer) => {
        this.#socket.off('close', gone);
        resolve(answer);
      });
    });
  }

  #received(data: Buffer): void {
    this.#incoming = this.#incoming.length === 0 ? data : Buffer.concat([this.#incoming, data]);
    while (this.#incoming.length >= 48) {
      const dataBytes = this.#incoming.readUInt32BE(4) & 0xffffff;
      const total = 48 + dataBytes + (-dataBytes & 3);
      if (this.#incoming.length < total) return;
      const pdu = parsePdu(this.#incoming.subarray(0, total), NO_DIGESTS);
      this.#incoming = this.#incoming.subarray(total);
      this.#pdu(pdu);
    }
  }

  #pdu(pdu: Pdu): void {
    const opcode = opcodeOf(pdu);
    if (opcode === Opcode.R2T) return this.#dataOut(pdu);
    if (opcode === Opcode.LOGIN_RESPONSE) return this.#loggedIn(decodeLoginResponse(pdu).status);
    // A ping to who said nothing for a while; what is sent next is answer enough.
    if (opcode === Opcode.NOP_IN) return undefined;
    if (opcode === Opcode.DATA_IN) {
      const p = decodeDataIn(pdu);
      const pending = this.#pendingOf(p.initiatorTaskTag);
      pending.data.push(Buffer.from(p.data));
      if (p.hasStatus) this.#end(p.initiatorTaskTag, p.status, NO_BYTES);
      return undefined;
    }
    assert.equal(opcode, Opcode.SCSI_RESPONSE);
    const p = decodeScsiResponse(pdu);
    return this.#end(p.initiatorTaskTag, p.status, p.sense);
  }

  #end(tag: number, status: number, sense: Uint8Array): void {
    const pending = this.#pendingOf(tag);
    this.#pending.delete(tag);
    pending.ended({
      status,
      sense: sense.length > 0 ? senseText(sense) : '',
      raw: Buffer.from(sense),
      data: Buffer.concat(pending.data),
    });
  }

  #pendingOf(tag: number): Pending {
    const pending = this.#pending.get(tag);
    assert.ok(pending !== undefined, `an answer to ${tag}, which is not under way`);
    return pending;
  }

  #dataOut(pdu: Pdu): void {
    const r2t = decodeR2t(pdu);
    const { out } = this.#pendingOf(r2t.initiatorTaskTag);
    const from = r2t.bufferOffsetBytes;
    const answer = encodeDataOut({
      final: true,
      lun: r2t.lun,
      initiatorTaskTag: r2t.initiatorTaskTag,
      targetTransferTag: r2t.targetTransferTag,
      expStatSn: 0,
      dataSn: 0,
      bufferOffsetBytes: from,
      data: out.subarray(from, from + r2t.desiredLengthBytes),
    });
    this.#socket.write(framePdu(answer, NO_DIGESTS));
  }
}

function loginRequest(target: string, name: string): Pdu {
  return encodeLoginRequest({
    transit: true,
    more: false,
    currentStage: 1,
    nextStage: 3,
    versionMax: 0,
    versionMin: 0,
    isid: '800000000001',
    tsih: 0,
    initiatorTaskTag: 1,
    cid: 0,
    cmdSn: 1,
    expStatSn: 0,
    data: encodeText([
      ['InitiatorName', `iqn.2026-11.test:${name}`],
      ['TargetName', target],
      ['ImmediateData', 'Yes'],
      ['InitialR2T', 'Yes'],
      ['MaxRecvDataSegmentLength', '262144'],
    ]),
  });
}
