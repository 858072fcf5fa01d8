import { InternalError } from '#base/mod.ts';
import type { Connection } from '../connection.ts';
import type { Chunk } from '../data-plane.ts';
import { Opcode, RESERVED_TAG, Stage, decodeDataIn, decodeLoginResponse } from '../pdu/mod.ts';
import { NO_BYTES, NO_DIGESTS, decodeR2t, decodeScsiResponse, encodeDataOut } from '../pdu/mod.ts';
import { encodeLoginRequest, encodeScsiCommand, framePdu, lengthsOf } from '../pdu/mod.ts';
import { opcodeOf, paddingBytes, parsePdu } from '../pdu/mod.ts';
import type { Digests, LoginRequest, LoginResponse, Pdu, ScsiCommandPdu } from '../pdu/mod.ts';
import type { PortalAddress } from '../policy.ts';
import type { TargetServer } from '../server.ts';
import { decodeText, encodeText } from '../text.ts';
import type { KeyValue } from '../text.ts';

/** Keys that make a session with everything on, as open-iscsi offers them. */
export const USUAL_KEYS: readonly KeyValue[] = [
  ['InitialR2T', 'No'],
  ['ImmediateData', 'Yes'],
  ['MaxRecvDataSegmentLength', '262144'],
  ['MaxBurstLength', '1048576'],
  ['FirstBurstLength', '262144'],
  ['MaxOutstandingR2T', '1'],
  ['ErrorRecoveryLevel', '0'],
];

/** What iPXE offers, to the letter (its iscsi.c). */
export const IPXE_KEYS: readonly KeyValue[] = [
  ['HeaderDigest', 'None'],
  ['DataDigest', 'None'],
  ['MaxConnections', '1'],
  ['InitialR2T', 'Yes'],
  ['ImmediateData', 'No'],
  ['MaxRecvDataSegmentLength', '8192'],
  ['MaxBurstLength', '262144'],
  ['FirstBurstLength', '65536'],
  ['DefaultTime2Wait', '0'],
  ['DefaultTime2Retain', '0'],
  ['MaxOutstandingR2T', '1'],
  ['DataPDUInOrder', 'Yes'],
  ['DataSequenceInOrder', 'Yes'],
  ['ErrorRecoveryLevel', '0'],
];

export type LoginOptions = {
  readonly initiator?: string;
  readonly target?: string;
  readonly keys?: readonly KeyValue[];
  readonly isid?: string;
  readonly tsih?: number;
  readonly discovery?: boolean;
};

export type CommandOptions = {
  readonly lun?: number;
  readonly readBytes?: number;
  readonly write?: Uint8Array;
  /** Bytes of `write` that go with the command; the rest waits for R2Ts. */
  readonly immediateBytes?: number;
  readonly attribute?: number;
};

export type CommandResult = {
  readonly status: number;
  readonly sense: Uint8Array;
  readonly data: Buffer;
  readonly residual: string;
  readonly residualBytes: number;
};

/**
 * An initiator for tests: talks to a `Connection` of a real `TargetServer` without a socket. What
 * the target sends is parsed into `received`; `next` waits for it. Bytes go in as they are given,
 * so that tests can send anything.
 */
export class TestInitiator {
  readonly connection: Connection;
  readonly received: Pdu[] = [];
  readonly #waiting: (() => void)[] = [];
  #incoming = Buffer.alloc(0);
  readonly #lent = Buffer.alloc(64 * 1024);
  digests: Digests = NO_DIGESTS;
  closed = false;
  paused = false;
  /** While true the "kernel" takes nothing: chunks pile up in `stuck`. */
  stalled = false;
  readonly stuck: { chunk: Chunk; lengthBytes: number }[] = [];
  cmdSn = 1;
  #tag = 100;

  constructor(server: TargetServer, peer: PortalAddress = { address: '10.0.0.9', port: 4000 }) {
    this.connection = server.connect(
      {
        send: (chunk, lengthBytes) => this.#take(chunk, lengthBytes),
        pause: () => {
          this.paused = true;
        },
        resume: () => {
          this.paused = false;
        },
        end: () => {
          this.#close();
        },
        abort: () => {
          this.#close();
        },
      },
      { peer, portal: { address: '10.0.0.1', port: 3260 } },
    );
  }

