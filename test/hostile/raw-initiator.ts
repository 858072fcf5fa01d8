/**
 * An initiator over a real socket that sends whatever a test wants, whole PDUs or loose bytes, and
 * shows what came back.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { NO_BYTES, NO_DIGESTS, Opcode, RESERVED_TAG, Stage } from '#iscsi/pdu/mod.ts';
import { decodeDataIn, decodeLoginResponse, decodeNopIn, decodeR2t } from '#iscsi/pdu/mod.ts';
import { decodeScsiResponse, encodeDataOut, encodeLoginRequest } from '#iscsi/pdu/mod.ts';
import { encodeNopOut, encodeScsiCommand, framePdu, lengthsOf, opcodeOf } from '#iscsi/pdu/mod.ts';
import { encodeTaskManagementRequest, paddingBytes, parsePdu } from '#iscsi/pdu/mod.ts';
import type { DataOut, Digests, LoginRequest, LoginResponse } from '#iscsi/pdu/mod.ts';
import type { Pdu, R2t, ScsiCommandPdu } from '#iscsi/pdu/mod.ts';
import { decodeText, encodeText } from '#iscsi/text.ts';
import type { KeyValue } from '#iscsi/text.ts';

export const BLOCK_BYTES = 512;

/** What Linux's open-iscsi offers, in short. */
export const USUAL_KEYS: readonly KeyValue[] = [
  ['InitialR2T', 'No'],
  ['ImmediateData', 'Yes'],
  ['MaxRecvDataSegmentLength', '262144'],
  ['MaxBurstLength', '1048576'],
  ['FirstBurstLength', '262144'],
];

/** Where to knock, and from where. */
export type Dial = {
  readonly port: number;
  readonly host?: string;
  /** The source address, for floods that come from many. */
  readonly from?: string;
  /** False: the socket is never read. */
  readonly reads?: boolean;
};

export type RawLogin = {
  readonly initiator?: string;
  readonly target?: string;
  readonly isid?: string;
  readonly keys?: readonly KeyValue[];
  readonly discovery?: boolean;
};

export type RawResult = {
  readonly status: number;
  readonly sense: Uint8Array;
  readonly data: Buffer;
  readonly residual: string;
  readonly residualBytes: number;
};

/** How a connection stands: what came, and whether the target has hung up. */
export class RawInitiator {
  readonly socket: Socket;
  readonly received: Pdu[] = [];
  digests: Digests = NO_DIGESTS;
  closed = false;
  cmdSn = 1;
  #tag = 0x1000;
  #incoming: Buffer = Buffer.alloc(0);
  readonly #waiting: (() => void)[] = [];

  constructor(socket: Socket, reads: boolean) {
    this.socket = socket;
    const gone = (): void => {
      this.closed = true;
      this.#wake();
    };
    socket.on('error', gone);
    socket.on('end', gone);
    socket.on('close', gone);
    if (reads) {
      socket.on('data', (bytes) => {
        this.#parse(bytes as Buffer);
      });
    }
  }

  /** Connects; throws when nobody takes the connection. */
  static async open(to: Dial): Promise<RawInitiator> {
    const host = to.host ?? '127.0.0.1';
    const from = to.from === undefined ? {} : { localAddress: to.from };
    const socket = connect({ host, port: to.port, noDelay: true, allowHalfOpen: true, ...from });
    const initiator = new RawInitiator(socket, to.reads ?? true);
    await once(socket, 'connect');
    return initiator;
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }

