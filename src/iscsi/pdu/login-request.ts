import { blankPdu, headerOf } from './frame.ts';
import type { Pdu } from './frame.ts';
import { AT_CMD_SN, AT_EXP_STAT_SN, AT_FLAGS, AT_ITT, CONTINUE_BIT, FINAL_BIT } from './offsets.ts';
import { Opcode } from './offsets.ts';

/** Login stages, CSG and NSG (RFC 7143 §11.12.3). */
export const Stage = { SECURITY: 0, OPERATIONAL: 1, FULL_FEATURE: 3 } as const;

export const AT_ISID = 8;
export const AT_TSIH = 14;
const AT_CID = 20;

/** Login Request (RFC 7143 §11.12); always immediate. */
export type LoginRequest = {
  /** The T bit: ready to leave `currentStage` for `nextStage`. */
  readonly transit: boolean;
  /** The C bit: the text goes on in the next request. */
  readonly more: boolean;
  readonly currentStage: number;
  readonly nextStage: number;
  readonly versionMax: number;
  readonly versionMin: number;
  /** Twelve hexadecimal digits. */
  readonly isid: string;
  readonly tsih: number;
  readonly initiatorTaskTag: number;
  readonly cid: number;
  readonly cmdSn: number;
  readonly expStatSn: number;
  readonly data: Uint8Array;
};

/** Builds a Login Request. */
export function encodeLoginRequest(p: LoginRequest): Pdu {
  const { pdu, view } = blankPdu(Opcode.LOGIN_REQUEST, p.data, { immediate: true });
  view.setUint8(AT_FLAGS, stageFlags(p));
  view.setUint8(2, p.versionMax);
  view.setUint8(3, p.versionMin);
  pdu.header.set(Buffer.from(p.isid, 'hex'), AT_ISID);
  view.setUint16(AT_TSIH, p.tsih);
  view.setUint32(AT_ITT, p.initiatorTaskTag);
  view.setUint16(AT_CID, p.cid);
  view.setUint32(AT_CMD_SN, p.cmdSn);
  view.setUint32(AT_EXP_STAT_SN, p.expStatSn);
  return pdu;
}

/** Reads a Login Request; throws `DecodeError`. */
export function decodeLoginRequest(pdu: Pdu): LoginRequest {
  const view = headerOf(pdu, Opcode.LOGIN_REQUEST);
  return {
    ...stagesOf(view.getUint8(AT_FLAGS)),
    versionMax: view.getUint8(2),
    versionMin: view.getUint8(3),
    isid: Buffer.from(pdu.header.subarray(AT_ISID, AT_TSIH)).toString('hex'),
    tsih: view.getUint16(AT_TSIH),
    initiatorTaskTag: view.getUint32(AT_ITT),
    cid: view.getUint16(AT_CID),
    cmdSn: view.getUint32(AT_CMD_SN),
    expStatSn: view.getUint32(AT_EXP_STAT_SN),
    data: pdu.data,
  };
}

type Stages = {
  readonly transit: boolean;
  readonly more: boolean;
  readonly currentStage: number;
  readonly nextStage: number;
};

/** The flags byte of login requests and responses. */
export function stageFlags(p: Stages): number {
  return (
    (p.transit ? FINAL_BIT : 0) |
    (p.more ? CONTINUE_BIT : 0) |
    ((p.currentStage & 3) << 2) |
    (p.nextStage & 3)
  );
}

/** The parts of the flags byte of login requests and responses. */
export function stagesOf(flags: number): Stages {
  return {
    transit: (flags & FINAL_BIT) !== 0,
    more: (flags & CONTINUE_BIT) !== 0,
    currentStage: (flags >>> 2) & 3,
    nextStage: flags & 3,
  };
}
