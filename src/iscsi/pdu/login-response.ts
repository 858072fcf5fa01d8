import { blankPdu, headerOf } from './frame.ts';
import type { Pdu } from './frame.ts';
import { AT_ISID, AT_TSIH, stageFlags, stagesOf } from './login-request.ts';
import { AT_FLAGS, AT_ITT, Opcode } from './offsets.ts';
import { readSequence, writeSequence } from './sequence.ts';
import type { TargetSequence } from './sequence.ts';

const AT_LOGIN_STATUS = 36;

/** Login Response (RFC 7143 §11.13). */
export type LoginResponse = TargetSequence & {
  readonly transit: boolean;
  readonly more: boolean;
  readonly currentStage: number;
  readonly nextStage: number;
  readonly versionMax: number;
  readonly versionActive: number;
  /** Twelve hexadecimal digits. */
  readonly isid: string;
  readonly tsih: number;
  readonly initiatorTaskTag: number;
  /** Class and detail, 0xCCDD. */
  readonly status: number;
  readonly data: Uint8Array;
};

/** Builds a Login Response. */
export function encodeLoginResponse(p: LoginResponse): Pdu {
  const { pdu, view } = blankPdu(Opcode.LOGIN_RESPONSE, p.data);
  view.setUint8(AT_FLAGS, stageFlags(p));
  view.setUint8(2, p.versionMax);
  view.setUint8(3, p.versionActive);
  pdu.header.set(Buffer.from(p.isid, 'hex'), AT_ISID);
  view.setUint16(AT_TSIH, p.tsih);
  view.setUint32(AT_ITT, p.initiatorTaskTag);
  writeSequence(view, p);
  view.setUint16(AT_LOGIN_STATUS, p.status);
  return pdu;
}

/** Reads a Login Response; throws `DecodeError`. */
export function decodeLoginResponse(pdu: Pdu): LoginResponse {
  const view = headerOf(pdu, Opcode.LOGIN_RESPONSE);
  return {
    ...stagesOf(view.getUint8(AT_FLAGS)),
    versionMax: view.getUint8(2),
    versionActive: view.getUint8(3),
    isid: Buffer.from(pdu.header.subarray(AT_ISID, AT_TSIH)).toString('hex'),
    tsih: view.getUint16(AT_TSIH),
    initiatorTaskTag: view.getUint32(AT_ITT),
    ...readSequence(view),
    status: view.getUint16(AT_LOGIN_STATUS),
    data: pdu.data,
  };
}