  #take(chunk: Chunk, lengthBytes: number): boolean {
    if (this.stalled) {
      this.stuck.push({ chunk, lengthBytes });
      return false;
    }
    this.#parse(chunk.bytes.subarray(0, lengthBytes));
    return true;
  }

  /** The "kernel" takes everything again. */
  unstall(): void {
    while (this.stuck.length > 0) {
      const { chunk, lengthBytes } = this.stuck.shift()!;
      this.#parse(chunk.bytes.subarray(0, lengthBytes));
      // What this makes the target send goes behind what is stuck still.
      this.stalled = this.stuck.length > 0;
      this.connection.sent(chunk, lengthBytes);
    }
    this.stalled = false;
  }

  #close(): void {
    this.closed = true;
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }

  #parse(bytes: Uint8Array): void {
    this.#incoming = Buffer.concat([this.#incoming, bytes]);
    for (;;) {
      const total = pduLength(this.#incoming, this.digests);
      if (total === null || total > this.#incoming.length) break;
      this.received.push(parsePdu(this.#incoming.subarray(0, total), this.digests));
      this.#incoming = this.#incoming.subarray(total);
    }
    this.#wake();
  }

  /** Hands bytes to the target as one piece. */
  sendBytes(bytes: Uint8Array): void {
    // One Buffer for all, as a socket lends it: what the target kept of it would be seen to change.
    const lent = this.#lent.length >= bytes.length ? this.#lent : Buffer.alloc(bytes.length);
    lent.set(bytes);
    const view = new DataView(lent.buffer, lent.byteOffset, lent.length);
    this.connection.received(lent, view, 0, bytes.length);
    lent.fill(0xee, 0, bytes.length);
  }

  send(pdu: Pdu): void {
    this.sendBytes(framePdu(pdu, this.digests));
  }

  /** The next PDU from the target; throws when the connection ends first. */
  async next(): Promise<Pdu> {
    for (;;) {
      const pdu = this.received.shift();
      if (pdu !== undefined) return pdu;
      if (this.closed) throw new InternalError('the target closed the connection');
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  /** Resolves when the target has closed. */
  async ended(): Promise<void> {
    while (!this.closed) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  nextTag(): number {
    this.#tag += 1;
    return this.#tag;
  }

  loginRequest(text: readonly KeyValue[], options: Partial<LoginRequest> = {}): LoginRequest {
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
      cmdSn: this.cmdSn,
      expStatSn: 0,
      data: encodeText(text),
      ...options,
    };
  }

  /** Logs in by the operational stage alone; returns the last response. */
  async login(options: LoginOptions = {}): Promise<LoginResponse> {
    const text: KeyValue[] = [
      ['InitiatorName', options.initiator ?? 'iqn.2026-11.test:initiator'],
      ...(options.discovery === true
        ? [['SessionType', 'Discovery'] as const]
        : [
            ['SessionType', 'Normal'] as const,
            ['TargetName', options.target ?? 'iqn.2026-11.test:disk'] as const,
          ]),
      ...(options.keys ?? USUAL_KEYS),
    ];
    const request = this.loginRequest(text, {
      isid: options.isid ?? '800000000001',
      tsih: options.tsih ?? 0,
    });
    this.send(encodeLoginRequest(request));
    const response = decodeLoginResponse(await this.next());
    const keys = new Map(decodeText(response.data));
    if (response.status === 0) {
      this.digests = {
        header: keys.get('HeaderDigest') === 'CRC32C',
        data: keys.get('DataDigest') === 'CRC32C',
      };
    }
    return response;
  }

  /** A SCSI Command PDU with sensible fields. */
  commandPdu(cdb: readonly number[], more: Partial<ScsiCommandPdu> = {}): ScsiCommandPdu {
    return {
      immediate: false,
      final: true,
      read: false,
      write: false,
      attribute: 1,
      lun: 0,
      initiatorTaskTag: this.nextTag(),
      expectedLengthBytes: 0,
      cmdSn: this.cmdSn++,
      expStatSn: 0,
      cdb: Uint8Array.from(cdb),
      extendedCdb: NO_BYTES,
      readLengthBytes: null,
      data: NO_BYTES,
      ...more,
    };
  }

  /** Runs one command to its end, answering R2Ts. */
  async command(cdb: readonly number[], options: CommandOptions = {}): Promise<CommandResult> {
    const write = options.write ?? NO_BYTES;
    const pdu = this.commandPdu(cdb, {
      read: options.readBytes !== undefined,
      write: options.write !== undefined,
      lun: options.lun ?? 0,
      attribute: options.attribute ?? 1,
      expectedLengthBytes: options.readBytes ?? write.length,
      data: write.slice(0, options.immediateBytes ?? 0),
    });
    this.send(encodeScsiCommand(pdu));
    return this.result(pdu.initiatorTaskTag, write);
  }

  /** Collects data and status of a command, answering its R2Ts from `write`. */
  async result(tag: number, write: Uint8Array = NO_BYTES): Promise<CommandResult> {
    const data: Buffer[] = [];
    for (;;) {
      const pdu = await this.next();
      const opcode = opcodeOf(pdu);
      if (opcode === Opcode.R2T) {
        this.#dataOut(pdu, write);
      } else if (opcode === Opcode.DATA_IN) {
        const p = decodeDataIn(pdu);
        if (p.initiatorTaskTag !== tag) throw new InternalError('data of another task');
        data.push(Buffer.from(p.data));
        if (p.hasStatus) return { ...p, sense: NO_BYTES, data: Buffer.concat(data) };
      } else if (opcode === Opcode.SCSI_RESPONSE) {
        const p = decodeScsiResponse(pdu);
        if (p.initiatorTaskTag !== tag) throw new InternalError('status of another task');
        return { ...p, data: Buffer.concat(data) };
      } else {
        throw new InternalError(`unexpected opcode 0x${opcode.toString(16)}`);
      }
    }
  }

  #dataOut(pdu: Pdu, write: Uint8Array): void {
    const r2t = decodeR2t(pdu);
    const from = r2t.bufferOffsetBytes;
    this.send(
      encodeDataOut({
        final: true,
        lun: r2t.lun,
        initiatorTaskTag: r2t.initiatorTaskTag,
        targetTransferTag: r2t.targetTransferTag,
        expStatSn: 0,
        dataSn: 0,
        bufferOffsetBytes: from,
        data: write.slice(from, from + r2t.desiredLengthBytes),
      }),
    );
  }
}

/**
 * Length on the wire of the PDU at the start of `bytes`, or null while its header is incomplete.
 */
function pduLength(bytes: Buffer, digests: Digests): number | null {
  if (bytes.length < 48) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const { ahsBytes, dataBytes } = lengthsOf(view);
  const body = dataBytes + paddingBytes(dataBytes);
  const digest = (digests.header ? 4 : 0) + (digests.data && body > 0 ? 4 : 0);
  return 48 + ahsBytes + body + digest;
}

/** A reserved tag, for PDUs that have none. */
export const NO_TAG: number = RESERVED_TAG;
