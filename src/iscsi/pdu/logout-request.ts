import { blankPdu, headerOf, isImmediate } from './frame.ts';
import type { Pdu } from './frame.ts';
import { AT_CMD_SN, AT_EXP_STAT_SN, AT_FLAGS, AT_ITT, FINAL_BIT, Opcode } from './offsets.ts';

/** Logout reasons (RFC 7143 §11.14.1). */
export const LogoutReason = { CLOSE_SESSION: 0, CLOSE_CONNECTION: 1, RECOVERY: 2 } as const;

const AT_CID = 20;

/** Logout Request (RFC 7143 §11.14). */
export type LogoutRequest = {
  readonly immediate: boolean;
  readonly reason: number;
  readonly initiatorTaskTag: number;
  readonly cid: number;
  readonly cmdSn: number;
  readonly expStatSn: number;
};

/** Builds a Logout Request. */
export function encodeLogoutRequest(p: LogoutRequest): Pdu {
  const { pdu, view } = blankPdu(Opcode.LOGOUT_REQUEST, undefined, { immediate: p.immediate });
  view.setUint8(AT_FLAGS, FINAL_BIT | p.reason);
  view.setUint32(AT_ITT, p.initiatorTaskTag);
  view.setUint16(AT_CID, p.cid);
  view.setUint32(AT_CMD_SN, p.cmdSn);
  view.setUint32(AT_EXP_STAT_SN, p.expStatSn);
  return pdu;
}

/** Reads a Logout Request; throws `DecodeError`. */
export function decodeLogoutRequest(pdu: Pdu): LogoutRequest {
  const view = headerOf(pdu, Opcode.LOGOUT_REQUEST);
  return {
    immediate: isImmediate(pdu),
    reason: view.getUint8(AT_FLAGS) & 0x7f,
    initiatorTaskTag: view.getUint32(AT_ITT),
    cid: view.getUint16(AT_CID),
    cmdSn: view.getUint32(AT_CMD_SN),
    expStatSn: view.getUint32(AT_EXP_STAT_SN),
  };
}
