import { blankPdu, headerOf, isImmediate, readLun, writeLun } from './frame.ts';
import type { Pdu } from './frame.ts';
import { AT_CMD_SN, AT_EXP_STAT_SN, AT_FLAGS, AT_ITT, AT_TTT, CONTINUE_BIT } from './offsets.ts';
import { FINAL_BIT, Opcode } from './offsets.ts';

/** Text Request (RFC 7143 §11.10). */
export type TextRequest = {
  readonly immediate: boolean;
  readonly final: boolean;
  readonly more: boolean;
  readonly lun: number;
  readonly initiatorTaskTag: number;
  readonly targetTransferTag: number;
  readonly cmdSn: number;
  readonly expStatSn: number;
  readonly data: Uint8Array;
};

/** Builds a Text Request. */
export function encodeTextRequest(p: TextRequest): Pdu {
  const { pdu, view } = blankPdu(Opcode.TEXT_REQUEST, p.data, { immediate: p.immediate });
  view.setUint8(AT_FLAGS, (p.final ? FINAL_BIT : 0) | (p.more ? CONTINUE_BIT : 0));
  writeLun(view, p.lun);
  view.setUint32(AT_ITT, p.initiatorTaskTag);
  view.setUint32(AT_TTT, p.targetTransferTag);
  view.setUint32(AT_CMD_SN, p.cmdSn);
  view.setUint32(AT_EXP_STAT_SN, p.expStatSn);
  return pdu;
}

/** Reads a Text Request; throws `DecodeError`. */
export function decodeTextRequest(pdu: Pdu): TextRequest {
  const view = headerOf(pdu, Opcode.TEXT_REQUEST);
  const flags = view.getUint8(AT_FLAGS);
  return {
    immediate: isImmediate(pdu),
    final: (flags & FINAL_BIT) !== 0,
    more: (flags & CONTINUE_BIT) !== 0,
    lun: readLun(view),
    initiatorTaskTag: view.getUint32(AT_ITT),
    targetTransferTag: view.getUint32(AT_TTT),
    cmdSn: view.getUint32(AT_CMD_SN),
    expStatSn: view.getUint32(AT_EXP_STAT_SN),
    data: pdu.data,
  };
}