  #parse(bytes: Buffer): void {
    this.#incoming = this.#incoming.length === 0 ? bytes : Buffer.concat([this.#incoming, bytes]);
    for (;;) {
      const total = pduBytes(this.#incoming, this.digests);
      if (total === null || total > this.#incoming.length) break;
      const pdu = parsePdu(this.#incoming.subarray(0, total), this.digests);
      this.received.push(pdu);
      this.#incoming = this.#incoming.subarray(total);
      if (opcodeOf(pdu) === Opcode.LOGIN_RESPONSE) this.#adopt(decodeLoginResponse(pdu));
    }
    this.#wake();
  }

  /** What was agreed holds from the next PDU on, which may be in the same packet. */
  #adopt(response: LoginResponse): void {
    if (response.status !== 0 || !response.transit || response.nextStage !== 3) return;
    const keys = new Map(decodeText(response.data));
    const on = (key: string): boolean => keys.get(key) === 'CRC32C';
    this.digests = { header: on('HeaderDigest'), data: on('DataDigest') };
  }

  /** The next PDU; throws when the connection ends first. */
  async next(): Promise<Pdu> {
    for (;;) {
      const pdu = this.received.shift();
      if (pdu !== undefined) return pdu;
      assert.ok(!this.closed, 'the target closed the connection');
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  /** Resolves when the target has hung up; what it said before is in `received`. */
  async ended(): Promise<void> {
    while (!this.closed) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  /** Hangs up with a reset. */
  cut(): void {
    this.socket.resetAndDestroy();
  }

  sendBytes(bytes: Uint8Array): void {
    this.socket.write(bytes);
  }

  send(pdu: Pdu): void {
    this.socket.write(framePdu(pdu, this.digests));
  }

  nextTag(): number {
    this.#tag += 1;
    return this.#tag;
  }

  /** One login request as it stands; the answer's status, flags and keys are for the test. */
  async loginStep(
    text: readonly KeyValue[],
    more: Partial<LoginRequest> = {},
  ): Promise<LoginAnswer> {
    this.send(encodeLoginRequest(loginRequest(text, more)));
    return this.answer();
  }

  /** The answer to a login request that was sent. */
  async answer(): Promise<LoginAnswer> {
    return answerOf(decodeLoginResponse(await this.next()));
  }

  /** Logs in by the operational stage alone; fails the test unless it is granted. */
  async login(options: RawLogin = {}): Promise<LoginAnswer> {
    const answer = await this.tryLogin(options);
    assert.equal(answer.status, 0, 'the login is granted');
    return answer;
  }

  async tryLogin(options: RawLogin = {}): Promise<LoginAnswer> {
    const kind: readonly KeyValue[] =
      options.discovery === true
        ? [['SessionType', 'Discovery']]
        : [['TargetName', options.target ?? 'iqn.2026-11.test:disk']];
    const initiator = options.initiator ?? 'iqn.2026-11.test:initiator';
    const keys = options.keys ?? USUAL_KEYS;
    const text: readonly KeyValue[] = [['InitiatorName', initiator], ...kind, ...keys];
    return this.loginStep(text, { isid: options.isid ?? '800000000001' });
  }

  /** A SCSI Command PDU with sensible fields; takes a CmdSN unless it is immediate. */
  commandPdu(cdb: readonly number[], more: Partial<ScsiCommandPdu> = {}): ScsiCommandPdu {
    const cmdSn = this.cmdSn;
    if (more.immediate !== true) this.cmdSn = (this.cmdSn + 1) >>> 0;
    return {
      immediate: false,
      final: true,
      read: false,
      write: false,
      attribute: 1,
      lun: 0,
      initiatorTaskTag: this.nextTag(),
      expectedLengthBytes: 0,
      cmdSn,
      expStatSn: 0,
      cdb: Uint8Array.from(cdb),
      extendedCdb: NO_BYTES,
      readLengthBytes: null,
      data: NO_BYTES,
      ...more,
    };
  }

  /** Sends a command and returns its tag. */
  issue(cdb: readonly number[], more: Partial<ScsiCommandPdu> = {}): number {
    const pdu = this.commandPdu(cdb, more);
    this.send(encodeScsiCommand(pdu));
    return pdu.initiatorTaskTag;
  }

  /** A write of whole blocks whose data goes with the command. */
  write(lba: number, data: Uint8Array): number {
    const blocks = data.length / BLOCK_BYTES;
    return this.issue(readWrite('write', lba, blocks), {
      write: true,
      expectedLengthBytes: data.length,
      data,
    });
  }

  /** Reads blocks; fails the test unless the status is GOOD. */
  async read(lba: number, blocks: number): Promise<Buffer> {
    const expectedLengthBytes = blocks * BLOCK_BYTES;
    const tag = this.issue(readWrite('read', lba, blocks), { read: true, expectedLengthBytes });
    const result = await this.result(tag);
    assert.equal(result.status, 0);
    return result.data;
  }

  /** TEST UNIT READY until it is GOOD: takes the unit attentions of a new nexus. */
  async settle(): Promise<void> {
    for (let n = 0; n < 4; n++) {
      if ((await this.result(this.issue([0, 0, 0, 0, 0, 0]))).status === 0) return;
    }
    assert.fail('the unit is not ready');
  }

  /**
   * Data and status of a command, with its R2Ts answered from `write`. A ping of the target is
   * answered, too: it comes to whoever said nothing for a while, as happens on a busy host.
   */
  async result(tag: number, write: Uint8Array = NO_BYTES): Promise<RawResult> {
    const data: Buffer[] = [];
    for (;;) {
      const pdu = await this.next();
      const opcode = opcodeOf(pdu);
      if (opcode === Opcode.R2T) {
        const r2t = decodeR2t(pdu);
        const from = r2t.bufferOffsetBytes;
        this.dataOut(r2t, { data: write.slice(from, from + r2t.desiredLengthBytes) });
      } else if (opcode === Opcode.DATA_IN) {
        const part = decodeDataIn(pdu);
        assert.equal(part.initiatorTaskTag, tag, 'data of this task');
        data.push(Buffer.from(part.data));
        if (part.hasStatus) return { ...part, sense: NO_BYTES, data: Buffer.concat(data) };
      } else if (opcode === Opcode.NOP_IN && decodeNopIn(pdu).initiatorTaskTag === RESERVED_TAG) {
        this.#pong(decodeNopIn(pdu).targetTransferTag);
      } else {
        assert.equal(opcode, Opcode.SCSI_RESPONSE, `unexpected opcode 0x${opcode.toString(16)}`);
        const response = decodeScsiResponse(pdu);
        assert.equal(response.initiatorTaskTag, tag, 'status of this task');
        return { ...response, data: Buffer.concat(data) };
      }
    }
  }

  /** A Data-Out for an R2T, or with fields of its own. */
  dataOut(r2t: R2t, more: Partial<DataOut> = {}): void {
    this.send(
      encodeDataOut({
        final: true,
        lun: 0,
        initiatorTaskTag: r2t.initiatorTaskTag,
        targetTransferTag: r2t.targetTransferTag,
        expStatSn: 0,
        dataSn: 0,
        bufferOffsetBytes: r2t.bufferOffsetBytes,
        data: NO_BYTES,
        ...more,
      }),
    );
  }

  /** The answer to a ping of the target. */
  #pong(targetTransferTag: number): void {
    const tags = { initiatorTaskTag: RESERVED_TAG, targetTransferTag, lun: 0 };
    const sn = { cmdSn: this.cmdSn, expStatSn: 0 };
    this.send(encodeNopOut({ immediate: true, ...tags, ...sn, data: NO_BYTES }));
  }

  /** A ping; its echo is the proof that everything before it was taken. */
  nop(tag: number, data: Uint8Array = NO_BYTES): void {
    this.send(
      encodeNopOut({
        immediate: true,
        lun: 0,
        initiatorTaskTag: tag,
        targetTransferTag: RESERVED_TAG,
        cmdSn: this.cmdSn,
        expStatSn: 0,
        data,
      }),
    );
  }
}

export type LoginAnswer = {
  readonly status: number;
  readonly transit: boolean;
  readonly more: boolean;
  readonly nextStage: number;
  readonly tsih: number;
  readonly keys: ReadonlyMap<string, string>;
  readonly response: LoginResponse;
};

function answerOf(response: LoginResponse): LoginAnswer {
  const { status, transit, more, nextStage, tsih } = response;
  const keys = new Map(more ? [] : decodeText(response.data));
  return { status, transit, more, nextStage, tsih, keys, response };
}

/** A login request of the operational stage that wants the full feature phase. */
export function loginRequest(
  text: readonly KeyValue[],
  more: Partial<LoginRequest> = {},
): LoginRequest {
  return {
    transit: true,
    more: false,
    currentStage: Stage.OPERATIONAL,
    nextStage: Stage.FULL_FEATURE,
    versionMax: 0,
    versionMin: 0,
    isid: '800000000001',
    tsih: 0,
    initiatorTaskTag: 1,
    cid: 0,
    cmdSn: 1,
    expStatSn: 0,
    data: encodeText(text),
    ...more,
  };
}

/** READ(10) or WRITE(10). */
export function readWrite(operation: 'read' | 'write', lba: number, blocks: number): number[] {
  const bytes = [lba >>> 24, lba >>> 16, lba >>> 8, lba].map((b) => b & 255);
  return [operation === 'read' ? 0x28 : 0x2a, 0, ...bytes, 0, blocks >>> 8, blocks & 255, 0];
}

/** A task management request, immediate; `tag`: the task that it is about. */
export function taskManagement(peer: RawInitiator, fn: number, tag = 0xffffffff): Pdu {
  return encodeTaskManagementRequest({
    immediate: true,
    function: fn,
    lun: 0,
    initiatorTaskTag: peer.nextTag(),
    referencedTaskTag: tag,
    cmdSn: peer.cmdSn,
    expStatSn: 0,
    refCmdSn: 0,
    expDataSn: 0,
  });
}

/** Length on the wire of the PDU at the start of `bytes`; null while its header is incomplete. */
function pduBytes(bytes: Buffer, digests: Digests): number | null {
  if (bytes.length < 48) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const { ahsBytes, dataBytes } = lengthsOf(view);
  const body = dataBytes + paddingBytes(dataBytes);
  const digest = (digests.header ? 4 : 0) + (digests.data && body > 0 ? 4 : 0);
  return 48 + ahsBytes + body + digest;
}
