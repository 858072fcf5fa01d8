import { blankPdu, headerOf } from './frame.ts';
import type { Pdu } from './frame.ts';
import { AT_ITT, AT_RESPONSE, Opcode } from './offsets.ts';
import { readSequence, writeSequence } from './sequence.ts';
import type { TargetSequence } from './sequence.ts';

/** Logout responses (RFC 7143 §11.15.1). */
export const LogoutResult = {
  CLOSED: 0,
  CID_NOT_FOUND: 1,
  RECOVERY_NOT_SUPPORTED: 2,
  CLEANUP_FAILED: 3,
} as const;

const AT_TIME_TO_WAIT = 40;
const AT_TIME_TO_RETAIN = 42;

/** Logout Response (RFC 7143 §11.15). */
export type LogoutResponse = TargetSequence & {
  readonly response: number;
  readonly initiatorTaskTag: number;
  readonly timeToWaitS: number;
  readonly timeToRetainS: number;
};

/** Builds a Logout Response. */
export function encodeLogoutResponse(p: LogoutResponse): Pdu {
  const { pdu, view } = blankPdu(Opcode.LOGOUT_RESPONSE);
  view.setUint8(AT_RESPONSE, p.response);
  view.setUint32(AT_ITT, p.initiatorTaskTag);
  writeSequence(view, p);
  view.setUint16(AT_TIME_TO_WAIT, p.timeToWaitS);
  view.setUint16(AT_TIME_TO_RETAIN, p.timeToRetainS);
  return pdu;
}

/** Reads a Logout Response; throws `DecodeError`. */
export function decodeLogoutResponse(pdu: Pdu): LogoutResponse {
  const view = headerOf(pdu, Opcode.LOGOUT_RESPONSE);
  return {
    response: view.getUint8(AT_RESPONSE),
    initiatorTaskTag: view.getUint32(AT_ITT),
    ...readSequence(view),
    timeToWaitS: view.getUint16(AT_TIME_TO_WAIT),
    timeToRetainS: view.getUint16(AT_TIME_TO_RETAIN),
  };
}
