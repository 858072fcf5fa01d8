import { blankPdu, headerOf, isImmediate, readLun, writeLun } from './frame.ts';
import type { Pdu } from './frame.ts';
import { AT_CMD_SN, AT_EXP_STAT_SN, AT_ITT, AT_TTT, Opcode } from './offsets.ts';

/** NOP-Out (RFC 7143 §11.18): a ping, or the answer to one of ours. */
export type NopOut = {
  readonly immediate: boolean;
  readonly lun: number;
  readonly initiatorTaskTag: number;
  readonly targetTransferTag: number;
  readonly cmdSn: number;
  readonly expStatSn: number;
  readonly data: Uint8Array;
};

/** Builds a NOP-Out. */
export function encodeNopOut(p: NopOut): Pdu {
  const { pdu, view } = blankPdu(Opcode.NOP_OUT, p.data, { immediate: p.immediate });
  writeLun(view, p.lun);
  view.setUint32(AT_ITT, p.initiatorTaskTag);
  view.setUint32(AT_TTT, p.targetTransferTag);
  view.setUint32(AT_CMD_SN, p.cmdSn);
  view.setUint32(AT_EXP_STAT_SN, p.expStatSn);
  return pdu;
}

/** Reads a NOP-Out; throws `DecodeError`. */
export function decodeNopOut(pdu: Pdu): NopOut {
  const view = headerOf(pdu, Opcode.NOP_OUT);
  return {
    immediate: isImmediate(pdu),
    lun: readLun(view),
    initiatorTaskTag: view.getUint32(AT_ITT),
    targetTransferTag: view.getUint32(AT_TTT),
    cmdSn: view.getUint32(AT_CMD_SN),
    expStatSn: view.getUint32(AT_EXP_STAT_SN),
    data: pdu.data,
  };
}
